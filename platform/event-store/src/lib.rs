//! The event store: streams of events, and the unit of work that changes them.
//!
//! The event table is the outbox: a commit to it is the only moment at which anything happens.
//! [`PgStore`] is the production store; [`MemoryStore`] is a second implementation with the same
//! unit of work and the same visible order, for the simulation. One conformance suite runs on both.

use std::borrow::Cow;
use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use uuid::Uuid;

use broker::{Record, TopicPartition};
use kernel::Decide;

mod answer;
pub mod chain;
pub mod clock;
mod decode;
pub mod measures;
mod memory;
mod mend;
mod postgres;

/// The tables behind [`PgStore`].
pub static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!("./migrations");

pub use answer::Answer;
pub use chain::HashChain;
pub use decode::{Decoded, Stored, is_current};
pub use memory::MemoryStore;
pub use mend::{Letter, LetterId, LetterKey, Mend, OPERATION, Operation};
pub use postgres::{Alone, Gate, Kept, Lent, PgStore, StoreOptions, load};

/// One stream: the events of one aggregate.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId {
    /// `cqrs_es::Aggregate::TYPE`.
    pub aggregate_type: &'static str,
    /// The aggregate's id.
    pub aggregate_id: String,
}

impl StreamId {
    /// The stream of aggregate `A` with this id.
    pub fn of<A: cqrs_es::Aggregate>(aggregate_id: impl Into<String>) -> Self {
        Self { aggregate_type: A::TYPE, aggregate_id: aggregate_id.into() }
    }
}

/// Where an event stands in the store's visible order. Compared as a pair: positions alone are
/// handed out before the commit and say nothing about commit order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash, Serialize, Deserialize)]
pub struct Cursor {
    /// PostgreSQL's 64-bit transaction id (xid8).
    pub transaction_id: u64,
    /// The identity column within it.
    pub position: i64,
}

/// Who, why and within what an event came about. Stored as a flat object of strings, so that a
/// stock cqrs-es repository reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// UUIDv7, the published message's `ce_id` derives from it.
    pub event_id: Uuid,
    /// The whole story's id: the first request's.
    pub correlation_id: Uuid,
    /// The message, event or request that this one follows from.
    pub causation_id: Uuid,
    /// The command that decided it.
    pub command_id: Uuid,
    /// `user:<id>`, `service:<name>`, `operator:<name>` or `system`.
    pub actor: String,
    /// W3C trace context of the request, if it was traced.
    pub traceparent: Option<String>,
    /// When the process recorded it (the database's own time stands in `recorded_at`).
    pub recorded_at: DateTime<Utc>,
    /// The hash of the event before it in its stream, where the store chains: it fills this in.
    pub prev_hash: Option<chain::Hash>,
}

impl Metadata {
    /// As cqrs-es stores it.
    pub fn to_map(&self) -> HashMap<String, String> {
        let mut map = HashMap::from([
            ("event_id".to_owned(), self.event_id.to_string()),
            ("correlation_id".to_owned(), self.correlation_id.to_string()),
            ("causation_id".to_owned(), self.causation_id.to_string()),
            ("command_id".to_owned(), self.command_id.to_string()),
            ("actor".to_owned(), self.actor.clone()),
            ("recorded_at".to_owned(), self.recorded_at.to_rfc3339_opts(chrono::SecondsFormat::Micros, true)),
        ]);
        if let Some(traceparent) = &self.traceparent {
            map.insert("traceparent".to_owned(), traceparent.clone());
        }
        if let Some(prev_hash) = &self.prev_hash {
            map.insert("prev_hash".to_owned(), prev_hash.to_string());
        }
        map
    }

    /// [`Metadata::to_map`] as JSON text, without the detour.
    pub fn to_json(&self) -> String {
        let written = WrittenMetadata {
            event_id: self.event_id,
            correlation_id: self.correlation_id,
            causation_id: self.causation_id,
            command_id: self.command_id,
            actor: Cow::Borrowed(&self.actor),
            traceparent: self.traceparent.as_deref().map(Cow::Borrowed),
            recorded_at: self.recorded_at,
            prev_hash: self.prev_hash,
        };
        serde_json::to_string(&written).unwrap_or_else(|_| "{}".to_owned())
    }

