//! What a consumer counts, and how far behind it is.
//!
//! The lag is known without asking anybody: each fetch tells the partition's end, each commit the offset. Only where
//! nothing has been fetched for a while, because what was fetched is not handled, is the broker asked.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use broker::{Broker, TopicPartition};
use event_store::Lease;
use event_store::clock::Clock;
use telemetry::metrics::{
    Counters, FloatGauges, Gauge, Gauges, Histogram, Histograms, IntCounter, IntGauge, Label, SECONDS, SERVICE, SIZES,
};

use super::followers::Stopped;
use super::size;

pub(super) const CONSUMER: Label = Label::open("consumer", "the service's consumers");
pub(super) const KIND: Label = Label::one_of("kind", &["dead", "parked"]);
const TOPIC: Label = Label::open("topic", "the topics that it follows");
const PARTITION: Label = Label::open("partition", "0 to the number of partitions");

pub(super) static RECORDS: Counters =
    Counters::new("consumer_records_total", "Records handled.", &[SERVICE, CONSUMER, TOPIC]);
pub(super) static BATCH_SIZE: Histograms =
    Histograms::new("consumer_batch_records", "Records in one unit of work.", &[SERVICE, CONSUMER], SIZES);
pub(super) static BATCH_SECONDS: Histograms = Histograms::new(
    "consumer_batch_seconds",
    "Time of one unit of work: load, decide and commit, all tries together.",
    &[SERVICE, CONSUMER],
    SECONDS,
);
pub(super) static LAG_RECORDS: Gauges = Gauges::new(
    "consumer_lag_records",
    "Records of a partition that are not handled yet, as its holder knows it.",
    &[SERVICE, CONSUMER, TOPIC, PARTITION],
);
pub(super) static LAG_SECONDS: FloatGauges = FloatGauges::new(
    "consumer_lag_seconds",
    "Age of the oldest record of a partition that is in hand and not handled yet, as its holder knows it.",
    &[SERVICE, CONSUMER, TOPIC, PARTITION],
);
pub(super) static LEASE_HELD: Gauges = Gauges::new(
    "consumer_lease_held",
    "1 on the instance that holds the partition. A partition that nobody holds is not handled.",
    &[SERVICE, CONSUMER, TOPIC, PARTITION],
);
pub(super) static LEASE_EPOCH: Gauges = Gauges::new(
    "consumer_lease_epoch",
    "Rises each time that the partition gets another holder, as its holder knows it.",
    &[SERVICE, CONSUMER, TOPIC, PARTITION],
);
pub(super) static RETRIES: Counters = Counters::new(
    "consumer_retries_total",
    "Units of work tried again: others changed the same aggregate, a record was refused and is put aside, the partition \
     has another holder, the store failed.",
    &[SERVICE, CONSUMER, Label::one_of("reason", &["conflict", "refused", "lease_lost", "store"])],
);
pub(super) static FETCH_FAILURES: Counters = Counters::new(
    "consumer_fetch_failures_total",
    "Fetches that failed and are tried again.",
    &[SERVICE, CONSUMER, Label::one_of("reason", &["unavailable", "out_of_range", "other"])],
);
pub(super) static DEAD_LETTERS: Counters = Counters::new(
    "consumer_dead_letters_total",
    "Records put aside: `dead` can never be handled, `parked` waits behind one of its key.",
    &[SERVICE, CONSUMER, TOPIC, KIND],
);

pub(super) static REPLAYS_REFUSED: Counters = Counters::new(
    "consumer_replays_refused_total",
    "Records passed by because they were published again by a replay, and not for this consumer.",
    &[SERVICE, CONSUMER, TOPIC],
);

/// Between two looks at the lag.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// What a fetch has told of a partition's end is good for so long; then the broker is asked.
const END_GOOD_FOR_MS: i64 = 5_000;

/// A consumer's.
#[derive(Clone)]
pub(crate) struct Consuming(Arc<Shared>);

