//! Dead letters that an operator wants handled again: by whoever holds their partition, in units of work like all
//! others, so that each has its effect once, and a key's letters theirs in their order.

use std::collections::{BTreeMap, HashMap};

use broker::Stored;
use event_store::{EventStore, Letter, LetterKey, Mend, OffsetAdvance, UnitOfWork};
use uuid::Uuid;

use super::fetch::Batch;
use super::intake::Intake;
use super::{Consumer, EventOf, Handler, Held};
use crate::batch::{self, Decided, Item};
use crate::failpoint;
use crate::traces::Traces;

/// Keys that are looked after at a time: the rest has its turn at the next renewal of the leases.
const KEYS_MAX: usize = 20;
/// Units of work for one key at a time, and tries of one that others keep overtaking among them.
const ROUNDS_MAX: usize = 20;

/// What came of the first letters of a key.
enum Outcome {
    /// Handled, and there are more.
    More,
    /// None is left, or one stays dead and all behind it wait.
    Ended,
}

/// What handling letters leads to.
struct Handled<A: kernel::Decide> {
    decided: Decided<A>,
    inbox: Vec<(String, Uuid)>,
    mends: Vec<Mend>,
}

impl<H: Handler> Consumer<H> {
    /// Handles the letters that are to be handled again, as far as their partitions are held here.
    pub(super) async fn retry(&self, held: &mut Held<H::Aggregate>) -> Result<(), event_store::Error> {
        if !held.has_dead_letters {
            return Ok(());
        }
        let keys = self.store.retries(self.options.name, KEYS_MAX).await?;
        for key in &keys {
            self.retry_key(key, held).await?;
        }
        if !keys.is_empty() {
            held.has_dead_letters = self.store.has_dead_letters(self.options.name).await?;
        }
        Ok(())
    }

    async fn retry_key(&self, key: &LetterKey, held: &mut Held<H::Aggregate>) -> Result<(), event_store::Error> {
        for _ in 0..ROUNDS_MAX {
            let letters = self.store.letters(key, self.options.batch_records_max).await?;
            let Some(first) = letters.first() else {
                // Nothing is left to be done, and nobody's order can suffer.
                let mends = vec![Mend::Retried(key.clone())];
                return self.store.commit(UnitOfWork { mends, ..UnitOfWork::default() }).await;
            };
            if !held.leases.contains_key(&first.letter.partition) {
                return Ok(());
            }
            match self.retry_letters(key, &letters, held).await {
                Ok(Outcome::More) => {}
                Ok(Outcome::Ended) => return Ok(()),
                // Somebody else has changed the aggregate, or the operator the letters: once more, on what is there now.
                Err(event_store::Error::Conflict { .. } | event_store::Error::Outdated) => held.cache.clear(),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn retry_letters(
        &self,
        key: &LetterKey,
        letters: &[Letter],
        held: &mut Held<H::Aggregate>,
    ) -> Result<Outcome, event_store::Error> {
        let mut refused = BTreeMap::new();
        loop {
            let mut traces = Traces::begin(self.tracer);
            let batches = [self.batch_of(letters, held)];
            let mut intake = self.take_in(&batches, &HashMap::new(), &refused, &mut traces).await?;
            let decided = self.decide(&intake.items, held, &mut traces).await?;
            if !decided.rejected.is_empty() {
                // What comes behind a refused letter must not take effect: once more, without it.
                held.cache.clear();
                refused.extend(decided.rejected);
                continue;
            }
            let all = letters.len() == batches[0].records.len() && letters.len() < self.options.batch_records_max;
            let more = intake.dead.is_empty() && !all;
            let mut mends = mends(letters, &intake);
            mends.extend((!more).then(|| Mend::Retried(key.clone())));
            let handled = Handled { decided, inbox: std::mem::take(&mut intake.inbox), mends };
            self.commit_retried(letters, handled, held, traces).await?;
            self.log(key, letters, &intake);
            return Ok(if more { Outcome::More } else { Outcome::Ended });
        }
    }

    /// The letters as the records that they are.
    fn batch_of(&self, letters: &[Letter], held: &Held<H::Aggregate>) -> Batch {
        let partition = letters[0].letter.partition.clone();
        let epoch = held.leases.get(&partition).map_or(0, |lease| lease.epoch);
        let of_partition = letters.iter().filter(|letter| letter.letter.partition == partition);
        let stored =
            |letter: &Letter| Stored { offset: letter.letter.offset, record: letter.letter.record.clone().into() };
        Batch { records: of_partition.map(stored).collect(), partition, epoch }
    }

    pub(super) async fn decide(
        &self,
        items: &[Item<H::Aggregate>],
        held: &mut Held<H::Aggregate>,
        traces: &mut Traces,
    ) -> Result<Decided<H::Aggregate>, event_store::Error> {
        let (store, clock): (&dyn EventStore, _) = (self.store.as_ref(), self.clock.as_ref());
        let mut step = |item: &Item<H::Aggregate>, event: &EventOf<H::Aggregate>| {
            let step = self.tracer.is_on().then(|| self.handler.step(&item.id, event))??;
            traces.step(item.origin.traceparent.as_deref(), step)
        };
        batch::decide(store, &mut held.cache, clock, items, H::TIMERS, &mut step).await
    }

    /// All of it in one unit, which fails when the lease was lost: the offset stays, but must be as held.
    async fn commit_retried(
        &self,
        letters: &[Letter],
        handled: Handled<H::Aggregate>,
        held: &mut Held<H::Aggregate>,
        traces: Traces,
    ) -> Result<(), event_store::Error> {
        let Handled { mut decided, inbox, mends } = handled;
        let partition = &letters[0].letter.partition;
        let lost =
            || event_store::Error::LeaseLost { consumer: self.options.name.to_owned(), partition: partition.clone() };
        let lease = held.leases.get(partition).cloned().ok_or_else(lost)?;
        let offsets = vec![OffsetAdvance { to: lease.next_offset, lease }];
        let (appends, timers) = decided.work(|id, before, after| self.handler.timer(id, before, after));
        failpoint::pass("consumer.before_retried");
        self.store.commit(UnitOfWork { appends, inbox, timers, mends, offsets, ..UnitOfWork::default() }).await?;
        failpoint::pass("consumer.after_retried");
        self.tell(traces, &decided.sequences, letters.len());
        self.committed(decided, held);
        Ok(())
    }

    fn log(&self, key: &LetterKey, letters: &[Letter], intake: &Intake<H::Aggregate>) {
        let (consumer, topic) = (self.options.name, &key.topic);
        match intake.dead.iter().find(|(_, (_, parked))| !parked) {
            Some((n, (reason, _))) => {
                let offset = letters.get(*n).map(|letter| letter.letter.offset);
                tracing::warn!(consumer, %topic, offset, reason, "a dead letter was tried again in vain");
            }
            None => tracing::info!(consumer, %topic, letters = letters.len(), "dead letters were handled"),
        }
    }
}

/// What becomes of the letters: those that were handled go, the first that cannot be stays with all behind it.
fn mends<A: kernel::Decide>(letters: &[Letter], intake: &Intake<A>) -> Vec<Mend> {
    let partition = &letters[0].letter.partition;
    let of_partition = letters.iter().filter(|letter| letter.letter.partition == *partition);
    of_partition
        .enumerate()
        .map(|(n, letter)| match intake.dead.get(&n) {
            Some((reason, parked)) => Mend::Keep { id: letter.id(), reason: reason.clone(), parked: *parked },
            None => Mend::Remove(letter.id()),
        })
        .collect()
}
