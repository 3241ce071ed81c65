//! The relay: follows the event table in commit order and publishes what it finds.
//!
//! The checkpoint moves after the broker's acks, so a crash in between publishes again:
//! duplicates are normal, gaps cannot be.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use broker::{Broker, Record, TopicPartition, partition_of};
use event_store::{Cursor, EventStore, RecordedEvent};
use kernel::Live;
use telemetry::Tracer;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::backoff::Backoff;
use crate::failpoint;
use crate::measures::Relaying;
use crate::message::{Outgoing, to_record};
use crate::precedence::Precedence;

mod traces;

use traces::Publishing;

/// Maps a service's private events to published messages: the only place where that is done.
pub trait Publish: Send + Sync + 'static {
    /// The messages that this event means outside; none if it is nobody else's business.
    fn publish(&self, event: &RecordedEvent) -> Result<Vec<Outgoing>, event_store::Error>;
}

/// How a relay works.
#[derive(Debug, Clone)]
pub struct Options {
    /// `ce_source` of what it publishes.
    pub source: &'static str,
    /// Partitions of each topic.
    pub partitions: i32,
    /// At most so many events a round.
    pub page_events_max: usize,
    /// Between two checkpoints: what a crash publishes again.
    pub checkpoint_every: Duration,
    /// How long a relay of this service holds its place.
    pub lease: Duration,
    /// While requests crowd: a round so often, of so many events.
    pub crowded: (Duration, usize),
    /// A crowd goes first for so long at a stretch.
    pub crowd_max: Duration,
}

impl Options {
    /// The usual, for a source.
    pub fn new(source: &'static str, partitions: i32) -> Self {
        Self {
            source,
            partitions,
            page_events_max: 1_000,
            checkpoint_every: Duration::from_millis(50),
            lease: Duration::from_secs(10),
            crowded: (Duration::from_secs(1), 8),
            crowd_max: Duration::from_secs(15),
        }
    }
}

/// The name of the relay's checkpoint and lease.
pub const FOLLOWER: &str = "relay";

/// One service's relay.
pub struct Relay {
    store: Arc<dyn EventStore>,
    broker: Arc<dyn Broker>,
    publish: Arc<dyn Publish>,
    options: Options,
    owner: Uuid,
    measures: Relaying,
    tracer: Tracer,
    precedence: Arc<Precedence>,
    live: Live,
}

impl Relay {
    /// A relay from this store to this broker.
    pub fn new(
        store: Arc<dyn EventStore>,
        broker: Arc<dyn Broker>,
        publish: Arc<dyn Publish>,
        options: Options,
        owner: Uuid,
        live: Live,
    ) -> Self {
        let measures = Relaying::new(options.source);
        let tracer = Tracer::of(options.source);
        Self { store, broker, publish, options, owner, precedence: Arc::default(), measures, tracer, live }
    }

    /// A relay that lets requests go first: what it publishes makes work.
    pub fn after(self, precedence: Arc<Precedence>) -> Self {
        Self { precedence, ..self }
    }