    /// Reads the JSON text of a row; what a stock repository wrote is read as by
    /// [`Metadata::from_map`].
    pub fn from_json(json: &str, fallback: impl FnOnce() -> Uuid, recorded_at: DateTime<Utc>) -> Self {
        match serde_json::from_str::<WrittenMetadata<'_>>(json) {
            Ok(written) => Self {
                event_id: written.event_id,
                correlation_id: written.correlation_id,
                causation_id: written.causation_id,
                command_id: written.command_id,
                actor: written.actor.into_owned(),
                traceparent: written.traceparent.map(Cow::into_owned),
                recorded_at: written.recorded_at,
                prev_hash: written.prev_hash,
            },
            Err(_) => Self::from_map(&serde_json::from_str(json).unwrap_or_default(), fallback, recorded_at),
        }
    }

    /// Reads what is there; an event written by a stock repository has none of it and gets ids
    /// derived from its place (`fallback`), the same at each reading.
    pub fn from_map(
        map: &HashMap<String, String>,
        fallback: impl FnOnce() -> Uuid,
        recorded_at: DateTime<Utc>,
    ) -> Self {
        let id = |name: &str| map.get(name).and_then(|text| Uuid::parse_str(text).ok());
        let event_id = id("event_id").unwrap_or_else(fallback);
        Self {
            event_id,
            correlation_id: id("correlation_id").unwrap_or(event_id),
            causation_id: id("causation_id").unwrap_or(event_id),
            command_id: id("command_id").unwrap_or(event_id),
            actor: map.get("actor").cloned().unwrap_or_else(|| "system".to_owned()),
            traceparent: map.get("traceparent").cloned(),
            recorded_at: map
                .get("recorded_at")
                .and_then(|text| DateTime::parse_from_rfc3339(text).ok())
                .map_or(recorded_at, |time| time.with_timezone(&Utc)),
            prev_hash: map.get("prev_hash").and_then(|text| text.parse().ok()),
        }
    }
}

/// Metadata as this store writes it, all of it there.
#[derive(Serialize, Deserialize)]
struct WrittenMetadata<'a> {
    event_id: Uuid,
    correlation_id: Uuid,
    causation_id: Uuid,
    command_id: Uuid,
    #[serde(borrow)]
    actor: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    traceparent: Option<Cow<'a, str>>,
    recorded_at: DateTime<Utc>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    prev_hash: Option<chain::Hash>,
}

/// An event about to be appended.
#[derive(Debug, Clone)]
pub struct NewEvent {
    /// `DomainEvent::event_type`.
    pub event_type: String,
    /// `DomainEvent::event_version`.
    pub event_version: String,
    /// The event as JSON text.
    pub payload: String,
    /// Its metadata.
    pub metadata: Metadata,
}

/// Events for one stream, decided on its state at `expected`.
#[derive(Debug, Clone)]
pub struct Append {
    /// The stream.
    pub stream: StreamId,
    /// The sequence of the last event that the decision saw; 0 for a new stream.
    pub expected: u64,
    /// What to append: sequences `expected + 1 ..`.
    pub events: Vec<NewEvent>,
}

/// An event as it stands in the store.
#[derive(Debug, Clone)]
pub struct RecordedEvent {
    /// The aggregate's type.
    pub aggregate_type: String,
    /// The aggregate's id.
    pub aggregate_id: String,
    /// Its place in the stream, from 1.
    pub sequence: u64,
    /// Its type.
    pub event_type: String,
    /// Its schema's version.
    pub event_version: String,
    /// The JSON text.
    pub payload: String,
    /// Its metadata.
    pub metadata: Metadata,
    /// Its place in the store's visible order.
    pub cursor: Cursor,
    /// The database's time of the insert.
    pub recorded_at: DateTime<Utc>,
}

impl RecordedEvent {
    /// It records an operator's act: nothing of the domain.
    pub fn is_operation(&self) -> bool {
        self.aggregate_type == OPERATION
    }

