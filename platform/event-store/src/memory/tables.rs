//! What the store holds, and the unit of work on it: everything is checked before anything changes.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::leases::Leases;
use super::mending::Mending;
use crate::chain;
use crate::{
    Answer, Append, Cursor, DeadLetter, DueTimer, Error, Mend, RecordedEvent, Snapshot, StreamId, TimerChange,
    UnitOfWork,
};

#[derive(Default)]
pub(super) struct Tables {
    /// In the visible order: commits are one after the other, so all of it is visible.
    events: Vec<RecordedEvent>,
    /// Each stream's events as places in `events`.
    streams: BTreeMap<StreamId, Vec<usize>>,
    transactions: u64,
    inbox: BTreeSet<(String, Uuid)>,
    timers: BTreeMap<StreamId, DueTimer>,
    /// Dead letters, and what is done about them.
    pub(super) mending: Mending,
    checkpoints: BTreeMap<String, Cursor>,
    snapshots: BTreeMap<StreamId, Snapshot>,
    answers: BTreeMap<(String, String), (Answer, DateTime<Utc>)>,
    pub(super) leases: Leases,
    /// Whether what is appended is chained to what was before.
    pub(super) is_chained: bool,
}

impl Tables {
    /// All of the work or nothing. Returns the last event's cursor.
    pub(super) fn commit(&mut self, mut work: UnitOfWork, now: DateTime<Utc>) -> Result<Cursor, Error> {
        for append in &work.appends {
            self.check(append)?;
        }
        let mut keys = BTreeSet::new();
        for Answer { scope, key, .. } in &work.answers {
            if self.answer(scope, key).is_some() || !keys.insert((scope, key)) {
                return Err(Error::Repeated);
            }
        }
        let mut partitions = BTreeSet::new();
        for advance in &work.offsets {
            self.leases.check(advance)?;
            let lease = &advance.lease;
            if !partitions.insert((&lease.consumer, &lease.partition)) {
                return Err(Error::LeaseLost { consumer: lease.consumer.clone(), partition: lease.partition.clone() });
            }
        }
        self.check_mends(&work.mends, now)?;
        if self.is_chained {
            work.appends.iter_mut().try_for_each(|append| self.chain(append))?;
        }

        self.transactions += 1;
        for append in work.appends {
            self.append(append, now);
        }
        self.inbox.extend(work.inbox);
        for change in work.timers {
            self.change_timer(change);
        }
        for letter in work.dead_letters {
            self.mending.put_aside(letter);
        }
        for mend in work.mends {
            self.mend(mend);
        }
        for advance in &work.offsets {
            self.leases.advance(advance);
        }
        for answer in work.answers {
            self.answers.insert((answer.scope.clone(), answer.key.clone()), (answer, now));
        }
        Ok(self.events.last().map_or_else(Cursor::default, |event| event.cursor))
    }

    fn check_mends(&self, mends: &[Mend], now: DateTime<Utc>) -> Result<(), Error> {
        let as_seen = mends.iter().all(|mend| match mend {
            Mend::Retry(_) | Mend::Retried(_) => true,
            Mend::Remove(id) | Mend::Keep { id, .. } | Mend::Edit { id, .. } => self.mending.has(id),
            Mend::MoveOffset { consumer, partition, from, .. } => {
                self.leases.is_free(consumer, partition, now)
                    && self.leases.next_offset(consumer, partition) == Some(*from)
            }
            Mend::MoveCheckpoint { follower, from, .. } => {
                self.leases.is_known(follower)
                    && self.leases.nobody_holds(follower, now)
                    && self.checkpoints.get(follower) == Some(from)
            }
        });
        if as_seen { Ok(()) } else { Err(Error::Outdated) }
    }

    fn mend(&mut self, mend: Mend) {
        match mend {
            Mend::MoveOffset { consumer, partition, to, .. } => self.leases.set(&consumer, &partition, to),
            Mend::MoveCheckpoint { follower, to, .. } => {
                self.checkpoints.insert(follower, to);
            }
            letters => self.mending.apply(letters),
        }
    }

    fn check(&self, append: &Append) -> Result<(), Error> {
        let head = self.streams.get(&append.stream).map_or(0, Vec::len);
        // An append of nothing changes nothing, so it conflicts with nothing.
        if append.events.is_empty() || u64::try_from(head) == Ok(append.expected) {
            return Ok(());
        }
        Err(Error::Conflict { stream: append.stream.clone(), expected: append.expected })
    }

    fn chain(&self, append: &mut Append) -> Result<(), Error> {
        let last = self.streams.get(&append.stream).and_then(|places| places.last()).map(|place| &self.events[*place]);
        let before = last.map_or_else(|| Ok(append.stream.genesis()), RecordedEvent::hash);
        let linked = before.and_then(|before| chain::link(append, before));
        linked.map_err(|error| Error::Failed(format!("the event before cannot be hashed: {error}")))
    }

