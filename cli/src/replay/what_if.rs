//! History through another decider, in memory: what would have been decided otherwise?
//!
//! A recorded decision is the events that one command led to. The command is read back from them, the state before it is
//! folded from what happened, and the decider is asked again: as Temporal replays a workflow's history against its code.
//! After a difference the fold goes on with what happened, so that each decision is compared by itself. Whoever replays
//! holds events and a function: there is nothing here that a decision could have an effect on.

use event_store::RecordedEvent;
use kernel::{Decide, Idempotent};
use runtime::consumer::{CommandOf, EventOf};
use serde::Serialize;
use serde_json::Value;
use std::fmt::Debug;

/// A decision that would be another one.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// Whose: `order/ID`.
    pub stream: String,
    /// The sequence of the first event that was recorded.
    pub sequence: u64,
    /// What was asked.
    pub command: String,
    /// What was recorded.
    pub happened: Vec<Value>,
    /// What would be.
    pub would: Would,
}

/// What the decider says now.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Would {
    /// It records this.
    Record(Vec<Value>),
    /// It takes it as done before.
    Nothing,
    /// It refuses.
    Refuse(String),
}

/// So many differences, and so many things left out, are kept; the others are counted.
const KEPT_MAX: usize = 1_000;

/// What came of a history.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Streams that were folded from their beginning.
    pub streams: usize,
    /// Decisions that were made again.
    pub decisions: usize,
    /// How many of them had led to nothing.
    pub of_nothing: usize,
    /// Messages that led to nothing so far, and that may not have been handled yet: nobody was asked again.
    pub unproven: usize,
    /// Streams and decisions that could not be: each with the reason.
    pub left_out: Vec<(String, String)>,
    /// How many those are, with those that are not kept.
    pub left_out_count: usize,
    /// Decisions that would be others.
    pub differences: Vec<Difference>,
    /// How many those are, with those that are not kept.
    pub difference_count: usize,
}

impl Outcome {
    /// Adds another one's.
    pub fn add(&mut self, other: Self) {
        self.streams += other.streams;
        self.decisions += other.decisions;
        self.of_nothing += other.of_nothing;
        self.unproven += other.unproven;
        self.left_out_count += other.left_out_count;
        self.difference_count += other.difference_count;
        let room = |kept: usize| KEPT_MAX.saturating_sub(kept);
        self.left_out.extend(other.left_out.into_iter().take(room(self.left_out.len())));
        self.differences.extend(other.differences.into_iter().take(room(self.differences.len())));
    }
}

/// Reads back which command led to events, of which there is one at least; none, if they do not tell.
pub type Asked<'a, A> = &'a dyn Fn(&A, &[EventOf<A>]) -> Option<CommandOf<A>>;

/// Decides: as [`Decide::decide`].
pub type Decider<'a, A> =
    &'a dyn Fn(&A, CommandOf<A>) -> Result<Idempotent<Vec<EventOf<A>>>, <A as cqrs_es::Aggregate>::Error>;

/// How an aggregate's history is replayed.
pub struct Replayed<'a, A: Decide> {
    /// The command that led to events.
    pub command: Asked<'a, A>,
    /// The decider.
    pub decide: Decider<'a, A>,
    /// What of an event is not compared, and of what happened not folded.
    pub adapt: &'a dyn Fn(EventOf<A>) -> EventOf<A>,
}

/// One decision: the events of a stream that one command led to, one after the other.
struct Decision<E> {
    sequence: u64,
    events: Vec<E>,
}

impl<A: Decide<Command: Debug>> Replayed<'_, A> {
    /// Replays one stream, whose events are given in their order.
    pub fn stream(&self, events: &[RecordedEvent]) -> Outcome {
        let mut outcome = self.decided(events);
        outcome.left_out_count = outcome.left_out.len();
        outcome.difference_count = outcome.differences.len();
        outcome
    }

    fn decided(&self, events: &[RecordedEvent]) -> Outcome {
        let mut outcome = Outcome::default();
        let Some(first) = events.first() else { return outcome };
        let stream = format!("{}/{}", first.aggregate_type, first.aggregate_id);
        let decisions = match decisions::<A>(events) {
            Ok(decisions) => decisions,
            Err(why) => {
                outcome.left_out.push((stream, why));
                return outcome;
            }
        };
        outcome.streams = 1;
        let mut state = A::default();
        for Decision { sequence, events } in decisions {
            let events: Vec<A::Event> = events.into_iter().map(self.adapt).collect();
            match (self.command)(&state, &events) {
                Some(command) => {
                    outcome.decisions += 1;
                    outcome.differences.extend(self.compare(&state, command, &events).map(|(command, would)| {
                        Difference {
                            stream: stream.clone(),
                            sequence,
                            command,
                            happened: events.iter().map(written).collect(),
                            would,
                        }
                    }));
                }
                None => {
                    let why = "its events do not tell what was asked".to_owned();
                    outcome.left_out.push((format!("{stream}/{sequence}"), why));
                }
            }
            events.into_iter().for_each(|event| state.apply(event));
        }
        outcome
    }

    fn compare(&self, state: &A, command: A::Command, happened: &[A::Event]) -> Option<(String, Would)> {
        let asked = format!("{command:?}");
        let happened: Vec<Value> = happened.iter().map(written).collect();
        let would = match (self.decide)(state, command) {
            Ok(Idempotent::Executed(events)) => {
                let events: Vec<Value> = events.into_iter().map(self.adapt).map(|event| written(&event)).collect();
                if events == happened {
                    return None;
                }
                Would::Record(events)
            }
            Ok(Idempotent::AlreadyDone) => Would::Nothing,
            Err(refusal) => Would::Refuse(refusal.to_string()),
        };
        Some((asked, would))
    }
}

fn written(event: &impl Serialize) -> Value {
    // Domain events are plain JSON structures.
    serde_json::to_value(event).unwrap_or_default()
}

fn decisions<A: Decide>(events: &[RecordedEvent]) -> Result<Vec<Decision<A::Event>>, String> {
    let mut decisions: Vec<Decision<A::Event>> = Vec::new();
    let mut last = None;
    for (event, expected) in events.iter().zip(1..) {
        if event.sequence != expected {
            return Err(format!("event {expected} is not in the history"));
        }
        let decoded = event.decode_all::<A>().map_err(|error| error.to_string())?;
        let command = event.metadata.command_id;
        match decisions.last_mut().filter(|_| last == Some(command)) {
            Some(decision) => decision.events.extend(decoded),
            None => decisions.push(Decision { sequence: event.sequence, events: decoded.collect() }),
        }
        last = Some(command);
    }
    decisions.retain(|decision| !decision.events.is_empty());
    Ok(decisions)
}