    /// What of it says which event it is.
    pub fn stored(&self) -> Stored<'_> {
        Stored {
            aggregate_type: &self.aggregate_type,
            aggregate_id: &self.aggregate_id,
            sequence: self.sequence,
            event_type: &self.event_type,
            event_version: &self.event_version,
            payload: &self.payload,
            recorded_at: self.recorded_at,
        }
    }

    /// See [`Stored::decode_all`].
    ///
    /// # Errors
    /// It cannot be read, or a newer program wrote it.
    pub fn decode_all<A: Decide>(&self) -> Result<Decoded<A::Event>, Error> {
        self.stored().decode_all::<A>().map_err(|error| match error {
            Error::UnknownVersion { what, error } if self.cursor != Cursor::default() => {
                Error::UnknownVersion { what: format!("{what} at position {}", self.cursor.position), error }
            }
            error => error,
        })
    }
}

/// What a state is folded from: a stream's payloads, in order and without a gap.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    /// The sequence that they follow.
    pub after: u64,
    /// The events as JSON text: sequences `after + 1 ..`.
    pub payloads: Vec<String>,
    /// Not all of them are in their first form: [`EventStore::load`] tells in which.
    pub evolved: bool,
}

/// A page of the visible order.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// Events that every reader may see, in order.
    pub events: Vec<RecordedEvent>,
    /// There may be more to see at once: the page is full, or came from memory.
    pub more: bool,
    /// Behind all that is visible there are committed events that an older, unfinished transaction
    /// still hides: the transaction of the first of them, see [`EventStore::passed`]. Not known
    /// while there is `more`.
    pub hidden: Option<u64>,
}

/// A held partition of a consumer. Proof of ownership is the epoch, not the lease's time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The consumer's name.
    pub consumer: String,
    /// The partition.
    pub partition: TopicPartition,
    /// Raised by each claim.
    pub epoch: i64,
    /// The first offset not yet handled.
    pub next_offset: i64,
}

/// Moves a lease's offset within a unit of work; the unit fails with [`Error::LeaseLost`] unless
/// the epoch and the old offset are still as held.
#[derive(Debug, Clone)]
pub struct OffsetAdvance {
    /// The lease as held (its `next_offset` is the old one).
    pub lease: Lease,
    /// The new next offset.
    pub to: i64,
}

/// A record that can never be handled, or that waits behind such a one of its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// The consumer that met it.
    pub consumer: String,
    /// Where it lies.
    pub partition: TopicPartition,
    /// Its offset.
    pub offset: i64,
    /// The record, whole.
    pub record: Record,
    /// Why it cannot be handled; for a parked follower, behind which one it waits.
    pub reason: String,
    /// It did nothing wrong itself: an earlier record of its key is dead.
    pub parked: bool,
}

/// A durable timer of an aggregate: at most one per stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TimerChange {
    /// Sets or moves it.
    Set {
        /// Whose timer.
        stream: StreamId,
        /// When it is due.
        due_at: DateTime<Utc>,
        /// The trace that set it: the timeout's work belongs to the order's trace.
        traceparent: Option<String>,
        /// The story's id.
        correlation_id: Uuid,
    },
    /// Takes it away.
    Clear {
        /// Whose timer.
        stream: StreamId,
    },
    /// Takes it away if it is still due at this moment: who fired it in vain must not take away
    /// one that was set meanwhile.
    Expire {
        /// Whose timer.
        stream: StreamId,
        /// When it was due.
        due_at: DateTime<Utc>,
    },
}

impl TimerChange {
    /// Whose timer.
    pub fn stream(&self) -> &StreamId {
        match self {
            Self::Set { stream, .. } | Self::Clear { stream } | Self::Expire { stream, .. } => stream,
        }
    }
}

/// A timer that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueTimer {
    /// The aggregate's id.
    pub aggregate_id: String,
    /// When it was due.
    pub due_at: DateTime<Utc>,
    /// The trace that set it.
    pub traceparent: Option<String>,
    /// The story's id.
    pub correlation_id: Uuid,
}

/// A state and the sequence it covers; always equal to the fold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The stream.
    pub stream: StreamId,
    /// The last event folded in.
    pub sequence: u64,
    /// The state as JSON text.
    pub state: String,
}

