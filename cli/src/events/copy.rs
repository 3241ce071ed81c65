//! `sagashop events copy`: stores moved to another server, with all that stands beside their events.
//!
//! Each database is read as it was at one moment, and written in one transaction: all of it or nothing. Transaction ids
//! are a server's own, so the events get the oldest one, and positions in their commit order; the checkpoints of relay
//! and projections follow, leases end, and their epochs are passed. Offsets are the broker's and stay; a topic log in
//! PostgreSQL moves along.

mod table;

use super::store;
use crate::args::{ActArgs, EventsCopyArgs, GlobalArgs};
use crate::exit::{Code, Failure};
use crate::output::{self, Row};
use crate::postgres::{External, Server};
use crate::progress::Progress;
use crate::restore;
use crate::shop::{self, BROKER_DATABASE};
use anyhow::{Context, ensure};
use broker::PostgresBroker;
use serde::Serialize;
use sqlx::{Connection, Executor, PgConnection, PgPool};
use table::Table;

/// What a copied event is told by, wherever it stands: everything but its place, and that by its rank.
const DIGEST: &str = "
SELECT count(*), coalesce(sum(hashtextextended(concat_ws(E'\\x01', aggregate_type, aggregate_id, sequence, event_type,
                event_version, payload, metadata, extract(epoch FROM recorded_at)), rank)), 0)::text
  FROM (SELECT *, row_number() OVER (ORDER BY transaction_id, position) AS rank FROM events) AS placed";

/// Copies.
///
/// # Errors
/// A server is away, services are connected to what is copied, or the destination has something already.
pub(super) async fn copy(global: &GlobalArgs, args: &EventsCopyArgs) -> anyhow::Result<Code> {
    let to = External::from_url(&args.to).map_err(|_| {
        let message = "--to must look like postgres://user:password@host:5432/database";
        Failure::new(Code::Usage, message)
    })?;
    let from = store::server_of_any(global, &args.database).await?;
    let copied = between(global, args, &from, &to).await;
    from.stop().await?;
    copied
}

async fn between(global: &GlobalArgs, args: &EventsCopyArgs, from: &Server, to: &External) -> anyhow::Result<Code> {
    let roles = crate::args::roles_of(&args.service);
    let with_topics = args.service.is_empty() && from.has_database(BROKER_DATABASE).await?;
    let mut lines = Vec::new();
    for role in &roles {
        let store = restore::Store::open(from, *role).await?;
        if !args.live {
            store.refuse_company().await?;
        }
        let foreign = runtime::foreign::count(&store.pool).await?;
        ensure!(foreign.is_none(), "{} has {foreign}: mend it with `sagashop restore-check` first", role.database());
        lines.push(Line::of(role.database(), &store.pool).await?);
        store.pool.close().await;
    }
    let server = to.describe();
    if args.dry_run {
        output::rows(global.output, &lines)?;
        eprintln!("Nothing was copied to {server}.");
        return Ok(Code::Done);
    }
    let also = if with_topics { ", and the topic log" } else { "" };
    let act = ActArgs { yes: args.yes, ..ActArgs::default() };
    act.agreed(&format!("Copy {} databases{also} to {server}?", lines.len()))?;
    let to = Server::External(to.clone());
    let mut copied = Vec::new();
    let done = async {
        for role in &roles {
            shop::migrate(&to, *role, role.database()).await?;
            copied.push(database(from, &to, role.database()).await.with_context(|| role.database())?);
        }
        if with_topics {
            let pool = runtime::service::pool(to.options(BROKER_DATABASE), "copy", 1);
            to.ensure_database(BROKER_DATABASE).await?;
            PostgresBroker::migrate(&pool).await.context("the topic log could not be migrated")?;
            pool.close().await;
            copied.push(database(from, &to, BROKER_DATABASE).await.context(BROKER_DATABASE)?);
        }
        anyhow::Ok(())
    }
    .await;
    // What was copied before another database failed is told, too.
    output::rows(global.output, &copied)?;
    done?;
    if args.live {
        eprintln!(
            "The shop went on meanwhile: its databases are of slightly different moments. Have the copy audited."
        );
    }
    Ok(Code::Done)
}

