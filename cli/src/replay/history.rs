//! Histories: recorded in files, or as the stores have them.

use super::asked;
use super::nothing::{self, Handled};
use super::what_if::{Asked, Outcome, Replayed};
use crate::events::recorded_line;
use anyhow::Context;
use cqrs_es::Aggregate;
use domain::order::Order;
use domain::payment::Payment;
use domain::product::Product;
use domain::stock::Stock;
use event_store::RecordedEvent;
use kernel::Decide;
use orchestrator::saga::order_fulfilment::{Event as SagaEvent, OrderFulfilment};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Events by their streams.
pub type Streams = BTreeMap<(String, String), Vec<RecordedEvent>>;

/// The files of histories in a folder and those below it, or the one file that it is.
///
/// # Errors
/// It cannot be read.
pub fn files(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if path.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    let entries = std::fs::read_dir(path).with_context(|| format!("{} cannot be read", path.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(self::files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "jsonl") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// The streams of a file whose lines are those of an export.
///
/// # Errors
/// It cannot be read, or a line is none of an export.
pub fn read(path: &Path) -> anyhow::Result<Streams> {
    let text = std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
    let mut streams = Streams::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.is_empty()) {
        let event = recorded_line(line).with_context(|| format!("{}, line {}", path.display(), number + 1))?;
        streams.entry((event.aggregate_type.clone(), event.aggregate_id.clone())).or_default().push(event);
    }
    streams.values_mut().for_each(|events| events.sort_by_key(|event| event.sequence));
    Ok(streams)
}

/// The kinds of aggregates whose decisions are made again.
pub const KINDS: [&str; 5] = [Order::TYPE, OrderFulfilment::TYPE, Stock::TYPE, Payment::TYPE, Product::TYPE];

/// Replays one stream against this program's decider of its kind; nothing, if its kind is not replayed. A saga runs on the
/// definition that it began with, unless another is named.
pub fn replay(kind: &str, events: &[RecordedEvent], definition: Option<u32>) -> Option<Outcome> {
    Some(match kind {
        Order::TYPE => by_its_own(&asked::order).stream(events),
        Stock::TYPE => by_its_own(&asked::stock).stream(events),
        Product::TYPE => by_its_own(&asked::product).stream(events),
        Payment::TYPE => by_its_own(&asked::payment).stream(events),
        OrderFulfilment::TYPE => saga(events, definition),
        _ => return None,
    })
}

/// An aggregate's own decider, and all of its events.
fn by_its_own<A: Decide>(command: Asked<'_, A>) -> Replayed<'_, A> {
    Replayed { command, decide: &|state, command| state.decide(command), adapt: &|event| event }
}

fn saga(events: &[RecordedEvent], definition: Option<u32>) -> Outcome {
    let begun = events.first().and_then(|event| event.decode_all::<OrderFulfilment>().ok()).and_then(|mut events| {
        events.find_map(|event| match event {
            SagaEvent::SagaStarted { definition_version, .. } => Some(definition_version),
            _ => None,
        })
    });
    let Some(version) = definition.or(begun) else { return by_its_own(&asked::saga).stream(events) };
    let replayed = Replayed {
        command: &asked::saga,
        decide: &|state: &OrderFulfilment, input| state.decide_by(version, input),
        adapt: &|event| on_definition(event, version),
    };
    replayed.stream(events)
}

/// As if the saga had begun on this version of its definition.
pub(super) fn on_definition(event: SagaEvent, version: u32) -> SagaEvent {
    match event {
        SagaEvent::SagaStarted { at, order, .. } => SagaEvent::SagaStarted { at, definition_version: version, order },
        other => other,
    }
}

/// Replays all streams whose kinds are replayed, and what the services told each other that led to nothing.
pub fn of_streams(streams: &Streams, definition: Option<u32>) -> Outcome {
    let mut outcome = nothing::of_streams(streams, definition, Handled::All, &KINDS);
    for ((kind, _), events) in streams {
        outcome.add(replay(kind, events, definition).unwrap_or_default());
    }
    outcome
}