struct Shared {
    batch_size: Histogram,
    batch_seconds: Histogram,
    conflicts: IntCounter,
    refused: IntCounter,
    lease_lost: IntCounter,
    store: IntCounter,
    unavailable: IntCounter,
    out_of_range: IntCounter,
    other: IntCounter,
    stopped: Stopped,
    partitions: HashMap<TopicPartition, Arc<Partition>>,
    clock: Arc<dyn Clock>,
}

impl Consuming {
    /// Of these partitions, of which none is held so far.
    pub(crate) fn new(
        service: &'static str,
        consumer: &'static str,
        partitions: impl Iterator<Item = TopicPartition>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let of = &[service, consumer];
        let retries = |reason| RETRIES.with(&[service, consumer, reason]);
        let failures = |reason| FETCH_FAILURES.with(&[service, consumer, reason]);
        let partition = |of: TopicPartition| (of.clone(), Arc::new(Partition::new(service, consumer, &of)));
        Self(Arc::new(Shared {
            batch_size: BATCH_SIZE.with(of),
            batch_seconds: BATCH_SECONDS.with(of),
            conflicts: retries("conflict"),
            refused: retries("refused"),
            lease_lost: retries("lease_lost"),
            store: retries("store"),
            unavailable: failures("unavailable"),
            out_of_range: failures("out_of_range"),
            other: failures("other"),
            stopped: Stopped::new(service, consumer),
            partitions: partitions.map(partition).collect(),
            clock,
        }))
    }

    pub(crate) fn partition(&self, of: &TopicPartition) -> Option<&Arc<Partition>> {
        self.0.partitions.get(of)
    }

    /// These are held now, and no others.
    pub(crate) fn holds(&self, leases: &HashMap<TopicPartition, Lease>) {
        for (of, partition) in &self.0.partitions {
            match leases.get(of) {
                Some(lease) => partition.held(lease),
                None => partition.given_up(),
            }
        }
    }

    /// A unit of work was committed.
    pub(crate) fn handled(&self, records: usize, took: Duration) {
        self.0.stopped.goes_on();
        self.0.batch_size.observe(size(records));
        self.0.batch_seconds.observe(took.as_secs_f64());
    }

    /// Records at these places were passed by.
    pub(crate) fn refused_replays(&self, places: &[TopicPartition]) {
        for partition in places.iter().filter_map(|of| self.partition(of)) {
            partition.replays.inc();
        }
    }

    pub(crate) fn conflicted(&self) {
        self.0.conflicts.inc();
    }

    pub(crate) fn refused(&self) {
        self.0.refused.inc();
    }

    /// The consumer starts over.
    pub(crate) fn failed(&self, error: &event_store::Error) {
        self.0.stopped.failed(error);
        match error {
            event_store::Error::LeaseLost { .. } => self.0.lease_lost.inc(),
            _ => self.0.store.inc(),
        }
    }

    pub(crate) fn not_fetched(&self, error: &broker::Error) {
        match error {
            broker::Error::Unavailable(_) => self.0.unavailable.inc(),
            broker::Error::OffsetOutOfRange { .. } => self.0.out_of_range.inc(),
            _ => self.0.other.inc(),
        }
    }

    /// A fetch told where the partition ends.
    pub(crate) fn ends_at(&self, of: &TopicPartition, end: i64) {
        if let Some(partition) = self.partition(of) {
            partition.ends_at(end, self.now_ms());
        }
    }

    fn now_ms(&self) -> i64 {
        self.0.clock.now().timestamp_millis()
    }

    /// Keeps the gauges of the lag; for ever.
    pub(crate) async fn watch(self, broker: Arc<dyn Broker>) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            for (of, partition) in &self.0.partitions {
                if !partition.is_held() {
                    continue;
                }
                if partition.end_is_old(self.now_ms())
                    && let Ok((_, end)) = broker.bounds(of).await
                {
                    partition.ends_at(end, self.now_ms());
                }
                partition.look(self.now_ms());
            }
        }
    }
}

