//! From a span's end to the collector: a bounded number that waits, and a thread that sends them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc as blocking;
use std::time::Duration;

use anyhow::Context as _;
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};

use super::exporter::{self, Exporter};
use super::sampling::Sampling;
use super::tracer::Role;
use crate::metrics::{Counters, IntCounter, Label};

/// Spans that wait for the collector, or are on their way to it; more are dropped.
const QUEUE_SPANS_MAX: usize = 16_384;
/// Spans sent at once.
const BATCH_SPANS_MAX: usize = 512;
/// Between two sendings: what a process that is killed has not told.
const DELAY: Duration = Duration::from_millis(200);

/// Spans that no collector will see, by why.
pub(crate) static DROPPED: Counters = Counters::new(
    "sagashop_telemetry_spans_dropped_total",
    "Spans that were lost: the queue was full, or the collector did not take them.",
    &[Label::one_of("reason", &["queue_full", "collector"])],
);

/// Spans that the collector has.
pub(crate) static EXPORTED: Counters =
    Counters::new("sagashop_telemetry_spans_exported_total", "Spans that the collector has taken.", &[]);

/// How spans are gathered: `OTEL_BSP_*`, where they say so.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) exporter: exporter::Settings,
    pub(crate) queue_spans_max: usize,
    pub(crate) batch_spans_max: usize,
    pub(crate) delay: Duration,
}

impl Settings {
    pub(crate) fn of_environment(exporter: exporter::Settings) -> Self {
        let number = |name: &str| std::env::var(name).ok().and_then(|text| text.trim().parse::<usize>().ok());
        let positive = |name: &str, usual: usize| number(name).filter(|n| *n > 0).unwrap_or(usual);
        let delay = number("OTEL_BSP_SCHEDULE_DELAY").and_then(|ms| u64::try_from(ms).ok());
        Self {
            exporter,
            queue_spans_max: positive("OTEL_BSP_MAX_QUEUE_SIZE", QUEUE_SPANS_MAX),
            batch_spans_max: positive("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", BATCH_SPANS_MAX),
            delay: delay.map_or(DELAY, Duration::from_millis),
        }
    }
}

/// Takes ended spans without ever waiting.
#[derive(Debug)]
pub(crate) struct Pipeline {
    pub(super) sampling: Sampling,
    pub(super) batch_spans_max: usize,
    /// The roles of this process. They are few, and live as long as it does.
    roles: Mutex<Vec<&'static Role>>,
    /// Spans that wait or are on their way.
    queued: AtomicUsize,
    queue_spans_max: usize,
    /// There is something to send.
    some: Notify,
    /// There is so much that it should not wait any longer.
    many: Notify,
    flush: mpsc::Sender<blocking::SyncSender<()>>,
    dropped: IntCounter,
}

impl Pipeline {
    /// Starts the thread that sends, which goes on as long as the process: spans end at any time.
    ///
    /// # Errors
    /// The collector's address makes no sense, or there is no thread to be had.
    pub(crate) fn start(settings: Settings) -> anyhow::Result<&'static Self> {
        let Settings { exporter, queue_spans_max, batch_spans_max, delay } = settings;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (pipeline, flushes) = Self::new(Sampling::of_environment(), queue_spans_max, batch_spans_max);
        let (ready, begun) = blocking::sync_channel(1);
        let work = move || {
            runtime.block_on(async move {
                // The exporter says whether the address can be used at all.
                let exporter = match Exporter::new(exporter) {
                    Ok(exporter) => exporter,
                    Err(error) => return drop(ready.send(Err(error))),
                };
                let _ = ready.send(Ok(()));
                Worker { pipeline, flushes, exporter, delay }.run().await;
            });
        };
        std::thread::Builder::new().name("traces".to_owned()).spawn(work).context("no thread for traces")?;
        begun.recv().context("the thread for traces died")??;
        Ok(pipeline)
    }

    pub(super) fn new(
        sampling: Sampling,
        queue_spans_max: usize,
        batch_spans_max: usize,
    ) -> (&'static Self, mpsc::Receiver<blocking::SyncSender<()>>) {
        let (flush, flushes) = mpsc::channel(4);
        let pipeline = Self {
            sampling,
            batch_spans_max,
            roles: Mutex::default(),
            queued: AtomicUsize::new(0),
            queue_spans_max,
            some: Notify::new(),
            many: Notify::new(),
            flush,
            dropped: DROPPED.with(&["queue_full"]),
        };
        (Box::leak(Box::new(pipeline)), flushes)
    }

    /// The role of this name.
    pub(super) fn role(&'static self, name: &'static str) -> &'static Role {
        let mut roles = self.roles.lock();
        if let Some(role) = roles.iter().find(|role| role.name == name) {
            return role;
        }
        let role: &'static Role = Box::leak(Box::new(Role::new(name, self)));
        roles.push(role);
        role
    }

    /// Whether there is room for one span more; it is counted then. Nobody is woken for a span but the first after a
    /// rest, and the one with which half of the room is gone.
    pub(super) fn admit(&self) -> bool {
        let before = self.queued.fetch_add(1, Ordering::Relaxed);
        if before >= self.queue_spans_max {
            self.queued.fetch_sub(1, Ordering::Relaxed);
            self.dropped.inc();
            return false;
        }
        if before == 0 {
            self.some.notify_one();
        }
        if before == self.queue_spans_max / 2 {
            self.many.notify_one();
        }
        true
    }

    /// Waits until there is something to send.
    async fn something(&self) {
        while self.queued.load(Ordering::Relaxed) == 0 {
            self.some.notified().await;
        }
    }

    /// Sends what is queued, for so long at most.
    pub(crate) fn flush(&self, longest: Duration) {
        let (sent, done) = blocking::sync_channel(1);
        if self.flush.try_send(sent).is_ok() {
            // A collector that is away at the end of the process is nobody's trouble.
            let _ = done.recv_timeout(longest);
        }
    }
}

struct Worker {
    pipeline: &'static Pipeline,
    flushes: mpsc::Receiver<blocking::SyncSender<()>>,
    exporter: Exporter,
    delay: Duration,
}

impl Worker {
    /// Sends until the process ends.
    async fn run(mut self) {
        loop {
            let flush = tokio::select! {
                flush = self.flushes.recv() => flush,
                () = self.pipeline.something() => tokio::select! {
                    flush = self.flushes.recv() => flush,
                    () = tokio::time::sleep(self.delay) => None,
                    () = self.pipeline.many.notified() => None,
                }
            };
            self.send().await;
            if let Some(flush) = flush {
                let _ = flush.send(());
            }
        }
    }

    /// Sends what is there now: spans that end meanwhile are the next round's.
    async fn send(&mut self) {
        let roles = self.pipeline.roles.lock().clone();
        for role in roles {
            let waiting = role.pending.lock().take();
            for spans in waiting {
                let count = spans.count;
                let used = self.exporter.send(role, spans).await;
                self.pipeline.queued.fetch_sub(count, Ordering::Relaxed);
                if let Some(bytes) = used {
                    role.pending.lock().reuse(bytes);
                }
            }
        }
    }
}
