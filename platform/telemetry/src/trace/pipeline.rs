//! From a span's end to the collector: a bounded queue, and a thread that sends what is in it.

use std::fmt;
use std::sync::mpsc as blocking;
use std::time::Duration;

use anyhow::Context as _;
use opentelemetry_sdk::trace::SpanData;
use tokio::sync::mpsc;

use super::exporter::{self, Exporters};
use super::sampling::Sampling;
use super::tracer::Role;
use crate::metrics::{Counters, IntCounter, Label};

/// Spans that wait for the collector; more are dropped.
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

/// A span that ended, and whose it is.
type Ended = (&'static Role, SpanData);

/// Takes ended spans without ever waiting.
pub(crate) struct Pipeline {
    pub(super) sampling: Sampling,
    queue: mpsc::Sender<Ended>,
    flush: mpsc::Sender<blocking::SyncSender<()>>,
    dropped: IntCounter,
}

impl fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipeline").field("sampling", &self.sampling).finish_non_exhaustive()
    }
}

impl Pipeline {
    /// Starts the thread that sends.
    ///
    /// # Errors
    /// The collector's address makes no sense, or there is no thread to be had.
    pub(crate) fn start(settings: Settings) -> anyhow::Result<Self> {
        let (queue, ended) = mpsc::channel(settings.queue_spans_max);
        let (flush, flushes) = mpsc::channel(4);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let Settings { exporter, batch_spans_max, delay, .. } = settings;
        let (ready, begun) = blocking::sync_channel(1);
        let work = async move {
            // The first exporter says whether the address can be used at all.
            let exporters = match Exporters::new(exporter) {
                Ok(exporters) => exporters,
                Err(error) => return drop(ready.send(Err(error))),
            };
            let _ = ready.send(Ok(()));
            Worker { ended, flushes, exporters, batch_spans_max, delay }.run().await;
        };
        std::thread::Builder::new()
            .name("traces".to_owned())
            .spawn(move || runtime.block_on(work))
            .context("no thread for traces")?;
        begun.recv().context("the thread for traces died")??;
        Ok(Self { sampling: Sampling::of_environment(), queue, flush, dropped: DROPPED.with(&["queue_full"]) })
    }

    #[cfg(test)]
    pub(super) fn into(sampling: Sampling, queue: mpsc::Sender<Ended>) -> &'static Self {
        let (flush, _) = mpsc::channel(1);
        Box::leak(Box::new(Self { sampling, queue, flush, dropped: DROPPED.with(&["queue_full"]) }))
    }

    pub(super) fn end(&self, role: &'static Role, span: SpanData) {
        if self.queue.try_send((role, span)).is_err() {
            self.dropped.inc();
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
    ended: mpsc::Receiver<Ended>,
    flushes: mpsc::Receiver<blocking::SyncSender<()>>,
    exporters: Exporters,
    batch_spans_max: usize,
    delay: Duration,
}

impl Worker {
    /// Sends until the process ends. Nobody is woken for a span but the first after a rest.
    async fn run(mut self) {
        let mut batch = Vec::new();
        loop {
            let flush = tokio::select! {
                flush = self.flushes.recv() => flush,
                received = self.ended.recv() => {
                    batch.extend(received);
                    tokio::select! {
                        flush = self.flushes.recv() => flush,
                        () = tokio::time::sleep(self.delay) => None,
                    }
                }
            };
            self.send(&mut batch).await;
            if let Some(flush) = flush {
                let _ = flush.send(());
            }
        }
    }

    /// Sends what is there now: spans that end meanwhile are the next round's.
    async fn send(&mut self, batch: &mut Vec<Ended>) {
        for _ in 0..=self.ended.len() / self.batch_spans_max {
            while batch.len() < self.batch_spans_max
                && let Ok(ended) = self.ended.try_recv()
            {
                batch.push(ended);
            }
            self.exporters.send(std::mem::take(batch)).await;
        }
    }
}
