//! `sagashop relay`: is anything not published?

use super::{Store, attach, time};
use crate::args::{GlobalArgs, RelayCommand, RelayPendingArgs, RelayRewindArgs, RelayStatusArgs, roles_of};
use crate::exit::{Code, Failure};
use crate::output::{self, Row};
use crate::ports::Role;
use chrono::{DateTime, Utc};
use event_store::{Cursor, Mend, OPERATION, Operation};
use runtime::relay::FOLLOWER;
use serde::Serialize;
use serde_json::json;

/// More are not counted.
const COUNT_MAX: i64 = 100_000;

/// Runs one of the commands.
///
/// # Errors
/// When a relay runs that must not, or a store is away.
pub async fn run(global: &GlobalArgs, command: &RelayCommand) -> anyhow::Result<Code> {
    match command {
        RelayCommand::Status(args) => status(global, args).await,
        RelayCommand::Pending(args) => pending(global, args).await,
        RelayCommand::Rewind(args) => rewind(global, args).await,
    }
}

/// Notifications are nobody else's business: nothing is relayed.
fn relaying(named: &[Role]) -> impl Iterator<Item = Role> {
    roles_of(named).into_iter().filter(|role| *role != Role::Notification)
}

async fn status(global: &GlobalArgs, args: &RelayStatusArgs) -> anyhow::Result<Code> {
    let server = attach(global, &args.database).await?;
    let mut lines = Vec::new();
    for role in relaying(&args.roles) {
        lines.push(line(&Store::open(&server, role)).await?);
    }
    output::rows(global.output, &lines)?;
    let longest = f64::from(args.longest);
    let late = lines.iter().any(|line| line.oldest_s.is_some_and(|age| age > longest));
    Ok(if late { Code::Violated } else { Code::Done })
}

async fn line(store: &Store) -> anyhow::Result<Line> {
    let at = checkpoint(store).await?;
    let (unpublished, oldest_s): (i64, Option<f64>) = sqlx::query_as(
        "SELECT count(*), extract(epoch FROM clock_timestamp() - min(recorded_at))::float8
           FROM (SELECT recorded_at FROM events e
                  WHERE (e.transaction_id, e.position) > ($1::text::xid8, $2) AND e.aggregate_type <> $3
                  ORDER BY e.transaction_id, e.position LIMIT $4) AS ahead",
    )
    .bind(at.transaction_id.to_string())
    .bind(at.position)
    .bind(OPERATION)
    .bind(COUNT_MAX)
    .fetch_one(&store.pool)
    .await
    .map_err(|error| store.away(&error))?;
    Ok(Line {
        service: store.role.name(),
        unpublished,
        oldest_s,
        transaction_id: at.transaction_id,
        position: at.position,
        is_held: is_held(store).await?,
    })
}

async fn checkpoint(store: &Store) -> anyhow::Result<Cursor> {
    store.events().checkpoint(FOLLOWER).await.map_err(|error| store.away(&error))
}

async fn is_held(store: &Store) -> anyhow::Result<bool> {
    sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM consumer_offsets
                         WHERE consumer = $1 AND owner IS NOT NULL AND lease_until >= clock_timestamp())",
    )
    .bind(FOLLOWER)
    .fetch_one(&store.pool)
    .await
    .map_err(|error| store.away(&error))
}

async fn pending(global: &GlobalArgs, args: &RelayPendingArgs) -> anyhow::Result<Code> {
    let server = attach(global, &args.database).await?;
    let mut lines = Vec::new();
    for role in relaying(&args.roles) {
        let store = Store::open(&server, role);
        let at = checkpoint(&store).await?;
        let rows: Vec<(String, String, i64, String, DateTime<Utc>)> = sqlx::query_as(
            "SELECT e.aggregate_type, e.aggregate_id, e.sequence, e.event_type, e.recorded_at FROM events e
              WHERE (e.transaction_id, e.position) > ($1::text::xid8, $2) AND e.aggregate_type <> $3
              ORDER BY e.transaction_id, e.position LIMIT $4",
        )
        .bind(at.transaction_id.to_string())
        .bind(at.position)
        .bind(OPERATION)
        .bind(i64::from(args.limit))
        .fetch_all(&store.pool)
        .await
        .map_err(|error| store.away(&error))?;
        lines.extend(rows.into_iter().map(|(aggregate, id, sequence, event, recorded_at)| Pending {
            service: role.name(),
            recorded_at: time(recorded_at),
            aggregate,
            id,
            sequence,
            event,
        }));
    }
    output::rows(global.output, &lines)?;
    Ok(Code::Done)
}

