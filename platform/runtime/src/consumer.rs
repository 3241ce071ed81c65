//! Consumers: leased partitions, batches, exactly-once effect.
//!
//! Kafka's groups, offsets and transactions are not used (rskafka has none): a row per partition in
//! the consumer's own database holds epoch, lease and next offset, and a batch's effects and its
//! offsets are one unit of work. Whoever lost the lease writes nothing, however late it wakes.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use broker::{Broker, TopicPartition};
use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use event_store::clock::Clock;
use event_store::{EventStore, Lease, OffsetAdvance, StreamId, TimerChange, UnitOfWork};
use kernel::Decide;
use telemetry::{Tracer, logs};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use crate::backoff::Backoff;
use crate::batch::Decided;
use crate::measures::Consuming;
use crate::message::{self, Message};
use crate::states::Cache;
use crate::traces::{Step, Traces};
use crate::{Origin, failpoint};

mod fetch;
mod intake;
mod measured;
mod retry;
mod traces;

use fetch::{Batch, Fetchers};

/// What becomes of an aggregate's durable timer after a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timer {
    /// Due then.
    Set(DateTime<Utc>),
    /// Not needed any more.
    Clear,
}

impl Timer {
    /// The change of this stream's timer, in the trace and the undertaking that it is for.
    pub(crate) fn change(self, stream: StreamId, origin: &Origin) -> TimerChange {
        match self {
            Self::Set(due_at) => TimerChange::Set {
                stream,
                due_at,
                traceparent: origin.traceparent.clone(),
                correlation_id: origin.correlation_id,
            },
            Self::Clear => TimerChange::Clear { stream },
        }
    }
}

/// The commands of an aggregate.
pub type CommandOf<A> = <A as Aggregate>::Command;

/// The events of an aggregate.
pub type EventOf<A> = <A as Aggregate>::Event;

/// Commands, each with the id of the aggregate that it is for.
pub type Addressed<A> = Vec<(String, CommandOf<A>)>;

/// What a consumer does with messages: which commands they mean to which aggregates.
pub trait Handler: Send + Sync + 'static {
    /// The aggregate that decides.
    type Aggregate: Decide;

    /// Commands are remembered by message id in the inbox, for aggregates whose own state does
    /// not remember for ever.
    const INBOX: bool = false;

    /// The aggregate has durable timers: [`Handler::timer`] is asked after each decision.
    const TIMERS: bool = false;

    /// The least time between two units of work while there is more to do. Where nobody waits for
    /// the effects, what comes meanwhile is gathered: fewer transactions cost the others less.
    const PACE: Duration = Duration::ZERO;

    /// The commands that this message means, each for the aggregate of that id. None: not for us.
    /// An error: it can never be handled, and becomes a dead letter.
    fn commands(&self, message: &Message, now: DateTime<Utc>) -> Result<Addressed<Self::Aggregate>, message::Error>;

    /// The latest version of this type's form that it understands. A newer one stops the consumer: this program is too
    /// old for it, and the message must neither be skipped nor be taken for something that it is not.
    fn version(&self, message_type: &str) -> u32 {
        let _ = message_type;
        1
    }

    /// The aggregate's timer after it went from one state to another; `None` leaves it.
    fn timer(&self, id: &str, before: &Self::Aggregate, after: &Self::Aggregate) -> Option<Timer> {
        let _ = (id, before, after);
        None
    }

    /// The command that a due timer of the aggregate means.
    fn timeout(&self, id: &str, now: DateTime<Utc>) -> Option<CommandOf<Self::Aggregate>> {
        let _ = (id, now);
        None
    }

    /// After the commit, with what was recorded and where it came from: wakes whoever has work to do from it.
    fn committed(&self, id: &str, state: &Self::Aggregate, events: &[EventOf<Self::Aggregate>], origin: &Origin) {
        let _ = (id, state, events, origin);
    }

    /// Says on the span of a message's handling, or of a timeout's, what the command is about.
    fn describe(&self, id: &str, command: &CommandOf<Self::Aggregate>, span: &mut telemetry::Span) {
        let _ = (id, command, span);
    }

    /// What the event has others do, if that is to have a span of its own.
    fn step<'a>(&self, id: &'a str, event: &'a EventOf<Self::Aggregate>) -> Option<Step<'a>> {
        let _ = (id, event);
        None
    }
}

