//! Dead letters, and what operators want done about them.

use std::collections::{BTreeMap, BTreeSet};

use broker::TopicPartition;

use crate::{DeadLetter, Letter, LetterId, LetterKey, Mend};

type Place = (String, TopicPartition, i64);

/// What the production store keeps in `dead_letters` and `dead_letter_retries`.
#[derive(Default)]
pub(super) struct Mending {
    letters: BTreeMap<Place, Letter>,
    retries: BTreeSet<LetterKey>,
}

fn place(id: &LetterId) -> Place {
    (id.consumer.clone(), id.partition.clone(), id.offset)
}

impl Mending {
    /// What was put aside before stays as it is.
    pub(super) fn put_aside(&mut self, letter: DeadLetter) {
        let place = (letter.consumer.clone(), letter.partition.clone(), letter.offset);
        let attempts = i32::from(!letter.parked);
        self.letters.entry(place).or_insert(Letter { letter, attempts, revision: 0 });
    }

    /// In the order of consumer, partition and offset.
    pub(super) fn dead_letters(&self) -> impl Iterator<Item = &DeadLetter> {
        self.letters.values().map(|letter| &letter.letter)
    }

    /// Whether the letter is as it was seen.
    pub(super) fn has(&self, id: &LetterId) -> bool {
        self.letters.get(&place(id)).is_some_and(|letter| letter.revision == id.revision)
    }

    pub(super) fn letters(&self, key: &LetterKey, limit: usize) -> Vec<Letter> {
        let of_key = self.letters.values().filter(|letter| {
            let letter = &letter.letter;
            letter.consumer == key.consumer && *letter.partition.topic == *key.topic && letter.record.key == key.key
        });
        of_key.take(limit).cloned().collect()
    }

    pub(super) fn retries(&self, consumer: &str, limit: usize) -> Vec<LetterKey> {
        self.retries.iter().filter(|key| key.consumer == consumer).take(limit).cloned().collect()
    }

    pub(super) fn apply(&mut self, mend: Mend) {
        match mend {
            Mend::Retry(key) => {
                self.retries.insert(key);
            }
            Mend::Retried(key) => {
                self.retries.remove(&key);
            }
            Mend::Remove(id) => {
                self.letters.remove(&place(&id));
            }
            Mend::Keep { id, reason, parked } => {
                if let Some(letter) = self.letters.get_mut(&place(&id)) {
                    letter.attempts += i32::from(!parked);
                    (letter.letter.reason, letter.letter.parked) = (reason, parked);
                }
            }
            Mend::Edit { id, value } => {
                if let Some(letter) = self.letters.get_mut(&place(&id)) {
                    letter.revision += 1;
                    letter.letter.record.value = value.into();
                }
            }
            // Places are no letters: the tables see to them.
            Mend::MoveOffset { .. } | Mend::MoveCheckpoint { .. } => {}
        }
    }
}
