//! `sagashop stream`: one aggregate's events, its state at any of them, and what each of them changed.
//!
//! The state is folded by the aggregate itself, so it is what the service would decide on.

mod changes;

pub(crate) use changes::{Change, changes};

use crate::args::{GlobalArgs, StreamArgs};
use crate::events::filter::Aggregate;
use crate::events::kinds::{Fold, KINDS, Kind};
use crate::events::store::{self, COLUMNS, Store, failed};
use crate::events::{masked, of_role};
use crate::exit::{Code, Failure};
use crate::mend::plural;
use crate::output::{self, Format, Row};
use anyhow::Context;
use chrono::{DateTime, SecondsFormat, Utc};
use event_store::{RecordedEvent, clock};
use serde::Serialize;
use serde_json::Value;
use sqlx::QueryBuilder;
use std::ops::RangeInclusive;

/// Beyond so many events, what each changed is told only when asked for: each costs as much as the state is large.
const CHANGES_MAX: usize = 1_000;

/// Shows a stream.
///
/// # Errors
/// When there is none, or an event in it cannot be read.
pub async fn stream(global: &GlobalArgs, args: &StreamArgs) -> anyhow::Result<Code> {
    let aggregate = Aggregate::parse(&args.aggregate)?;
    let Some(id) = &aggregate.id else {
        let message = format!("which {}? Give its id: {}/ID", args.aggregate, args.aggregate);
        return Err(Failure::new(Code::Usage, message).into());
    };
    let mut stores = store::open(global, &args.stores).await?;
    let kind = find(&mut stores, aggregate.kind, id).await?;
    let store = of_role(&mut stores, kind.role).context("the store was opened")?;
    let events = load(store, kind, id).await?;
    store::close(stores).await;

    if let Some(versions) = &args.diff {
        return difference(global.output, kind, id, &events, versions);
    }
    let at = args.at.map(|moment| moment.resolve(clock::system().now()));
    let until = until(&events, at, args.version)?;
    let told = Told::of(kind, id, &events[..until], args.changes)?;
    told.print(global.output)?;
    if until < events.len() {
        eprintln!("Not shown: {}.", plural(events.len() - until, "later event", "later events"));
    }
    Ok(Code::Done)
}

/// Which kind of aggregate has this id. Where several have, the one that is usually meant, and others are named.
async fn find(stores: &mut [Store], wanted: Option<&str>, id: &str) -> anyhow::Result<&'static Kind> {
    let mut found = Vec::new();
    for kind in KINDS.iter().filter(|kind| wanted.is_none_or(|wanted| kind.name == wanted)) {
        let Some(store) = of_role(stores, kind.role) else { continue };
        let query = "SELECT EXISTS (SELECT FROM events WHERE aggregate_type = $1 AND aggregate_id = $2)";
        let exists = sqlx::query_scalar(query).bind(kind.name).bind(id).fetch_one(&mut store.connection).await;
        if exists.map_err(|error| failed(store.role, error))? {
            found.push(kind);
        }
    }
    let Some((first, others)) = found.split_first() else {
        let what = wanted.unwrap_or("aggregate");
        return Err(Failure::new(Code::Failed, format!("there are no events of {what} {id}")).into());
    };
    for other in others {
        eprintln!("There is also {}/{id}.", other.name);
    }
    Ok(first)
}

async fn load(store: &mut Store, kind: &Kind, id: &str) -> anyhow::Result<Vec<RecordedEvent>> {
    let mut query = QueryBuilder::new(format!("SELECT {COLUMNS} FROM events AS e WHERE e.aggregate_type = "));
    query.push_bind(kind.name).push(" AND e.aggregate_id = ").push_bind(id).push(" ORDER BY e.sequence");
    store.events(query).await
}

/// How many of the events count.
fn until(events: &[RecordedEvent], at: Option<DateTime<Utc>>, version: Option<u64>) -> anyhow::Result<usize> {
    if let Some(at) = at {
        return Ok(events.iter().take_while(|event| event.recorded_at <= at).count());
    }
    let Some(version) = version else { return Ok(events.len()) };
    exists(events, version)?;
    Ok(events.iter().take_while(|event| event.sequence <= version).count())
}

/// The stream has such a version; 0 is before its first event.
fn exists(events: &[RecordedEvent], version: u64) -> anyhow::Result<()> {
    let last = events.last().map_or(0, |event| event.sequence);
    if version <= last {
        return Ok(());
    }
    Err(Failure::new(Code::Failed, format!("there is no version {version}: the last one is {last}")).into())
}

