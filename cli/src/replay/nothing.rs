//! Messages that led to nothing: a decision as well, of which no event tells.
//!
//! What a service was told is what the others published, and that follows from their events: so each message is made
//! again by the publishers, and read by the consumers that it was for. It led to nothing, if no event of the stream that it
//! was for has it as its cause. In which state that was decided is not recorded. But messages of one stream come in their
//! order: it was after what came of those before it, and after what led to it; and before what came of those after it. A
//! decider that would record something in each of the states in between decides otherwise.

use super::history::{Streams, on_definition};
use super::what_if::{Decider, Difference, Outcome, Would};
use crate::events::kinds::Kind;
use crate::restore::publisher;
use chrono::{DateTime, Utc};
use domain::order::Order;
use domain::payment::Payment;
use domain::stock::Stock;
use event_schemas::topics;
use event_store::RecordedEvent;
use kernel::{Decide, Idempotent};
use orchestrator::saga::order_fulfilment::OrderFulfilment;
use runtime::consumer::{Addressed, CommandOf, EventOf};
use runtime::{Handler, Message, message};
use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;
use uuid::Uuid;

/// Which messages were handled, so that their leading to nothing is a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handled {
    /// All: the history was recorded when nothing was under way.
    All,
    /// Those only behind which a later one of the same order has led to something.
    Proven,
}

/// A message, as a consumer was told.
struct Sent<'a> {
    message: Message,
    topic: &'static str,
    at: Place<'a>,
}

/// An event's place: its stream, and how many of its events there were with it.
#[derive(Clone, Copy)]
struct Place<'a> {
    stream: (&'a str, &'a str),
    events: usize,
    /// What led to it: a message or an event.
    cause: Uuid,
}

/// Where events and messages came from, by their ids.
type Causes<'a> = HashMap<Uuid, Place<'a>>;

/// A chain of causes is no longer than this.
const CAUSES_MAX: usize = 1_000;

/// Decides again on all messages that led to nothing, as far as the streams that they were for are here and whole: those
/// of these kinds.
pub fn of_streams(streams: &Streams, definition: Option<u32>, handled: Handled, kinds: &[&str]) -> Outcome {
    let (sent, causes) = sent(streams);
    let sent = (sent.as_slice(), &causes);
    let is_asked = |(kind, _): &&(String, String)| kinds.contains(&kind.as_str());
    let streams: BTreeMap<_, _> = streams.iter().filter(|(key, _)| is_asked(key)).collect();
    let (streams, mut outcome) = (&streams, Outcome::default());
    let told = Told::<OrderFulfilment> {
        topics: &[topics::ORDER_EVENTS, topics::PRODUCT_EVENTS, topics::PAYMENT_EVENTS],
        commands: &|message, at| orchestrator::Sagas.commands(message, at).unwrap_or_default(),
    };
    match definition {
        Some(version) => {
            let decide = |state: &OrderFulfilment, input| state.decide_by(version, input);
            let decides = Decides { decide: &decide, adapt: &|event| on_definition(event, version) };
            outcome.add(told.again(sent, streams, &decides, handled));
        }
        None => outcome.add(told.again(sent, streams, &Decides::its_own(), handled)),
    }
    let told = Told::<Order> {
        topics: &[topics::ORDER_COMMANDS],
        commands: &|message, at| order_service::FulfilmentCommands.commands(message, at).unwrap_or_default(),
    };
    outcome.add(told.again(sent, streams, &Decides::its_own(), handled));
    let payment = |message: &Message, at| {
        let asked = payment_service::command(message, at).ok();
        asked.map(|(id, command)| (id.to_string(), command)).into_iter().collect()
    };
    let told = Told::<Payment> { topics: &[topics::PAYMENT_COMMANDS], commands: &payment };
    outcome.add(told.again(sent, streams, &Decides::its_own(), handled));
    let told = Told::<Stock> {
        topics: &[topics::PRODUCT_COMMANDS],
        commands: &|message, at| product_service::StockCommands.commands(message, at).unwrap_or_default(),
    };
    outcome.add(told.again(sent, streams, &Decides::its_own(), handled));
    outcome
}

