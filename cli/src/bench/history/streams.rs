//! Streams whose states are in memory: those that something may still happen to.

use cqrs_es::{Aggregate, DomainEvent};
use event_store::clock::Clock;
use event_store::{Append, NewEvent, StreamId};
use kernel::{Decide, Idempotent};
use runtime::Origin;
use std::collections::HashMap;

/// The streams of one kind, by their ids.
pub(super) struct Streams<A>(HashMap<String, (A, u64)>);

impl<A> Default for Streams<A> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

/// What a command led to.
pub(super) struct Decided<A: Aggregate> {
    pub(super) events: Vec<A::Event>,
    pub(super) append: Append,
}

impl<A: Decide> Streams<A> {
    /// The state of a stream; as it begins, where it has not begun.
    pub(super) fn state(&self, id: &str) -> A {
        self.0.get(id).map_or_else(A::default, |(state, _)| state.clone())
    }

    pub(super) fn get(&self, id: &str) -> Option<&A> {
        self.0.get(id).map(|(state, _)| state)
    }

    /// All that there are, with their last sequences.
    pub(super) fn all(&self) -> impl Iterator<Item = (&String, &A, u64)> {
        self.0.iter().map(|(id, (state, sequence))| (id, state, *sequence))
    }

    /// Nothing more will happen to it.
    pub(super) fn forget(&mut self, id: &str) {
        self.0.remove(id);
    }

    /// Decides and applies; nothing, where it was done before.
    ///
    /// # Errors
    /// The aggregate refuses: the history would be none.
    pub(super) fn decide(
        &mut self,
        id: &str,
        command: A::Command,
        origin: &Origin,
        clock: &dyn Clock,
    ) -> anyhow::Result<Option<Decided<A>>> {
        let (state, sequence) = self.0.entry(id.to_owned()).or_default();
        let decided = state.decide(command).map_err(|error| anyhow::anyhow!("{} {id}: {error}", A::TYPE))?;
        let Idempotent::Executed(events) = decided else { return Ok(None) };
        let expected = *sequence;
        let mut new = Vec::with_capacity(events.len());
        for event in &events {
            new.push(NewEvent {
                event_type: event.event_type(),
                event_version: event.event_version(),
                payload: serde_json::to_string(event)?,
                metadata: origin.metadata(clock),
            });
            state.apply(event.clone());
            *sequence += 1;
        }
        Ok(Some(Decided { events, append: Append { stream: StreamId::of::<A>(id), expected, events: new } }))
    }
}
