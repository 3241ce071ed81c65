//! A decider that was changed is found, on what really happened.

use super::asked;
use super::history::{self, Streams};
use super::what_if::{Outcome, Replayed, Would};
use chrono::TimeDelta;
use cqrs_es::Aggregate;
use domain::stock::{Command, Event, Rejection, Stock};
use kernel::{Decide, Idempotent};
use orchestrator::saga::order_fulfilment::{Event as SagaEvent, OrderFulfilment};
use std::path::Path;

/// All histories that are kept.
fn histories() -> Vec<Streams> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../event-schemas/histories");
    history::files(&folder).expect("files").iter().map(|file| history::read(file).expect("events")).collect()
}

fn replayed<A: Decide<Command: std::fmt::Debug>>(replayed: &Replayed<'_, A>) -> Outcome {
    let mut outcome = Outcome::default();
    for streams in histories() {
        for (_, events) in streams.iter().filter(|((kind, _), _)| kind == A::TYPE) {
            outcome.add(replayed.stream(events));
        }
    }
    outcome
}

#[test]
fn a_decider_that_would_decide_otherwise_is_found() {
    // Stock that is never enough.
    let stingy = |state: &Stock, command: Command| match command {
        Command::Reserve { order_id, quantity, at } => Ok(Idempotent::Executed(vec![Event::StockRejected {
            order_id,
            requested: quantity,
            available: 0,
            reason: Rejection::OutOfStock,
            at,
        }])),
        other => state.decide(other),
    };
    let outcome = replayed(&Replayed { command: &asked::stock, decide: &stingy, adapt: &|event| event });
    let found = outcome.differences.first().expect("found");
    assert!(found.command.starts_with("Reserve"), "{found:?}");
    assert!(found.happened[0].get("stock_reserved").is_some(), "{found:?}");
    let Would::Record(would) = &found.would else { panic!("{found:?}") };
    assert!(would[0].get("stock_rejected").is_some(), "{found:?}");
    // Decisions that it would leave as they were are no differences.
    assert!(outcome.differences.len() < outcome.decisions, "{outcome:?}");
}

#[test]
fn a_saga_with_other_patience_is_found_by_what_it_waits_for() {
    let patient = |state: &OrderFulfilment, input| {
        let decided = state.decide(input)?;
        let Idempotent::Executed(events) = decided else { return Ok(decided) };
        let later = |event| match event {
            SagaEvent::CommandIssued { at, command_id, step, direction, attempt, due, command } => {
                let due = due + TimeDelta::seconds(5);
                SagaEvent::CommandIssued { at, command_id, step, direction, attempt, due, command }
            }
            other => other,
        };
        Ok(Idempotent::Executed(events.into_iter().map(later).collect()))
    };
    let outcome = replayed(&Replayed { command: &asked::saga, decide: &patient, adapt: &|event| event });
    assert!(!outcome.differences.is_empty());
    let cells = crate::output::Row::cells(&outcome.differences[0]);
    assert!(cells[3].contains("due") && cells[4].contains("due"), "{cells:?}");
}

#[test]
fn a_decider_that_refuses_or_does_nothing_is_found() {
    let lazy = |_: &Stock, _: Command| Ok(Idempotent::AlreadyDone);
    let outcome = replayed(&Replayed { command: &asked::stock, decide: &lazy, adapt: &|event| event });
    assert_eq!(outcome.differences.len(), outcome.decisions);
    assert!(outcome.differences.iter().all(|found| found.would == Would::Nothing));
}

#[test]
fn a_history_with_a_gap_is_left_out_and_said_to_be() {
    let mut streams = histories().remove(0);
    let (_, events) = streams.iter_mut().find(|((kind, _), _)| kind == OrderFulfilment::TYPE).expect("a saga");
    events.remove(1);
    let outcome = history::replay(OrderFulfilment::TYPE, events, None).expect("replayed");
    assert_eq!((outcome.streams, outcome.left_out.len()), (0, 1));
    assert!(outcome.left_out[0].1.contains("event 2 is not in the history"), "{outcome:?}");
}