/// All that the services told each other, each stream's messages in their order.
fn sent(streams: &Streams) -> (Vec<Sent<'_>>, Causes<'_>) {
    let (mut sent, mut causes) = (Vec::new(), Causes::new());
    for ((kind, id), events) in streams {
        let Some(role) = Kind::named(kind).map(|kind| kind.role) else { continue };
        let Some(publisher) = publisher(role) else { continue };
        for (n, event) in events.iter().enumerate() {
            let stream = (kind.as_str(), id.as_str());
            let at = Place { stream, events: n + 1, cause: event.metadata.causation_id };
            causes.insert(event.metadata.event_id, at);
            // What cannot be read is told by who decides on that stream.
            for (index, outgoing) in publisher.publish(event).unwrap_or_default().into_iter().enumerate() {
                let (topic, record) = (outgoing.topic, message::to_record(event, index, role.name(), outgoing));
                if let Ok(message) = Message::from_record(&record) {
                    causes.entry(message.id).or_insert(at);
                    sent.push(Sent { message, topic, at });
                }
            }
        }
    }
    (sent, causes)
}

/// How many events of a stream there were before what came of this place's causes.
fn asked<'a>(mut at: Place<'a>, stream: (&str, &str), causes: &Causes<'a>) -> usize {
    for _ in 0..CAUSES_MAX {
        if at.stream == stream {
            return at.events;
        }
        let Some(before) = causes.get(&at.cause) else { return 0 };
        at = *before;
    }
    0
}

/// The streams whose aggregates are asked.
type Asked<'a> = BTreeMap<&'a (String, String), &'a Vec<RecordedEvent>>;

/// Who decides, and on which states.
pub(super) struct Decides<'a, A: Decide> {
    pub(super) decide: Decider<'a, A>,
    pub(super) adapt: &'a dyn Fn(EventOf<A>) -> EventOf<A>,
}

impl<A: Decide> Decides<'_, A> {
    fn its_own() -> Self {
        Self { decide: &|state, command| state.decide(command), adapt: &|event| event }
    }
}

/// What a consumer reads, for aggregates of one kind.
struct Told<'a, A: Decide> {
    topics: &'a [&'static str],
    commands: &'a dyn Fn(&Message, DateTime<Utc>) -> Addressed<A>,
}

/// A message to one aggregate.
struct Telling<'a, A: Decide> {
    sent: &'a Sent<'a>,
    command: CommandOf<A>,
}

/// A message that led to nothing, and the states in which it may have been decided on: so many events later, at least and
/// at most.
struct Between<A: Decide> {
    id: Uuid,
    command: CommandOf<A>,
    least: usize,
    most: usize,
    /// Nothing is what some state of them decides as well.
    is_same: bool,
    would: Vec<serde_json::Value>,
}

impl<A: Decide<Command: Debug>> Told<'_, A> {
    fn again<'a>(
        &self,
        (sent, causes): (&'a [Sent<'a>], &Causes<'a>),
        streams: &Asked<'_>,
        decides: &Decides<'_, A>,
        handled: Handled,
    ) -> Outcome {
        let mut told: BTreeMap<String, Vec<Telling<'a, A>>> = BTreeMap::new();
        for sent in sent.iter().filter(|sent| self.topics.contains(&sent.topic)) {
            for (id, command) in (self.commands)(&sent.message, sent.message.time) {
                told.entry(id).or_default().push(Telling { sent, command });
            }
        }
        let mut outcome = Outcome::default();
        for (id, told) in told {
            // Without the stream nothing tells what came of it.
            let Some(events) = streams.get(&(A::TYPE.to_owned(), id.clone())) else { continue };
            let is_whole = events.iter().zip(1..).all(|(event, sequence)| event.sequence == sequence);
            if is_whole {
                let between = between(&id, &told, events, causes, handled, &mut outcome);
                decided(&id, between, events, decides, &mut outcome);
            }
        }
        outcome
    }
}

