//! The messages that a store's events mean, by the very mapping that the service publishes with.

use broker::partition_of;
use event_schemas::topics;
use event_store::{Cursor, RecordedEvent};
use runtime::Publish;
use runtime::message::derived_id;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use uuid::Uuid;

/// A message that must lie on a topic, or will.
#[derive(Debug)]
pub(super) struct Expected {
    /// The number of its stream in [`Messages`].
    pub(super) stream: u32,
    /// The event's sequence; the first one's, where the same command was issued again.
    pub(super) sequence: u32,
    /// The topic's number in [`topics::ALL`].
    pub(super) topic: u8,
    pub(super) partition: u16,
    /// The relay has passed it: it must be there. Else it is on its way.
    pub(super) is_due: bool,
    pub(super) is_seen: bool,
}

/// What one service's events mean outside.
pub(super) struct Messages {
    publisher: Option<Box<dyn Publish>>,
    relay: Cursor,
    partitions: u16,
    streams: Vec<(&'static str, Uuid)>,
    pub(super) by_id: HashMap<Uuid, Expected>,
}

impl Messages {
    /// Nothing yet; `relay` is how far the service's relay has come.
    pub(super) fn new(publisher: Option<Box<dyn Publish>>, relay: Cursor, partitions: u16) -> Self {
        Self { publisher, relay, partitions, streams: Vec::new(), by_id: HashMap::new() }
    }

    /// Takes in an event. Those of a stream come one after the other.
    pub(super) fn take(
        &mut self,
        kind: &'static str,
        id: Uuid,
        event: &RecordedEvent,
    ) -> Result<(), event_store::Error> {
        let Some(publisher) = &self.publisher else { return Ok(()) };
        for (index, outgoing) in publisher.publish(event)?.into_iter().enumerate() {
            if self.streams.last() != Some(&(kind, id)) {
                self.streams.push((kind, id));
            }
            let is_due = event.cursor <= self.relay;
            let message_id = outgoing.id.unwrap_or_else(|| derived_id(event.metadata.event_id, index));
            match self.by_id.entry(message_id) {
                Entry::Occupied(mut known) => known.get_mut().is_due |= is_due,
                Entry::Vacant(place) => {
                    place.insert(Expected {
                        stream: u32::try_from(self.streams.len() - 1).unwrap_or(u32::MAX),
                        sequence: u32::try_from(event.sequence).unwrap_or(u32::MAX),
                        topic: number_of(outgoing.topic),
                        partition: partition(&outgoing.key, self.partitions),
                        is_due,
                        is_seen: false,
                    });
                }
            }
        }
        Ok(())
    }

    /// What to call a message.
    pub(super) fn name(&self, expected: &Expected) -> String {
        let (kind, id) = self.streams[expected.stream as usize];
        format!("{kind} {id} event {}", expected.sequence)
    }
}

fn number_of(topic: &str) -> u8 {
    topics::ALL.iter().position(|other| *other == topic).and_then(|n| u8::try_from(n).ok()).unwrap_or(u8::MAX)
}

fn partition(key: &str, partitions: u16) -> u16 {
    u16::try_from(partition_of(key, i32::from(partitions))).unwrap_or(0)
}