/// All that one transaction writes: all of it or nothing. The append comes first.
#[derive(Debug, Clone, Default)]
pub struct UnitOfWork {
    /// Events, at most one append per stream.
    pub appends: Vec<Append>,
    /// `(consumer, command id)` pairs handled by it: see [`EventStore::handled`].
    pub inbox: Vec<(String, Uuid)>,
    /// Timers set and cleared.
    pub timers: Vec<TimerChange>,
    /// Records put aside.
    pub dead_letters: Vec<DeadLetter>,
    /// What is done about those, and about places. Any that is not as it was seen rolls everything back.
    pub mends: Vec<Mend>,
    /// Offsets moved. Any that does not match rolls everything back.
    pub offsets: Vec<OffsetAdvance>,
    /// Answers to requests that came with an idempotency key. A key that has one already rolls
    /// everything back.
    pub answers: Vec<Answer>,
}

/// What can go wrong at a store.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Somebody else appended to the stream since the decision's load: decide again.
    #[error("stream {}/{} has moved on from sequence {expected}", .stream.aggregate_type, .stream.aggregate_id)]
    Conflict {
        /// The stream.
        stream: StreamId,
        /// The sequence that the decision saw.
        expected: u64,
    },
    /// The idempotency key has an answer already, see [`EventStore::answer`]: nothing was written.
    #[error("the idempotency key has an answer already")]
    Repeated,
    /// The partition was claimed by another since: drop the lease, nothing was written.
    #[error("the lease of {consumer} on {partition} was lost")]
    LeaseLost {
        /// The consumer.
        consumer: String,
        /// The partition.
        partition: TopicPartition,
    },
    /// What was to be mended is not as it was seen, or is held by somebody who works on it: look again. Nothing was
    /// written.
    #[error("it is not as it was any more, or is being worked on")]
    Outdated,
    /// An event in the store cannot be read by this version of the code: stop, never skip.
    #[error("event {sequence} of {stream} cannot be read: {error}")]
    Undecodable {
        /// The stream.
        stream: String,
        /// The event's sequence.
        sequence: u64,
        /// What the decoder said.
        error: String,
    },
    /// A newer program wrote it: stop until this one is as new, never skip and never guess.
    #[error("{what}: {error}: a newer program wrote it, and this one must be upgraded before it can go on")]
    UnknownVersion {
        /// What it is, and where it stands.
        what: String,
        /// Of which version it is, and up to which it is known.
        error: String,
    },
    /// The store is away or overloaded for now: nothing was written, or it is not known whether
    /// it was; try again (appends are idempotent by their expected version).
    #[error("the event store is unavailable: {0}")]
    Unavailable(String),
    /// A defect or a full disk: trying again will not help by itself.
    #[error("the event store failed: {0}")]
    Failed(String),
}

impl Error {
    /// Whether the same call may succeed later without anybody mending anything.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }

    /// Whether an event is the trouble, whoever wrote it: those before it can be read all the same.
    pub fn is_unreadable(&self) -> bool {
        matches!(self, Self::UnknownVersion { .. } | Self::Undecodable { .. })
    }

    /// The same trouble, told to one more of those who had to do with it.
    pub(crate) fn for_another(&self) -> Self {
        match self {
            Self::Unavailable(reason) => Self::Unavailable(reason.clone()),
            other => Self::Failed(other.to_string()),
        }
    }
}

