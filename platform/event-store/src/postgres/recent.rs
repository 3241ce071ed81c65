//! The last events that were read in the visible order, kept for the store's other followers.
//!
//! A service has a relay and a projection, which read the same events one after the other. What
//! once was visible stays so, in the same order: a page from memory is as good as one from the
//! table, as long as it is not empty.

use std::collections::VecDeque;

use parking_lot::Mutex;

use crate::{Cursor, RecordedEvent};

/// Events kept; a follower that is further behind reads the table.
const EVENTS_MAX: usize = 500;

/// A gapless piece of the visible order.
#[derive(Default)]
pub(super) struct Recent {
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    /// The place right before the first event.
    from: Cursor,
    events: VecDeque<RecordedEvent>,
}

impl Recent {
    /// Events after the cursor, if they are here.
    pub(super) fn after(&self, cursor: Cursor, limit: usize) -> Option<Vec<RecordedEvent>> {
        let kept = self.kept.lock();
        if cursor < kept.from || kept.events.back().is_none_or(|last| last.cursor <= cursor) {
            return None;
        }
        let start = kept.events.partition_point(|event| event.cursor <= cursor);
        Some(kept.events.iter().skip(start).take(limit).cloned().collect())
    }

    /// Keeps a page that was read after the cursor.
    pub(super) fn keep(&self, after: Cursor, page: &[RecordedEvent]) {
        let Some(last) = page.last() else { return };
        let mut kept = self.kept.lock();
        let end = kept.events.back().map_or(kept.from, |event| event.cursor);
        if last.cursor <= end {
            return;
        }
        if after > end || after < kept.from {
            // Not next to what is here: a gap must never look like none.
            *kept = Kept { from: after, events: page.iter().cloned().collect() };
        } else {
            kept.events.extend(page.iter().filter(|event| event.cursor > end).cloned());
        }
        while kept.events.len() > EVENTS_MAX {
            if let Some(oldest) = kept.events.pop_front() {
                kept.from = oldest.cursor;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use chrono::DateTime;
    use uuid::Uuid;

    use super::*;
    use crate::Metadata;

    fn at(position: i64) -> Cursor {
        Cursor { transaction_id: 7, position }
    }

    fn event(position: i64) -> RecordedEvent {
        RecordedEvent {
            aggregate_type: "a".to_owned(),
            aggregate_id: "1".to_owned(),
            sequence: 1,
            event_type: "e".to_owned(),
            event_version: "1".to_owned(),
            payload: "{}".to_owned(),
            metadata: Metadata::from_map(&HashMap::new(), Uuid::nil, DateTime::UNIX_EPOCH),
            cursor: at(position),
            recorded_at: DateTime::UNIX_EPOCH,
        }
    }

    fn positions(page: Option<Vec<RecordedEvent>>) -> Option<Vec<i64>> {
        page.map(|events| events.iter().map(|event| event.cursor.position).collect())
    }

    #[test]
    fn a_second_follower_gets_what_the_first_has_read() {
        let recent = Recent::default();
        recent.keep(at(0), &[event(1), event(2)]);
        recent.keep(at(2), &[event(5)]);
        assert_eq!(positions(recent.after(at(0), 10)), Some(vec![1, 2, 5]));
        assert_eq!(positions(recent.after(at(1), 1)), Some(vec![2]));
        assert_eq!(positions(recent.after(at(5), 10)), None, "an empty page says nothing: ask the table");
    }

    #[test]
    fn a_gap_never_looks_like_none() {
        let recent = Recent::default();
        recent.keep(at(2), &[event(3)]);
        recent.keep(at(8), &[event(9)]);
        assert_eq!(positions(recent.after(at(2), 10)), None);
        assert_eq!(positions(recent.after(at(8), 10)), Some(vec![9]));
        recent.keep(at(1), &[event(2), event(3)]);
        assert_eq!(positions(recent.after(at(1), 10)), None, "an older page does not take a newer one's place");
    }

    #[test]
    fn overlapping_pages_are_joined() {
        let recent = Recent::default();
        recent.keep(at(0), &[event(1), event(2)]);
        recent.keep(at(1), &[event(2), event(3)]);
        assert_eq!(positions(recent.after(at(0), 10)), Some(vec![1, 2, 3]));
    }
}
