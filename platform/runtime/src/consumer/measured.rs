//! What the consumer tells the metrics of its batches.

use broker::TopicPartition;
use event_store::OffsetAdvance;

use super::fetch::Batch;
use super::{Consumer, Handler};

impl<H: Handler> Consumer<H> {
    /// Which records are the oldest in hand.
    pub(super) fn take_up(&self, batches: &[Batch]) {
        for batch in batches {
            let partition = self.measures.partition(&batch.partition);
            if let (Some(partition), Some(oldest)) = (partition, batch.records.first()) {
                partition.takes_up(oldest.record.timestamp_ms);
            }
        }
    }

    /// What was handled, and what of it was put aside.
    pub(super) fn handled(&self, batches: &[Batch], offsets: &[OffsetAdvance], put_aside: &[(TopicPartition, bool)]) {
        for advance in offsets {
            let of = &advance.lease.partition;
            let records = batches.iter().filter(|batch| batch.partition == *of).map(|batch| batch.records.len()).sum();
            if let Some(partition) = self.measures.partition(of) {
                partition.handled(records, advance.to);
            }
        }
        for (of, parked) in put_aside {
            if let Some(partition) = self.measures.partition(of) {
                partition.put_aside(*parked);
            }
        }
    }
}
