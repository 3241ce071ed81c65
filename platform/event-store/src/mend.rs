//! What operators do to what stands beside the events, and the record of it.
//!
//! A dead letter is never handled by whoever retries it: its key is marked, and the consumer that holds the partition
//! handles the key's letters in its own unit of work. So their order holds, and each has its effect once.

use broker::TopicPartition;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::clock::Clock;
use crate::{Append, Cursor, DeadLetter, Metadata, NewEvent, StreamId};

/// The type of the streams that operators' acts are recorded in, one stream an act. They are nobody's business outside
/// the store: neither the relay nor a projection sees them.
pub const OPERATION: &str = "operation";

/// A dead letter as it was seen. An operator's edit makes it another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LetterId {
    /// The consumer that put it aside.
    pub consumer: String,
    /// Where it lay.
    pub partition: TopicPartition,
    /// Its offset.
    pub offset: i64,
    /// How often it has been edited.
    pub revision: i32,
}

/// A dead letter with what became of it since.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// The letter.
    pub letter: DeadLetter,
    /// How often it was tried; a letter that only waits was never.
    pub attempts: i32,
    /// How often it has been edited.
    pub revision: i32,
}

impl Letter {
    /// The letter as it is now.
    pub fn id(&self) -> LetterId {
        LetterId {
            consumer: self.letter.consumer.clone(),
            partition: self.letter.partition.clone(),
            offset: self.letter.offset,
            revision: self.revision,
        }
    }
}

/// The letters of one key of a topic: the dead one and those behind it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LetterKey {
    /// The consumer that put them aside.
    pub consumer: String,
    /// The topic.
    pub topic: String,
    /// The records' key.
    pub key: String,
}

/// A change to what stands beside the events. Where a thing is not as it was seen any more, the whole unit of work fails
/// with [`crate::Error::Outdated`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mend {
    /// The key's letters are to be handled again, the first one first.
    Retry(LetterKey),
    /// They were, as far as could be.
    Retried(LetterKey),
    /// The letter goes: it was handled, or given up.
    Remove(LetterId),
    /// The letter stays: it was tried in vain, or waits behind another one.
    Keep {
        /// The letter.
        id: LetterId,
        /// Why.
        reason: String,
        /// It only waits.
        parked: bool,
    },
    /// The letter gets another value.
    Edit {
        /// The letter.
        id: LetterId,
        /// The new value.
        value: Vec<u8>,
    },
    /// A consumer goes on elsewhere, in a partition that nobody holds.
    MoveOffset {
        /// The consumer.
        consumer: String,
        /// The partition.
        partition: TopicPartition,
        /// Its next offset now.
        from: i64,
        /// The new one.
        to: i64,
    },
    /// A follower that holds its place by a lease of its own name goes on elsewhere; nobody may hold it.
    MoveCheckpoint {
        /// The follower.
        follower: String,
        /// Its checkpoint now.
        from: Cursor,
        /// The new one.
        to: Cursor,
    },
}

/// An operator's act, as its event holds it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Operation {
    /// What was done, in the past tense: `dead_letter_discarded`. It is the event's type, too.
    pub act: String,
    /// To what.
    pub target: serde_json::Value,
    /// Why, in the operator's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Operation {
    /// The append that records it, in a stream of its own: acts never wait for each other.
    pub fn append(&self, actor: &str, clock: &dyn Clock) -> Append {
        let id: Uuid = clock.new_id();
        let event = NewEvent {
            event_type: self.act.clone(),
            event_version: "1".to_owned(),
            payload: serde_json::to_string(self).unwrap_or_else(|_| "{}".to_owned()),
            metadata: Metadata {
                event_id: clock.new_id(),
                correlation_id: id,
                causation_id: id,
                command_id: id,
                actor: actor.to_owned(),
                traceparent: None,
                recorded_at: clock.now(),
                prev_hash: None,
            },
        };
        let stream = StreamId { aggregate_type: OPERATION, aggregate_id: id.to_string() };
        Append { stream, expected: 0, events: vec![event] }
    }
}