    /// Follows until shutdown. Of several instances one relays, the others stand by.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut backoff = Backoff::for_outages();
        let mut singly = false;
        while !shutdown.is_cancelled() {
            match self.lead(singly, &shutdown, &mut backoff).await {
                Ok(()) => {}
                Err(error) => {
                    self.tell(&error);
                    self.measures.failed(error.of_store());
                    singly = error.of_store().is_some_and(event_store::Error::is_unreadable);
                    backoff.wait(&shutdown).await;
                }
            }
        }
        self.measures.leads(false);
        let _ = self.store.release(FOLLOWER, self.owner).await;
    }

    fn tell(&self, error: &Error) {
        let source = self.options.source;
        if let Some(event_store::Error::UnknownVersion { .. }) = error.of_store() {
            tracing::error!(relay.source = source, %error, "the relay stands still: it publishes nothing beyond this");
        } else {
            tracing::warn!(relay.source = source, %error, "the relay tries again");
        }
    }

    /// Relays for as long as the lease is ours; event by event if one is near that cannot be read, to pass all before it.
    async fn lead(&self, mut singly: bool, shutdown: &CancellationToken, backoff: &mut Backoff) -> Result<(), Error> {
        if !self.hold().await? {
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = tokio::time::sleep(self.options.lease / 4) => {}
            }
            return Ok(());
        }
        let mut held_at = Instant::now();
        let mut commits = self.store.commits();
        let mut at = self.store.checkpoint(FOLLOWER).await?;
        let mut saved = Saved { at, when: Instant::now() };
        let mut held_up = None;
        while !shutdown.is_cancelled() {
            if held_at.elapsed() > self.options.lease / 3 {
                if !self.hold().await? {
                    return Ok(());
                }
                held_at = Instant::now();
            }
            commits.mark_unchanged();
            let limit = if singly { 1 } else { self.turn(&mut held_up).await };
            let page = self.store.read_after(at, limit).await?;
            if !page.more {
                held_up = None;
            }
            if let Some(last) = page.events.last() {
                at = last.cursor;
                self.forward(&page.events).await?;
                self.measures.passed(page.events.len());
                backoff.reset();
            }
            let unsaved = saved.at != at;
            if unsaved && (singly || saved.when.elapsed() >= self.options.checkpoint_every) {
                self.save(at, &mut saved).await?;
            } else if !page.more {
                let longest = if unsaved { self.options.checkpoint_every } else { LOOK_EVERY };
                idle(self.store.as_ref(), page.hidden, longest, &mut commits, shutdown).await;
            }
            singly &= page.more;
        }
        if saved.at != at {
            self.save(at, &mut saved).await?;
        }
        Ok(())
    }

    /// Waits for its turn and tells how many events it may publish. A crowd of requests goes first, but not for ever:
    /// something is published all the while, and everything once the crowd has held events up for too long.
    async fn turn(&self, held_up: &mut Option<Instant>) -> usize {
        let (longest, few) = self.options.crowded;
        let tired = held_up.is_some_and(|since: Instant| since.elapsed() >= self.options.crowd_max);
        if tired || self.precedence.give_way(longest).await {
            return self.options.page_events_max;
        }
        held_up.get_or_insert_with(Instant::now);
        few
    }

    async fn hold(&self) -> Result<bool, Error> {
        let place = [TopicPartition::new(FOLLOWER, 0)];
        let held = !self.store.claim(FOLLOWER, self.owner, &place, self.options.lease).await?.is_empty();
        self.measures.leads(held);
        Ok(held)
    }

    async fn save(&self, at: Cursor, saved: &mut Saved) -> Result<(), Error> {
        failpoint::pass("relay.before_checkpoint");
        self.store.save_checkpoint(FOLLOWER, at).await?;
        *saved = Saved { at, when: Instant::now() };
        Ok(())
    }

    /// Publishes the page's messages, each partition's in order, and waits for the acks.
    async fn forward(&self, events: &[RecordedEvent]) -> Result<(), Error> {
        let mut batch: BTreeMap<TopicPartition, Vec<Record>> = BTreeMap::new();
        let mut traces = Publishing::begin(self.tracer, self.broker.system());
        // What operators did is nobody's business outside.
        for event in events.iter().filter(|event| !event.is_operation()) {
            for (index, outgoing) in self.publish.publish(event)?.into_iter().enumerate() {
                let partition = partition_of(&outgoing.key, self.options.partitions);
                let place = TopicPartition::new(outgoing.topic, partition);
                let traceparent = traces.message(event, index, &outgoing, partition);
                let mut record = to_record(event, index, self.options.source, outgoing);
                if let Some(traceparent) = traceparent {
                    record.headers.insert("traceparent".to_owned(), traceparent.into());
                }
                batch.entry(place).or_default().push(record);
            }
        }
        if batch.is_empty() {
            return Ok(());
        }
        let counts: Vec<_> = batch.iter().map(|(place, records)| (place.topic.clone(), records.len())).collect();
        failpoint::pass("relay.before_publish");
        let began = Instant::now();
        self.broker.publish(self.live.into(), batch.into_iter().collect()).await?;
        self.measures.published(counts.iter().map(|(topic, count)| (topic.as_ref(), *count)), began.elapsed());
        traces.published();
        failpoint::pass("relay.after_publish");
        Ok(())
    }
}

struct Saved {
    at: Cursor,
    when: Instant,
}

/// Longest wait without a wake-up, for commits of other processes that nobody told us of.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Waits for more, `longest` at most: for a commit, or, where committed events are still hidden, until they are not.
pub(crate) async fn idle(
    store: &dyn EventStore,
    hidden: Option<u64>,
    longest: Duration,
    commits: &mut tokio::sync::watch::Receiver<u64>,
    shutdown: &CancellationToken,
) {
    let more = async {
        match hidden {
            Some(transaction_id) => store.passed(transaction_id).await,
            None => {
                let _ = commits.changed().await;
            }
        }
    };
    tokio::select! {
        () = more => {}
        () = tokio::time::sleep(longest) => {}
        () = shutdown.cancelled() => {}
    }
}

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Store(#[from] event_store::Error),
    #[error(transparent)]
    Broker(#[from] broker::Error),
}

impl Error {
    fn of_store(&self) -> Option<&event_store::Error> {
        match self {
            Self::Store(error) => Some(error),
            Self::Broker(_) => None,
        }
    }
}