/// What the state after one version has otherwise than that after another.
fn difference(
    format: Format,
    kind: &Kind,
    id: &str,
    events: &[RecordedEvent],
    versions: &RangeInclusive<u64>,
) -> anyhow::Result<Code> {
    exists(events, *versions.end())?;
    let state = |version: u64| -> anyhow::Result<Value> {
        let events = events.iter().take_while(|event| event.sequence <= version);
        Ok(masked(kind.name, folded(kind, events)?.state()?))
    };
    let changes = changes(&state(*versions.start())?, &state(*versions.end())?);
    output::rows(format, &changes)?;
    if format == Format::Table {
        eprintln!("{}/{id} from event {} to event {}.", kind.name, versions.start(), versions.end());
    }
    Ok(Code::Done)
}

/// The state that these events lead to.
pub(crate) fn folded<'a>(
    kind: &Kind,
    events: impl IntoIterator<Item = &'a RecordedEvent>,
) -> Result<Box<dyn Fold>, event_store::Error> {
    let mut state = kind.begin();
    for event in events {
        state.apply(event)?;
    }
    Ok(state)
}

/// A stream, as it is told.
#[derive(Serialize)]
struct Told {
    aggregate_type: &'static str,
    aggregate_id: String,
    service: &'static str,
    version: u64,
    events: Vec<Line>,
    state: Value,
}

/// One event, and what it changed.
#[derive(Serialize)]
struct Line {
    sequence: u64,
    at: String,
    event: String,
    actor: String,
    payload: Value,
    /// None where it was not looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    changes: Option<Vec<Change>>,
}

impl Row for Line {
    const COLUMNS: &'static [&'static str] = &["#", "at", "event", "by", "what it changed"];

    fn cells(&self) -> Vec<String> {
        let changes: Vec<String> = self.changes.iter().flatten().map(Change::text).collect();
        vec![self.sequence.to_string(), self.at.clone(), self.event.clone(), self.actor.clone(), changes.join("\n")]
    }
}

impl Told {
    fn of(kind: &Kind, id: &str, events: &[RecordedEvent], all_changes: bool) -> anyhow::Result<Self> {
        let with_changes = all_changes || events.len() <= CHANGES_MAX;
        let mut state = kind.begin();
        let mut before = masked(kind.name, state.state()?);
        let mut lines = Vec::with_capacity(events.len());
        for event in events {
            state.apply(event)?;
            let changes = if with_changes {
                let after = masked(kind.name, state.state()?);
                let changes = changes(&before, &after);
                before = after;
                Some(changes)
            } else {
                None
            };
            lines.push(Line::of(event, changes));
        }
        if !with_changes {
            eprintln!("What each of the {} events changed is told with --changes.", events.len());
        }
        Ok(Self {
            aggregate_type: kind.name,
            aggregate_id: id.to_owned(),
            service: kind.role.name(),
            version: events.last().map_or(0, |event| event.sequence),
            events: lines,
            state: masked(kind.name, state.state()?),
        })
    }

    fn print(&self, format: Format) -> anyhow::Result<()> {
        match format {
            Format::Table | Format::Mermaid => {
                output::rows(Format::Table, &self.events)?;
                let state = serde_json::to_string_pretty(&self.state)?;
                let Self { aggregate_type, aggregate_id, version, .. } = self;
                output::text(&format!("\n{aggregate_type}/{aggregate_id} after event {version}:\n{state}"))?;
            }
            Format::Json => output::text(&serde_json::to_string_pretty(self)?)?,
            Format::Jsonl => {
                output::rows(format, &self.events)?;
                let Self { aggregate_type, aggregate_id, version, state, .. } = self;
                let last = serde_json::json!({ "aggregate_type": aggregate_type, "aggregate_id": aggregate_id,
                    "version": version, "state": state });
                output::text(&last.to_string())?;
            }
        }
        Ok(())
    }
}

impl Line {
    fn of(event: &RecordedEvent, changes: Option<Vec<Change>>) -> Self {
        let payload = serde_json::from_str(&event.payload).unwrap_or_default();
        Self {
            sequence: event.sequence,
            at: event.recorded_at.to_rfc3339_opts(SecondsFormat::Millis, true),
            event: event.event_type.clone(),
            actor: event.metadata.actor.clone(),
            payload: masked(&event.aggregate_type, payload),
            changes,
        }
    }
}
