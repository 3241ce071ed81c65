use super::*;
use crate::replay::history::{self, KINDS};
use cqrs_es::Aggregate;
use std::path::Path;

fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../event-schemas/histories")
}

fn recorded(name: &str) -> Streams {
    history::read(&folder().join(name)).expect("a history")
}

/// The one stream of this kind.
fn of<'a>(streams: &'a mut Streams, kind: &str) -> &'a mut Vec<RecordedEvent> {
    streams.iter_mut().find(|((of, _), _)| of == kind).map(|(_, events)| events).expect("a stream")
}

#[test]
fn what_led_to_nothing_in_the_recorded_histories_would_again() {
    for file in history::files(&folder()).expect("files") {
        let outcome = of_streams(&history::read(&file).expect("events"), None, Handled::All, &KINDS);
        assert_eq!(outcome.differences, [], "{}", file.display());
    }
    // The order is asked to be confirmed once more, under another id.
    let mut streams = recorded("confirmed.jsonl");
    let saga = of(&mut streams, OrderFulfilment::TYPE);
    let asks = |event: &&RecordedEvent| event.event_type == "command_issued" && event.payload.contains("ConfirmOrder");
    let asks = saga.iter().rfind(asks).expect("it is asked for").clone();
    let (again, id) = (Uuid::from_u128(7), asks.metadata.event_id);
    let asked: serde_json::Value = serde_json::from_str(&asks.payload).expect("JSON");
    let command = asked["CommandIssued"]["command_id"].as_str().expect("an id");
    let payload = asks.payload.replace(command, &again.to_string());
    let sequence = saga.last().map_or(0, |last| last.sequence) + 1;
    let metadata = event_store::Metadata { event_id: again, causation_id: id, ..asks.metadata.clone() };
    saga.push(RecordedEvent { sequence, payload, metadata, ..asks });
    let outcome = of_streams(&streams, None, Handled::All, &KINDS);
    assert_eq!((outcome.of_nothing, outcome.differences.len()), (1, 0), "{outcome:?}");
}

#[test]
fn a_command_that_would_lead_to_something_now_is_found() {
    let mut streams = recorded("confirmed.jsonl");
    let confirmed = of(&mut streams, Order::TYPE).pop().expect("an event");
    assert_eq!(confirmed.event_type, "order_confirmed");
    let outcome = of_streams(&streams, None, Handled::All, &KINDS);
    let [found] = outcome.differences.as_slice() else { panic!("{outcome:?}") };
    assert!(found.stream.starts_with("order/") && found.command.starts_with("Confirm"), "{found:?}");
    assert!(found.happened.is_empty(), "{found:?}");
    let Would::Record(would) = &found.would else { panic!("{found:?}") };
    assert!(would[0].get("order_confirmed").is_some(), "{found:?}");
    let cells = crate::output::Row::cells(found);
    assert_eq!((cells[3].as_str(), cells[4].as_str()), ("nothing", "order_confirmed"));

    // It is the last of its stream and topic: in a shop that runs it may be still to come.
    let running = of_streams(&streams, None, Handled::Proven, &KINDS);
    assert_eq!((running.differences.len(), running.decisions), (0, running.of_nothing));
    assert!(running.unproven > 0, "{running:?}");
}

#[test]
fn in_a_shop_that_runs_a_later_message_proves_that_one_was_handled() {
    let mut streams = recorded("given-back.jsonl");
    let payment = of(&mut streams, Payment::TYPE);
    let refund = payment.iter().position(|event| event.event_type == "refund_requested").expect("a refund");
    payment.drain(..refund);
    (1..).zip(payment.iter_mut()).for_each(|(sequence, event)| event.sequence = sequence);
    let outcome = of_streams(&streams, None, Handled::Proven, &[Payment::TYPE]);
    let [found] = outcome.differences.as_slice() else { panic!("{outcome:?}") };
    assert!(found.command.starts_with("Charge"), "{found:?}");
}

#[test]
fn whose_stream_is_not_there_or_not_whole_is_not_accused() {
    let mut streams = recorded("confirmed.jsonl");
    of(&mut streams, Order::TYPE).remove(0);
    streams.retain(|(kind, _), _| kind != Payment::TYPE);
    let outcome = of_streams(&streams, None, Handled::All, &[Order::TYPE, Payment::TYPE]);
    assert_eq!((outcome.decisions, outcome.differences.len()), (0, 0), "{outcome:?}");
}
