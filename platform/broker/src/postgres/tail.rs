//! What is known of a partition without asking the database: its end, and its last records.

use std::collections::VecDeque;

use crate::{FetchLimits, Fetched, Stored, limits};

/// The end of a partition as this process knows it, and the records just before it.
///
/// The records are contiguous. They are what this process published itself; when another process
/// published in between, the older ones are forgotten.
#[derive(Debug)]
pub(crate) struct Tail {
    records: VecDeque<Stored>,
    bytes: usize,
    records_max: usize,
    bytes_max: usize,
    /// The offset of the partition's next record; grown by others at any time. Unknown before the
    /// database was first asked, and after it failed to say what became of a batch.
    end: Option<i64>,
}

/// What the tail says about an offset.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// Here they are.
    Records(Fetched),
    /// There are records from this offset on, but not here. Holds the known end.
    Behind(i64),
    /// The offset is the end: nothing there yet, as far as is known.
    AtEnd,
    /// The end is unknown, or is said to be before this offset.
    Unknown,
}

impl Tail {
    pub(crate) fn new(records_max: usize, bytes_max: usize) -> Self {
        Self { records: VecDeque::new(), bytes: 0, records_max, bytes_max, end: None }
    }

    pub(crate) fn look(&self, offset: i64, limits: &FetchLimits) -> Look {
        let Some(end) = self.end else { return Look::Unknown };
        let held = self.records.front().zip(self.records.back());
        match held {
            Some((first, last)) if (first.offset..=last.offset).contains(&offset) => {
                let skipped = usize::try_from(offset - first.offset).unwrap_or(0);
                let count = limits::within(self.records.range(skipped..), limits);
                let records = self.records.range(skipped..skipped + count).cloned().collect();
                Look::Records(Fetched { records, high_watermark: end })
            }
            _ if offset < end => Look::Behind(end),
            _ if offset == end => Look::AtEnd,
            _ => Look::Unknown,
        }
    }

    /// Records that this process has committed, contiguous. Two batches may arrive here in another
    /// order than the one they were committed in.
    pub(crate) fn append(&mut self, batch: Vec<Stored>) {
        let (Some(first), Some(last)) = (batch.first(), batch.last()) else { return };
        let (start, end) = (first.offset, last.offset + 1);
        let held = self.records.front().map(|first| first.offset).zip(self.records.back().map(|last| last.offset + 1));
        let size = |records: &[Stored]| records.iter().map(|stored| stored.record.bytes()).sum::<usize>();
        match held {
            Some((held_start, _)) if end == held_start => {
                self.bytes += size(&batch);
                for stored in batch.into_iter().rev() {
                    self.records.push_front(stored);
                }
            }
            Some((held_start, _)) if end < held_start => {}
            Some((_, held_end)) if start != held_end => {
                self.bytes = size(&batch);
                self.records = batch.into();
            }
            _ => {
                self.bytes += size(&batch);
                self.records.extend(batch);
            }
        }
        while self.records.len() > self.records_max || self.bytes > self.bytes_max {
            let Some(oldest) = self.records.pop_front() else { break };
            self.bytes -= oldest.record.bytes();
        }
        self.advance(end);
    }

    /// The partition reaches at least to `end`. Whether that is news.
    pub(crate) fn advance(&mut self, end: i64) -> bool {
        let news = self.end.is_none_or(|known| known < end);
        self.end = self.end.max(Some(end));
        news
    }

    /// The known end can no longer be relied upon.
    pub(crate) fn doubt(&mut self) {
        self.end = None;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::ops::Range;

    use bytes::Bytes;

    use super::*;
    use crate::Record;

    fn stored(offsets: Range<i64>) -> Vec<Stored> {
        let record = |offset: i64| Record {
            key: offset.to_string(),
            headers: BTreeMap::new(),
            value: Bytes::from_static(b"12345678"),
            timestamp_ms: 0,
        };
        offsets.map(|offset| Stored { offset, record: record(offset).into() }).collect()
    }

    fn offsets(tail: &Tail, offset: i64) -> Option<Vec<i64>> {
        match tail.look(offset, &FetchLimits::default()) {
            Look::Records(fetched) => Some(fetched.records.iter().map(|stored| stored.offset).collect()),
            _ => None,
        }
    }

    #[test]
    fn it_serves_only_what_it_holds() {
        let mut tail = Tail::new(4, 1_000);
        assert_eq!(tail.look(0, &FetchLimits::default()), Look::Unknown);
        tail.append(stored(0..3));
        tail.append(stored(3..6));
        assert_eq!(offsets(&tail, 2), Some(vec![2, 3, 4, 5]));
        assert_eq!(offsets(&tail, 5), Some(vec![5]));
        assert_eq!(tail.look(1, &FetchLimits::default()), Look::Behind(6));
        assert_eq!(tail.look(6, &FetchLimits::default()), Look::AtEnd);
        assert_eq!(tail.look(7, &FetchLimits::default()), Look::Unknown);
    }

    #[test]
    fn a_gap_forgets_what_was_before_it() {
        let mut tail = Tail::new(100, 1_000);
        tail.append(stored(0..3));
        tail.append(stored(5..7));
        assert_eq!(tail.look(1, &FetchLimits::default()), Look::Behind(7));
        assert_eq!(tail.look(3, &FetchLimits::default()), Look::Behind(7));
        assert_eq!(offsets(&tail, 5), Some(vec![5, 6]));
    }

    #[test]
    fn batches_may_arrive_in_reverse() {
        let mut tail = Tail::new(100, 1_000);
        tail.append(stored(3..6));
        tail.append(stored(1..3));
        assert_eq!(offsets(&tail, 1), Some(vec![1, 2, 3, 4, 5]));
        tail.append(stored(6..7));
        assert_eq!(offsets(&tail, 4), Some(vec![4, 5, 6]));

        let mut tail = Tail::new(100, 1_000);
        tail.append(stored(6..8));
        tail.append(stored(2..4));
        assert_eq!(tail.look(2, &FetchLimits::default()), Look::Behind(8));
        assert_eq!(offsets(&tail, 6), Some(vec![6, 7]));
    }

    #[test]
    fn the_bytes_are_bounded() {
        let mut tail = Tail::new(100, 30);
        tail.append(stored(0..9));
        assert_eq!(offsets(&tail, 6), Some(vec![6, 7, 8]));
        assert_eq!(tail.look(5, &FetchLimits::default()), Look::Behind(9));
    }

    #[test]
    fn what_others_published_is_behind() {
        let mut tail = Tail::new(100, 1_000);
        tail.append(stored(0..3));
        assert!(tail.advance(5));
        assert!(!tail.advance(4));
        assert_eq!(tail.look(3, &FetchLimits::default()), Look::Behind(5));
        assert_eq!(offsets(&tail, 0), Some(vec![0, 1, 2]));
        tail.doubt();
        assert_eq!(tail.look(5, &FetchLimits::default()), Look::Unknown);
    }
}