    fn append(&mut self, append: Append, now: DateTime<Utc>) {
        for (event, sequence) in append.events.into_iter().zip(append.expected + 1..) {
            let place = self.events.len();
            self.streams.entry(append.stream.clone()).or_default().push(place);
            self.events.push(RecordedEvent {
                aggregate_type: append.stream.aggregate_type.to_owned(),
                aggregate_id: append.stream.aggregate_id.clone(),
                sequence,
                event_type: event.event_type,
                event_version: event.event_version,
                payload: event.payload,
                metadata: event.metadata,
                cursor: Cursor {
                    transaction_id: self.transactions,
                    position: i64::try_from(place + 1).unwrap_or(i64::MAX),
                },
                recorded_at: now,
            });
        }
    }

    fn change_timer(&mut self, change: TimerChange) {
        match change {
            TimerChange::Set { stream, due_at, traceparent, correlation_id } => {
                let aggregate_id = stream.aggregate_id.clone();
                self.timers.insert(stream, DueTimer { aggregate_id, due_at, traceparent, correlation_id });
            }
            TimerChange::Clear { stream } => {
                self.timers.remove(&stream);
            }
            TimerChange::Expire { stream, due_at } => {
                if self.timers.get(&stream).is_some_and(|timer| timer.due_at == due_at) {
                    self.timers.remove(&stream);
                }
            }
        }
    }

    pub(super) fn load(&self, stream: &StreamId, after: u64) -> Vec<RecordedEvent> {
        let places = self.streams.get(stream).map_or(&[][..], Vec::as_slice);
        let after = usize::try_from(after).unwrap_or(usize::MAX);
        places.iter().skip(after).map(|place| self.events[*place].clone()).collect()
    }

    pub(super) fn read_after(&self, after: Cursor, limit: usize) -> Vec<RecordedEvent> {
        let start = self.events.partition_point(|event| event.cursor <= after);
        self.events[start..].iter().take(limit).cloned().collect()
    }

    pub(super) fn handled(&self, consumer: &str, command_ids: &[Uuid]) -> Vec<Uuid> {
        let known = |id: &&Uuid| self.inbox.contains(&(consumer.to_owned(), **id));
        command_ids.iter().filter(known).copied().collect()
    }

    pub(super) fn checkpoint(&self, follower: &str) -> Cursor {
        self.checkpoints.get(follower).copied().unwrap_or_default()
    }

    /// Forward only: of two instances that follow at once the later place stands.
    pub(super) fn save_checkpoint(&mut self, follower: &str, at: Cursor) {
        let checkpoint = self.checkpoints.entry(follower.to_owned()).or_default();
        *checkpoint = at.max(*checkpoint);
    }

    pub(super) fn dead_letters(&self) -> Vec<DeadLetter> {
        self.mending.dead_letters().cloned().collect()
    }

    pub(super) fn has_dead_letters(&self, consumer: &str) -> bool {
        self.mending.dead_letters().any(|letter| letter.consumer == consumer)
    }

    pub(super) fn blocked_keys(&self, consumer: &str, topic: &str, keys: &[String]) -> HashMap<String, i64> {
        let mut blocked = HashMap::new();
        for letter in self.mending.dead_letters() {
            let here = letter.consumer == consumer && *letter.partition.topic == *topic;
            if here && keys.contains(&letter.record.key) {
                let first = blocked.entry(letter.record.key.clone()).or_insert(letter.offset);
                *first = letter.offset.min(*first);
            }
        }
        blocked
    }

    pub(super) fn due_timers(
        &self,
        aggregate_type: &'static str,
        now: DateTime<Utc>,
        limit: usize,
    ) -> (Vec<DueTimer>, Option<DateTime<Utc>>) {
        let ours = self.timers.iter().filter(|(stream, _)| stream.aggregate_type == aggregate_type);
        let mut timers: Vec<&DueTimer> = ours.map(|(_, timer)| timer).collect();
        timers.sort_by(|a, b| (a.due_at, &a.aggregate_id).cmp(&(b.due_at, &b.aggregate_id)));
        let due = timers.iter().take(limit).take_while(|timer| timer.due_at <= now).count();
        (timers[..due].iter().copied().cloned().collect(), timers.get(due).map(|timer| timer.due_at))
    }

    pub(super) fn answer(&self, scope: &str, key: &str) -> Option<Answer> {
        self.answers.get(&(scope.to_owned(), key.to_owned())).map(|(answer, _)| answer.clone())
    }

    /// Takes away up to `limit` answers from before that moment.
    pub(super) fn forget_answers(&mut self, before: DateTime<Utc>, limit: usize) -> usize {
        let old = self.answers.iter().filter(|(_, (_, at))| *at < before);
        let old: Vec<_> = old.map(|(key, _)| key.clone()).take(limit).collect();
        old.iter().for_each(|key| drop(self.answers.remove(key)));
        old.len()
    }

    pub(super) fn snapshot(&self, stream: &StreamId) -> Option<Snapshot> {
        self.snapshots.get(stream).cloned()
    }

    pub(super) fn save_snapshot(&mut self, snapshot: Snapshot) {
        let stored = self.snapshots.entry(snapshot.stream.clone()).or_insert_with(|| snapshot.clone());
        if stored.sequence < snapshot.sequence {
            *stored = snapshot;
        }
    }
}