async fn rewind(global: &GlobalArgs, args: &RelayRewindArgs) -> anyhow::Result<Code> {
    let reason = args.act.reason_needed("publishing again")?;
    if args.role == Role::Notification {
        return Err(Failure::new(Code::Usage, "the notification service publishes nothing").into());
    }
    let server = attach(global, &args.database).await?;
    let store = Store::open(&server, args.role);
    if is_held(&store).await? {
        let message = format!("its relay runs: stop the {} first", args.role.title());
        return Err(Failure::new(Code::InUse, message).into());
    }
    let from = checkpoint(&store).await?;
    let earlier: Option<(String, i64)> = sqlx::query_as(
        "SELECT e.transaction_id::text, e.position FROM events e
          WHERE (e.transaction_id, e.position) <= ($1::text::xid8, $2)
          ORDER BY e.transaction_id DESC, e.position DESC OFFSET $3 LIMIT 1",
    )
    .bind(from.transaction_id.to_string())
    .bind(from.position)
    .bind(i64::from(args.events))
    .fetch_optional(&store.pool)
    .await
    .map_err(|error| store.away(&error))?;
    let to = match earlier {
        Some((transaction_id, position)) => Cursor { transaction_id: transaction_id.parse()?, position },
        None => Cursor::default(),
    };
    output::rows(global.output, &[line(&store).await?])?;
    if from == to || !args.act.agreed(&format!("Publish its last {} events again?", args.events))? {
        return Ok(Code::Done);
    }
    let target = json!({ "follower": FOLLOWER, "events": args.events, "from": from, "to": to });
    let operation = Operation { act: "relay_rewound".to_owned(), target, reason: Some(reason) };
    let mend = Mend::MoveCheckpoint { follower: FOLLOWER.to_owned(), from, to };
    store.act(vec![mend], operation, &args.act.actor()).await?;
    Ok(Code::Done)
}

/// A relay as a line.
#[derive(Serialize)]
struct Line {
    service: &'static str,
    unpublished: i64,
    oldest_s: Option<f64>,
    transaction_id: u64,
    position: i64,
    is_held: bool,
}

impl Row for Line {
    const COLUMNS: &'static [&'static str] = &["service", "unpublished", "oldest s", "transaction", "position", "runs"];

    fn cells(&self) -> Vec<String> {
        let more = if self.unpublished == COUNT_MAX { " or more" } else { "" };
        vec![
            self.service.to_owned(),
            format!("{}{more}", self.unpublished),
            self.oldest_s.map(|age| format!("{age:.1}")).unwrap_or_default(),
            self.transaction_id.to_string(),
            self.position.to_string(),
            if self.is_held { "yes" } else { "no" }.to_owned(),
        ]
    }
}

/// An event that is not published yet.
#[derive(Serialize)]
struct Pending {
    service: &'static str,
    recorded_at: String,
    aggregate: String,
    id: String,
    sequence: i64,
    event: String,
}

impl Row for Pending {
    const COLUMNS: &'static [&'static str] = &["service", "recorded", "aggregate", "id", "#", "event"];
    const DISPENSABLE: &'static [usize] = &[0];

    fn cells(&self) -> Vec<String> {
        vec![
            self.service.to_owned(),
            self.recorded_at.clone(),
            self.aggregate.clone(),
            self.id.clone(),
            self.sequence.to_string(),
            self.event.clone(),
        ]
    }
}