/// One service's event store.
#[async_trait]
pub trait EventStore: Send + Sync + 'static {
    /// cqrs-es' own repository on the same table, where the store has one: a stream that is loaded
    /// by itself loads through it. None while other loads are under way, which
    /// [`EventStore::history`] gathers.
    fn repository(&self) -> Option<Alone<'_>> {
        None
    }

    /// What happened in one stream after this sequence. Loads that come together may be read
    /// together.
    async fn history(&self, stream: StreamId, after: u64) -> Result<History, Error> {
        let events = self.load(&[(stream, after)]).await?.pop().unwrap_or_default();
        let evolved = events.iter().any(|event| event.event_version != "1");
        Ok(History { after, payloads: events.into_iter().map(|event| event.payload).collect(), evolved })
    }

    /// Events of each stream after its sequence, in order; the answer is in the order asked.
    async fn load(&self, streams: &[(StreamId, u64)]) -> Result<Vec<Vec<RecordedEvent>>, Error>;

    /// Appends to one stream through the group commit and returns the last event's cursor.
    async fn append(&self, append: Append) -> Result<Cursor, Error> {
        self.append_answered(append, None).await
    }

    /// As [`EventStore::append`], with the answer to the request that caused it: both are written
    /// or neither is.
    async fn append_answered(&self, append: Append, answer: Option<Answer>) -> Result<Cursor, Error>;

    /// What the request with this idempotency key was answered.
    async fn answer(&self, scope: &str, key: &str) -> Result<Option<Answer>, Error>;

    /// Deletes up to `limit` answers older than `age` and tells how many.
    async fn forget_answers(&self, age: Duration, limit: usize) -> Result<usize, Error>;

    /// Commits a unit of work in one transaction of its own.
    async fn commit(&self, work: UnitOfWork) -> Result<(), Error>;

    /// Up to `limit` events after the cursor in the visible order.
    async fn read_after(&self, after: Cursor, limit: usize) -> Result<Page, Error>;

    /// Wakes whoever follows the store: its value rises with each commit of this process (and of
    /// others, where the store hears of them). Correctness never depends on it.
    fn commits(&self) -> watch::Receiver<u64>;

    /// Waits until events of this transaction are visible. May wait long, if the server is away:
    /// whoever waits looks for themselves now and then.
    async fn passed(&self, transaction_id: u64) {
        let _ = transaction_id;
    }

    /// Those of `command_ids` that the consumer has handled before.
    async fn handled(&self, consumer: &str, command_ids: &[Uuid]) -> Result<Vec<Uuid>, Error>;

    /// The follower's checkpoint; the start of the store if it has none.
    async fn checkpoint(&self, follower: &str) -> Result<Cursor, Error>;

    /// Moves a follower's checkpoint (relay: after the broker's acks).
    async fn save_checkpoint(&self, follower: &str, at: Cursor) -> Result<(), Error>;

    /// Claims and renews partitions for `owner`: first renews what it holds, then takes free or
    /// expired ones up to its fair share among the living members of the consumer, and gives up
    /// what it holds above that share. Returns all that it holds now; a renewed lease keeps its
    /// epoch. The lease ends `ttl` from now by the store's clock.
    async fn claim(
        &self,
        consumer: &str,
        owner: Uuid,
        partitions: &[TopicPartition],
        ttl: Duration,
    ) -> Result<Vec<Lease>, Error>;

    /// Gives the owner's leases up, so that others need not wait for their end.
    async fn release(&self, consumer: &str, owner: Uuid) -> Result<(), Error>;

    /// Those of `keys` that are blocked by a dead letter of this consumer and topic, each with
    /// the offset of the letter that blocks it.
    async fn blocked_keys(&self, consumer: &str, topic: &str, keys: &[String]) -> Result<HashMap<String, i64>, Error>;

    /// Whether the consumer has any dead letter; without one nothing is blocked.
    async fn has_dead_letters(&self, consumer: &str) -> Result<bool, Error>;

    /// The key's first letters, in the order of their offsets.
    async fn letters(&self, key: &LetterKey, limit: usize) -> Result<Vec<Letter>, Error>;

    /// The keys whose letters this consumer is to handle again: see [`Mend::Retry`].
    async fn retries(&self, consumer: &str, limit: usize) -> Result<Vec<LetterKey>, Error>;

    /// Timers of this aggregate type due at `now`, the oldest first, at most `limit`, and the
    /// moment at which the next one after them is due.
    async fn due_timers(
        &self,
        aggregate_type: &'static str,
        now: DateTime<Utc>,
        limit: usize,
    ) -> Result<(Vec<DueTimer>, Option<DateTime<Utc>>), Error>;

    /// The streams' snapshots, in the order asked.
    async fn snapshots(&self, streams: &[StreamId]) -> Result<Vec<Option<Snapshot>>, Error>;

    /// Saves a snapshot unless a later one is there. Outside the hot path.
    async fn save_snapshot(&self, snapshot: Snapshot) -> Result<(), Error>;
}