/// A partition's.
pub(crate) struct Partition {
    labels: [String; 4],
    records: IntCounter,
    dead: IntCounter,
    parked: IntCounter,
    replays: IntCounter,
    held: IntGauge,
    is_held: AtomicBool,
    next_offset: AtomicI64,
    /// Where the next record will lie, and when that was heard.
    end: AtomicI64,
    heard_at_ms: AtomicI64,
    /// When the oldest record in hand was recorded; 0 while there is none.
    oldest_ms: AtomicI64,
}

impl Partition {
    fn new(service: &str, consumer: &str, of: &TopicPartition) -> Self {
        let topic = of.topic.as_ref();
        let labels = [service.to_owned(), consumer.to_owned(), topic.to_owned(), of.partition.to_string()];
        let [_, _, _, number] = &labels;
        let held = LEASE_HELD.with(&[service, consumer, topic, number]);
        Self {
            records: RECORDS.with(&[service, consumer, topic]),
            dead: DEAD_LETTERS.with(&[service, consumer, topic, "dead"]),
            parked: DEAD_LETTERS.with(&[service, consumer, topic, "parked"]),
            replays: REPLAYS_REFUSED.with(&[service, consumer, topic]),
            held,
            labels,
            is_held: AtomicBool::new(false),
            next_offset: AtomicI64::new(0),
            end: AtomicI64::new(0),
            heard_at_ms: AtomicI64::new(0),
            oldest_ms: AtomicI64::new(0),
        }
    }

    fn labels(&self) -> [&str; 4] {
        self.labels.each_ref().map(String::as_str)
    }

    /// Records of it are being handled, the oldest of then unless there is an older one.
    pub(crate) fn takes_up(&self, oldest_ms: i64) {
        let _ = self.oldest_ms.compare_exchange(0, oldest_ms, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// So many records were handled, up to this offset.
    pub(crate) fn handled(&self, records: usize, next_offset: i64) {
        self.records.inc_by(records as u64);
        self.next_offset.store(next_offset, Ordering::Relaxed);
        self.oldest_ms.store(0, Ordering::Relaxed);
    }

    /// A record was put aside.
    pub(crate) fn put_aside(&self, parked: bool) {
        if parked { self.parked.inc() } else { self.dead.inc() }
    }

    fn held(&self, lease: &Lease) {
        self.next_offset.store(lease.next_offset, Ordering::Relaxed);
        if !self.is_held.swap(true, Ordering::Relaxed) {
            self.end.store(lease.next_offset, Ordering::Relaxed);
            self.oldest_ms.store(0, Ordering::Relaxed);
            self.held.set(1);
        }
        LEASE_EPOCH.with(&self.labels()).set(lease.epoch);
    }

    /// Another instance knows better now.
    fn given_up(&self) {
        if self.is_held.swap(false, Ordering::Relaxed) {
            self.held.set(0);
            LAG_RECORDS.remove(&self.labels());
            LAG_SECONDS.remove(&self.labels());
            LEASE_EPOCH.remove(&self.labels());
        }
    }

    fn is_held(&self) -> bool {
        self.is_held.load(Ordering::Relaxed)
    }

    fn ends_at(&self, end: i64, now_ms: i64) {
        self.end.store(end, Ordering::Relaxed);
        self.heard_at_ms.store(now_ms, Ordering::Relaxed);
    }

    fn end_is_old(&self, now_ms: i64) -> bool {
        now_ms - self.heard_at_ms.load(Ordering::Relaxed) > END_GOOD_FOR_MS
    }

    fn look(&self, now_ms: i64) {
        let lag = self.end.load(Ordering::Relaxed) - self.next_offset.load(Ordering::Relaxed);
        let oldest_ms = self.oldest_ms.load(Ordering::Relaxed);
        let seconds: Gauge = LAG_SECONDS.with(&self.labels());
        LAG_RECORDS.with(&self.labels()).set(lag.max(0));
        let age_ms = if oldest_ms > 0 { (now_ms - oldest_ms).max(0) } else { 0 };
        #[allow(clippy::cast_precision_loss, reason = "ages are far below 2^52 ms")]
        seconds.set(age_ms as f64 / 1_000.0);
    }
}
