//! One task a held partition: it fetches ahead of the handling, a little.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use broker::{Broker, FetchLimits, Stored, TopicPartition};
use event_store::Lease;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::measures::Consuming;

/// Records of one partition, fetched under one lease.
pub(super) struct Batch {
    pub(super) partition: TopicPartition,
    pub(super) epoch: i64,
    pub(super) records: Vec<Stored>,
}

/// The fetching tasks of a consumer. They end when it drops them.
pub(super) struct Fetchers {
    broker: Arc<dyn Broker>,
    sender: mpsc::Sender<Batch>,
    measures: Consuming,
    tasks: HashMap<TopicPartition, JoinHandle<()>>,
}

impl Fetchers {
    pub(super) fn new(broker: Arc<dyn Broker>, sender: mpsc::Sender<Batch>, measures: Consuming) -> Self {
        Self { broker, sender, measures, tasks: HashMap::new() }
    }

    /// Fetches the lease's partition from its offset on; ends an older task of the partition.
    pub(super) fn start(&mut self, lease: &Lease) {
        let task = tokio::spawn(fetch(
            Arc::clone(&self.broker),
            lease.partition.clone(),
            lease.epoch,
            lease.next_offset,
            self.sender.clone(),
            self.measures.clone(),
        ));
        if let Some(old) = self.tasks.insert(lease.partition.clone(), task) {
            old.abort();
        }
    }

    /// Ends the tasks of partitions that are not held any more.
    pub(super) fn keep(&mut self, held: impl Fn(&TopicPartition) -> bool) {
        self.tasks.retain(|partition, task| {
            let keep = held(partition);
            if !keep {
                task.abort();
            }
            keep
        });
    }
}

impl Drop for Fetchers {
    fn drop(&mut self) {
        for task in self.tasks.values() {
            task.abort();
        }
    }
}

async fn fetch(
    broker: Arc<dyn Broker>,
    partition: TopicPartition,
    epoch: i64,
    mut offset: i64,
    sender: mpsc::Sender<Batch>,
    measures: Consuming,
) {
    let mut wait = Duration::from_millis(50);
    loop {
        // A place first: what is fetched can be handed over at once.
        let Ok(place) = sender.reserve().await else { return };
        let fetched = broker.fetch(&partition, offset, FetchLimits::default()).await;
        if let Err(error) = &fetched {
            measures.not_fetched(error);
        }
        match fetched {
            Ok(fetched) => {
                measures.ends_at(&partition, fetched.high_watermark);
                wait = Duration::from_millis(50);
                let Some(last) = fetched.records.last() else { continue };
                offset = last.offset + 1;
                place.send(Batch { partition: partition.clone(), epoch, records: fetched.records });
                continue;
            }
            // Never mended by starting elsewhere: said again and again until somebody acts.
            Err(error @ broker::Error::OffsetOutOfRange { .. }) => {
                tracing::error!(%partition, offset, %error, "the partition stands still");
                wait = Duration::from_secs(10);
            }
            Err(error) => tracing::warn!(%partition, offset, %error, "fetching is tried again"),
        }
        drop(place);
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(Duration::from_secs(5));
    }
}