/// Those that led to nothing, and between which events.
fn between<'a, A: Decide>(
    id: &str,
    told: &[Telling<'a, A>],
    events: &[RecordedEvent],
    causes: &Causes<'a>,
    handled: Handled,
    outcome: &mut Outcome,
) -> Vec<Between<A>> {
    let mut effects: HashMap<Uuid, (usize, usize)> = HashMap::new();
    for (n, event) in events.iter().enumerate() {
        effects.entry(event.metadata.causation_id).or_insert((n, n)).1 = n;
    }
    let effects_of = |sent: &Sent<'_>| effects.get(&sent.message.id).copied();
    let mut found: Vec<Between<A>> = Vec::new();
    for (n, telling) in told.iter().enumerate() {
        let sent = telling.sent;
        let is_beside =
            |other: &&Telling<'_, A>| (other.sent.at.stream, other.sent.topic) == (sent.at.stream, sent.topic);
        let after = told[n + 1..].iter().filter(is_beside).filter_map(|later| effects_of(later.sent));
        let most = after.map(|(first, _)| first).min();
        if effects_of(sent).is_some() {
            continue;
        }
        if most.is_none() && handled == Handled::Proven {
            outcome.unproven += 1;
            continue;
        }
        let before = told[..n].iter().filter(is_beside).filter_map(|earlier| effects_of(earlier.sent));
        let before = before.map(|(_, last)| last + 1).max().unwrap_or(0);
        // It cannot have been told before it was asked for.
        let asked = asked(sent.at, (A::TYPE, id), causes);
        let (least, most) = (before.max(asked), most.unwrap_or(events.len()));
        match found.iter_mut().find(|known| known.id == sent.message.id) {
            // Sent more than once: one of the times it was taken up first.
            Some(known) => known.most = known.most.max(most),
            None => found.push(Between {
                id: sent.message.id,
                command: telling.command.clone(),
                least,
                most,
                is_same: false,
                would: Vec::new(),
            }),
        }
    }
    found
}

/// Asks the decider in each of the states.
fn decided<A: Decide<Command: Debug>>(
    id: &str,
    mut between: Vec<Between<A>>,
    events: &[RecordedEvent],
    decides: &Decides<'_, A>,
    outcome: &mut Outcome,
) {
    let mut state = A::default();
    for n in 0..=events.len() {
        for one in between.iter_mut().filter(|one| !one.is_same && (one.least..=one.most).contains(&n)) {
            match (decides.decide)(&state, one.command.clone()) {
                Ok(Idempotent::Executed(events)) if !events.is_empty() => {
                    // Domain events are plain JSON structures.
                    let written = |event| serde_json::to_value(event).unwrap_or_default();
                    one.would = events.iter().map(written).collect();
                }
                _ => one.is_same = true,
            }
        }
        let Some(event) = events.get(n) else { break };
        match event.decode_all::<A>() {
            Ok(events) => events.map(decides.adapt).for_each(|event| state.apply(event)),
            // That is told by who decides on the stream's events.
            Err(_) => return,
        }
    }
    // No state at all: what came of the others contradicts their order, and nothing can be said.
    between.retain(|one| one.is_same || !one.would.is_empty());
    outcome.decisions += between.len();
    outcome.of_nothing += between.len();
    let differences = between.into_iter().filter(|one| !one.is_same).map(|one| Difference {
        stream: format!("{}/{id}", A::TYPE),
        sequence: one.most as u64,
        command: format!("{:?} (message {})", one.command, one.id),
        happened: Vec::new(),
        would: Would::Record(one.would),
    });
    outcome.differences.extend(differences);
    outcome.difference_count = outcome.differences.len();
}

#[cfg(test)]
mod tests;