/// A consumer, as the event catalogue tells of it.
#[derive(Debug, Clone, Copy)]
pub struct Follows {
    /// Its name.
    pub consumer: &'static str,
    /// The topics that it follows.
    pub topics: &'static [&'static str],
    /// Whether it acts on such a message, or passes it by.
    pub acts_on: fn(&Message) -> bool,
}

/// How a consumer works.
#[derive(Debug, Clone)]
pub struct Options {
    /// The service that it is of, as its metrics name it.
    pub service: &'static str,
    /// Its name: offsets, leases and dead letters stand under it.
    pub name: &'static str,
    /// The topics it follows.
    pub topics: Vec<&'static str>,
    /// Partitions of each topic.
    pub partitions: i32,
    /// A dead instance's partitions are taken over when so much time has passed.
    pub lease: Duration,
    /// At most so many records a unit of work.
    pub batch_records_max: usize,
    /// Aggregates kept in memory (twice as many at most).
    pub states_max: usize,
    /// The replay whose messages it acts on. Those of any other are passed by.
    pub replay: Option<String>,
}

impl Options {
    /// The usual, for a consumer of these topics.
    pub fn new(name: &'static str, topics: &[&'static str], partitions: i32) -> Self {
        Self {
            service: name,
            name,
            topics: topics.to_vec(),
            partitions,
            lease: Duration::from_secs(10),
            batch_records_max: 500,
            states_max: 1_000,
            replay: None,
        }
    }

    fn all_partitions(&self) -> impl Iterator<Item = TopicPartition> + '_ {
        self.topics.iter().flat_map(|topic| (0..self.partitions).map(|n| TopicPartition::new(*topic, n)))
    }
}

/// Tries of one batch whose streams others keep changing, before it waits a little.
const CONFLICTS_MAX: u32 = 20;

/// One instance of a consumer.
pub struct Consumer<H: Handler> {
    store: Arc<dyn EventStore>,
    broker: Arc<dyn Broker>,
    clock: Arc<dyn Clock>,
    handler: Arc<H>,
    options: Options,
    owner: Uuid,
    measures: Consuming,
    tracer: Tracer,
}

/// What it holds while it runs.
struct Held<A> {
    leases: HashMap<TopicPartition, Lease>,
    fetchers: Fetchers,
    cache: Cache<A>,
    /// While there is none, nothing is blocked and nobody need ask.
    has_dead_letters: bool,
    renewed_at: Instant,
}

impl<H: Handler> Consumer<H> {
    /// A consumer of this broker's topics with its state in this store.
    pub fn new(
        store: Arc<dyn EventStore>,
        broker: Arc<dyn Broker>,
        clock: Arc<dyn Clock>,
        handler: Arc<H>,
        options: Options,
        owner: Uuid,
    ) -> Self {
        let measures = Consuming::new(options.service, options.name, options.all_partitions(), Arc::clone(&clock));
        let tracer = Tracer::of(options.service);
        Self { store, broker, clock, handler, options, owner, measures, tracer }
    }

