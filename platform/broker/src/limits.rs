//! The bounds that every broker keeps: the size of a record, and of what one fetch brings.

use std::collections::BTreeMap;

use crate::{Error, FetchLimits, Record, Stored, TopicPartition};

/// Refuses a batch with a record that no retry would bring in, before anything is written.
pub(crate) fn check_sizes<'a>(records: impl IntoIterator<Item = &'a Record>, bytes_max: usize) -> Result<(), Error> {
    let largest = records.into_iter().map(Record::bytes).max().unwrap_or(0);
    if largest > bytes_max { Err(Error::RecordTooLarge { bytes: largest }) } else { Ok(()) }
}

/// The batch with one entry a partition, in one order for all publishers, and none that is empty.
pub(crate) fn by_partition(batch: Vec<(TopicPartition, Vec<Record>)>) -> BTreeMap<TopicPartition, Vec<Record>> {
    let mut partitions: BTreeMap<TopicPartition, Vec<Record>> = BTreeMap::new();
    for (to, records) in batch.into_iter().filter(|(_, records)| !records.is_empty()) {
        partitions.entry(to).or_default().extend(records);
    }
    partitions
}

/// How many of these records, from the first on, one fetch may bring.
pub(crate) fn within<'a>(records: impl Iterator<Item = &'a Stored>, limits: &FetchLimits) -> usize {
    let mut bytes = 0_usize;
    records
        .take(limits.records_max.max(1))
        .enumerate()
        .take_while(|(index, stored)| {
            bytes = bytes.saturating_add(stored.record.bytes());
            *index == 0 || bytes <= limits.bytes_max
        })
        .count()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;

    use super::*;

    #[test]
    fn a_page_ends_at_its_limits_but_is_never_empty() {
        let record = Record {
            key: String::new(),
            headers: BTreeMap::new(),
            value: Bytes::from_static(&[0; 10]),
            timestamp_ms: 0,
        };
        let log: Vec<_> = (0..5).map(|offset| Stored { offset, record: record.clone().into() }).collect();
        for (bytes_max, records_max, expected) in
            [(100, 100, 5), (100, 3, 3), (29, 100, 2), (30, 100, 3), (1, 100, 1), (0, 0, 1)]
        {
            let limits = FetchLimits { bytes_max, records_max, wait_max: Duration::ZERO };
            assert_eq!(within(log.iter(), &limits), expected, "{limits:?}");
        }
        assert_eq!(within([].iter(), &FetchLimits::default()), 0);
    }
}
