//! The messages that a store's events mean, by the very mapping that the service publishes with.

use super::spill::Spill;
use crate::ports::Role;
use broker::partition_of;
use event_schemas::topics;
use event_store::{Cursor, RecordedEvent};
use runtime::Publish;
use runtime::message::derived_id;
use std::sync::Arc;
use uuid::Uuid;

/// A message that must lie on a topic, or will.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Expected {
    pub(super) id: Uuid,
    /// Of its stream: the id, and its kind's number among its service's.
    pub(super) stream: Uuid,
    pub(super) kind: u8,
    /// The service's number in [`Role::ALL`].
    pub(super) service: u8,
    /// The event's sequence; the first one's, where the same command was issued again.
    pub(super) sequence: u32,
    /// The topic's number in [`topics::ALL`].
    pub(super) topic: u8,
    pub(super) partition: u16,
    /// The relay has passed it: it must be there. Else it is on its way.
    pub(super) is_due: bool,
}

impl Expected {
    const BYTES: usize = 42;

    fn bytes(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..16].copy_from_slice(self.id.as_bytes());
        bytes[16..32].copy_from_slice(self.stream.as_bytes());
        bytes[32..36].copy_from_slice(&self.sequence.to_be_bytes());
        bytes[36..38].copy_from_slice(&self.partition.to_be_bytes());
        bytes[38..].copy_from_slice(&[self.kind, self.service, self.topic, u8::from(self.is_due)]);
        bytes
    }

    fn of(bytes: &[u8; Self::BYTES]) -> Self {
        let id = |at: usize| Uuid::from_bytes(std::array::from_fn(|n| bytes[at + n]));
        Self {
            id: id(0),
            stream: id(16),
            sequence: u32::from_be_bytes(std::array::from_fn(|n| bytes[32 + n])),
            partition: u16::from_be_bytes(std::array::from_fn(|n| bytes[36 + n])),
            kind: bytes[38],
            service: bytes[39],
            topic: bytes[40],
            is_due: bytes[41] != 0,
        }
    }

    /// Those that were put aside into a part.
    pub(super) fn read(part: &[u8]) -> impl Iterator<Item = Self> + '_ {
        part.as_chunks().0.iter().map(Self::of)
    }

    /// What to call it.
    pub(super) fn name(&self) -> String {
        let kind = KINDS.get(usize::from(self.kind)).unwrap_or(&"stream");
        format!("{kind} {} event {}", self.stream, self.sequence)
    }
}

/// The kinds of streams that are published.
const KINDS: [&str; 7] = ["user", "product", "stock", "order", "payment", "order_fulfilment", "notification"];

/// What one service's events mean outside.
#[derive(Clone)]
pub(super) struct Messages {
    publisher: Option<Arc<dyn Publish>>,
    role: Role,
    relay: Cursor,
    /// Only what was recorded after it.
    since: Cursor,
    partitions: u16,
    aside: Arc<Spill>,
}

impl Messages {
    /// Nothing yet; `relay` is how far the service's relay has come.
    pub(super) fn new(
        role: Role,
        publisher: Option<Arc<dyn Publish>>,
        relay: Cursor,
        since: Cursor,
        partitions: u16,
        aside: Arc<Spill>,
    ) -> Self {
        Self { publisher, role, relay, since, partitions, aside }
    }

    /// Takes in an event. Those of a stream come one after the other.
    pub(super) fn take(&self, kind: &'static str, id: Uuid, event: &RecordedEvent) -> Result<(), event_store::Error> {
        let Some(publisher) = &self.publisher else { return Ok(()) };
        // A message that stands for an earlier event too is published again by a later one: that one counts.
        if event.cursor <= self.since {
            return Ok(());
        }
        for (index, outgoing) in publisher.publish(event)?.into_iter().enumerate() {
            let expected = Expected {
                id: outgoing.id.unwrap_or_else(|| derived_id(event.metadata.event_id, index)),
                stream: id,
                kind: number(KINDS.iter().position(|known| *known == kind)),
                service: number(Role::ALL.iter().position(|role| *role == self.role)),
                sequence: u32::try_from(event.sequence).unwrap_or(u32::MAX),
                topic: number(topics::ALL.iter().position(|other| *other == outgoing.topic)),
                partition: u16::try_from(partition_of(&outgoing.key, i32::from(self.partitions))).unwrap_or(0),
                is_due: event.cursor <= self.relay,
            };
            self.aside.put(&outgoing.key.as_str(), &expected.bytes());
        }
        Ok(())
    }
}

fn number(position: Option<usize>) -> u8 {
    position.and_then(|n| u8::try_from(n).ok()).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_aside_comes_back_as_it_was() {
        let expected = Expected {
            id: Uuid::from_u128(1),
            stream: Uuid::from_u128(2),
            kind: 3,
            service: 4,
            sequence: 5,
            topic: 6,
            partition: 700,
            is_due: true,
        };
        let part = [expected.bytes(), Expected { is_due: false, ..expected }.bytes()].concat();
        let read: Vec<_> = Expected::read(&part).collect();
        assert_eq!(read, [expected, Expected { is_due: false, ..expected }]);
    }
}