    /// Consumes until shutdown, then gives its partitions up.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut backoff = Backoff::for_outages();
        let watching = self.measures.clone().watch(Arc::clone(&self.broker));
        let _watching = AbortOnDropHandle::new(tokio::spawn(watching));
        while !shutdown.is_cancelled() {
            if let Err(error) = self.consume(&shutdown, &mut backoff).await {
                tell(self.options.name, &error);
                self.measures.failed(&error);
                backoff.wait(&shutdown).await;
            }
        }
        let _ = self.store.release(self.options.name, self.owner).await;
    }

    /// Claims and handles until shutdown or trouble. Nothing is lost by starting over: all state
    /// is in the store.
    async fn consume(&self, shutdown: &CancellationToken, backoff: &mut Backoff) -> Result<(), event_store::Error> {
        let (sender, mut batches) = mpsc::channel::<Batch>(64);
        let mut held = Held {
            leases: HashMap::new(),
            fetchers: Fetchers::new(Arc::clone(&self.broker), sender, self.measures.clone()),
            cache: Cache::new(self.options.states_max),
            has_dead_letters: true,
            renewed_at: Instant::now(),
        };
        self.renew(&mut held).await?;
        self.retry(&mut held).await?;
        while !shutdown.is_cancelled() {
            let next_renewal = held.renewed_at + self.options.lease / 3;
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                () = tokio::time::sleep_until(next_renewal) => {
                    self.renew(&mut held).await?;
                    self.retry(&mut held).await?;
                }
                Some(first) = batches.recv() => {
                    let next = Instant::now() + H::PACE;
                    let ready = self.gather(first, &mut batches);
                    self.handle(ready, &mut held).await?;
                    backoff.reset();
                    if !H::PACE.is_zero() {
                        tokio::select! {
                            () = tokio::time::sleep_until(next) => {}
                            () = shutdown.cancelled() => {}
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Renews what is held and takes its share of what is free; fetchers follow.
    async fn renew(&self, held: &mut Held<H::Aggregate>) -> Result<(), event_store::Error> {
        let partitions: Vec<TopicPartition> = self.options.all_partitions().collect();
        let leases = self.store.claim(self.options.name, self.owner, &partitions, self.options.lease).await?;
        let mut renewed = HashMap::new();
        let mut gained = false;
        for lease in leases {
            let same = held.leases.get(&lease.partition).is_some_and(|old| old.epoch == lease.epoch);
            if !same {
                gained = true;
                held.fetchers.start(&lease);
            }
            renewed.insert(lease.partition.clone(), lease);
        }
        held.fetchers.keep(|partition| renewed.contains_key(partition));
        self.measures.holds(&renewed);
        held.leases = renewed;
        held.renewed_at = Instant::now();
        if gained {
            // Others may have changed these aggregates and put records aside meanwhile.
            held.cache.clear();
            held.has_dead_letters = self.store.has_dead_letters(self.options.name).await?;
        }
        Ok(())
    }

    /// The first batch and whatever else has arrived, up to the limit.
    fn gather(&self, first: Batch, batches: &mut mpsc::Receiver<Batch>) -> Vec<Batch> {
        let mut count = first.records.len();
        let mut ready = vec![first];
        while count < self.options.batch_records_max {
            let Ok(next) = batches.try_recv() else { break };
            count += next.records.len();
            ready.push(next);
        }
        ready
    }

    /// Handles batches in one unit of work: all their effects and their offsets, or nothing.
    async fn handle(&self, batches: Vec<Batch>, held: &mut Held<H::Aggregate>) -> Result<(), event_store::Error> {
        // Fetched under a lease that has ended since: another instance has them now.
        let current = |batch: &Batch| held.leases.get(&batch.partition).is_some_and(|l| l.epoch == batch.epoch);
        let batches: Vec<Batch> = batches.into_iter().filter(current).collect();
        let began = Instant::now();
        self.take_up(&batches);
        let mut conflicts = 0;
        let mut refused = BTreeMap::new();
        loop {
            match self.try_handle(&batches, held, &refused).await {
                // Their key's later records must not take effect: once more, without them.
                Ok(more) if !more.is_empty() => {
                    self.measures.refused();
                    held.cache.clear();
                    refused.extend(more);
                }
                Ok(_) => {
                    self.measures.handled(batches.iter().map(|batch| batch.records.len()).sum(), began.elapsed());
                    return Ok(());
                }
                Err(event_store::Error::Conflict { .. }) => {
                    self.measures.conflicted();
                    held.cache.clear();
                    conflicts += 1;
                    if conflicts % CONFLICTS_MAX == 0 {
                        tokio::time::sleep(Duration::from_millis(u64::from(conflicts.min(100)))).await;
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Commits the batch, or returns the records that an aggregate refuses for good and that are
    /// not yet among `refused`: then nothing was written.
    async fn try_handle(
        &self,
        batches: &[Batch],
        held: &mut Held<H::Aggregate>,
        refused: &BTreeMap<usize, String>,
    ) -> Result<Vec<(usize, String)>, event_store::Error> {
        let mut traces = Traces::begin(self.tracer);
        let blocked = if held.has_dead_letters { self.blocked(batches).await? } else { HashMap::new() };
        let mut intake = self.take_in(batches, &blocked, refused, &mut traces).await?;
        let mut decided = self.decide(&intake.items, held, &mut traces).await?;
        if !decided.rejected.is_empty() {
            return Ok(decided.rejected);
        }
        let (appends, timers) = decided.work(|id, before, after| self.handler.timer(id, before, after));
        let dead_letters = self.dead_letters(batches, &intake.dead);
        let put_aside: Vec<_> = dead_letters.iter().map(|letter| (letter.partition.clone(), letter.parked)).collect();
        let offsets = self.advances(batches, held);
        failpoint::pass("consumer.before_commit");
        let inbox = std::mem::take(&mut intake.inbox);
        self.store
            .commit(UnitOfWork {
                appends,
                inbox,
                timers,
                dead_letters,
                offsets: offsets.clone(),
                ..UnitOfWork::default()
            })
            .await?;
        failpoint::pass("consumer.after_commit");
        self.handled(batches, &offsets, &put_aside);
        self.measures.refused_replays(&intake.replays);
        for advance in offsets {
            if let Some(lease) = held.leases.get_mut(&advance.lease.partition) {
                lease.next_offset = advance.to;
            }
        }
        held.has_dead_letters |= !put_aside.is_empty();
        self.tell(traces, &decided.sequences, records(batches).count());
        self.committed(decided, held);
        Ok(Vec::new())
    }

    /// After the commit: hands on what was recorded, and keeps the states.
    fn committed(&self, decided: Decided<H::Aggregate>, held: &mut Held<H::Aggregate>) {
        decided.committed(&mut held.cache, |id, loaded, events, origin| {
            logs::in_scope(origin.ids(), || self.handler.committed(id, &loaded.state, events, origin));
            if let Some(snapshot) = loaded.due_snapshot(id) {
                let store = Arc::clone(&self.store);
                tokio::spawn(async move {
                    if let Err(error) = store.save_snapshot(snapshot).await {
                        tracing::warn!(%error, "a snapshot was not saved");
                    }
                });
            }
        });
    }

    /// One advance per partition, from the offset held to behind its last record.
    fn advances(&self, batches: &[Batch], held: &Held<H::Aggregate>) -> Vec<OffsetAdvance> {
        let mut to: BTreeMap<&TopicPartition, i64> = BTreeMap::new();
        for batch in batches {
            if let Some(last) = batch.records.last() {
                to.insert(&batch.partition, last.offset + 1);
            }
        }
        to.into_iter()
            .filter_map(|(partition, to)| {
                held.leases.get(partition).map(|lease| OffsetAdvance { lease: lease.clone(), to })
            })
            .collect()
    }
}

fn tell(consumer: &str, error: &event_store::Error) {
    match error {
        event_store::Error::UnknownVersion { .. } => {
            tracing::error!(consumer, %error, "the consumer stands still: it handles nothing beyond this");
        }
        _ => tracing::warn!(consumer, %error, "the consumer starts over from its offsets"),
    }
}

/// The batches' records in one numbering.
fn records(batches: &[Batch]) -> impl Iterator<Item = (&TopicPartition, &broker::Stored)> {
    batches.iter().flat_map(|batch| batch.records.iter().map(move |stored| (&batch.partition, stored)))
}