/// A connection for as long as a database's copy takes.
async fn connection(server: &Server, database: &str) -> sqlx::Result<PgConnection> {
    let options = server.options(database).application_name("sagashop-copy").options([
        ("statement_timeout", "0"),
        ("idle_in_transaction_session_timeout", "0"),
        ("lock_timeout", "5s"),
        ("jit", "off"),
    ]);
    PgConnection::connect_with(&options).await
}

/// Copies a database: all of it, or nothing.
async fn database(from: &Server, to: &Server, name: &'static str) -> anyhow::Result<Line> {
    let (mut from, mut to) = (connection(from, name).await?, connection(to, name).await?);
    let mut source = from.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    let mut target = to.begin().await?;
    let tables = tables(&mut source, &mut target).await?;
    let progress = Progress::new(&format!("Copying {name}"), "rows", None);
    let (mut rows, mut events) = (0, 0);
    for table in &tables {
        progress.say(&table.name);
        let copied = table.copy(&mut source, &mut target, &progress).await.with_context(|| table.name.clone())?;
        rows += copied;
        if table.name == table::EVENTS {
            events = copied;
        }
    }
    if tables.iter().any(|table| table.name == table::EVENTS) {
        progress.say("comparing");
        let digest = |connection| sqlx::query_as::<_, (i64, String)>(DIGEST).fetch_one(connection);
        let (there, here) = tokio::try_join!(digest(&mut *source), digest(&mut *target))?;
        ensure!(there == here, "the copy's {} events are not those that there are, {}", here.0, there.0);
    }
    for table in &tables {
        table.count_on(&mut target).await?;
    }
    target.commit().await?;
    source.rollback().await?;
    progress.say("analyzing");
    to.execute("VACUUM (ANALYZE)").await?;
    progress.finish();
    from.close().await?;
    to.close().await?;
    Ok(Line { database: name, events, tables: tables.len(), rows })
}

/// The tables of both databases, which must be of one version, and of which the target's must be empty.
async fn tables(source: &mut PgConnection, target: &mut PgConnection) -> anyhow::Result<Vec<Table>> {
    let query = "SELECT version, checksum FROM _sqlx_migrations WHERE success ORDER BY version";
    let there: Vec<(i64, Vec<u8>)> = sqlx::query_as(query).fetch_all(&mut *source).await?;
    let here: Vec<(i64, Vec<u8>)> = sqlx::query_as(query).fetch_all(&mut *target).await?;
    if there != here {
        let message = "it is of another version than this program: bring it up to date with `sagashop migrate` first";
        return Err(Failure::new(Code::Failed, message).into());
    }
    let tables = Table::all(&mut *target).await?;
    for table in &tables {
        if !table.is_empty(&mut *target).await? {
            let message =
                format!("the destination's {} is not empty: nothing is copied over what is there", table.name);
            return Err(Failure::new(Code::Failed, message).into());
        }
    }
    for other in
        Table::all(source).await?.into_iter().filter(|other| tables.iter().all(|table| table.name != other.name))
    {
        eprintln!("{} is left out: no migration makes it.", other.name);
    }
    Ok(tables)
}

/// A database's copy as a line.
#[derive(Serialize)]
struct Line {
    database: &'static str,
    events: u64,
    tables: usize,
    rows: u64,
}

impl Line {
    /// Before it is copied: how many rows there are about is known to the planner.
    async fn of(database: &'static str, pool: &PgPool) -> anyhow::Result<Self> {
        let mut connection = pool.acquire().await?;
        let tables = Table::all(&mut connection).await?;
        let mut rows = 0;
        let mut events = 0;
        for table in &tables {
            let count = table.count(&mut connection).await?;
            rows += count;
            if table.name == table::EVENTS {
                events = count;
            }
        }
        Ok(Self { database, events, tables: tables.len(), rows })
    }
}

impl Row for Line {
    const COLUMNS: &'static [&'static str] = &["database", "events", "tables", "rows"];

    fn cells(&self) -> Vec<String> {
        let Self { database, events, tables, rows } = self;
        vec![(*database).to_owned(), events.to_string(), tables.to_string(), rows.to_string()]
    }
}
