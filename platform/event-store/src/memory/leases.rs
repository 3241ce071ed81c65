//! Partitions shared among the living instances of a consumer.

use std::collections::BTreeMap;

use broker::TopicPartition;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::{Error, Lease, OffsetAdvance};

#[derive(Default)]
struct Slot {
    epoch: i64,
    next_offset: i64,
    /// Who holds it, and until when.
    held: Option<(Uuid, DateTime<Utc>)>,
}

impl Slot {
    fn holder(&self, now: DateTime<Utc>) -> Option<Uuid> {
        self.held.filter(|(_, lease_until)| *lease_until >= now).map(|(holder, _)| holder)
    }
}

#[derive(Default)]
struct Consumer {
    /// The instances, and until when each counts as living.
    members: BTreeMap<Uuid, DateTime<Utc>>,
    slots: BTreeMap<TopicPartition, Slot>,
}

/// What the production store keeps in `consumer_members` and `consumer_offsets`.
#[derive(Default)]
pub(super) struct Leases {
    consumers: BTreeMap<String, Consumer>,
}

impl Leases {
    pub(super) fn claim(
        &mut self,
        consumer: &str,
        owner: Uuid,
        partitions: &[TopicPartition],
        now: DateTime<Utc>,
        until: DateTime<Utc>,
    ) -> Vec<Lease> {
        let state = self.consumers.entry(consumer.to_owned()).or_default();
        state.members.insert(owner, until);
        state.members.retain(|_, seen_until| *seen_until >= now);
        let mut wanted = partitions.to_vec();
        wanted.sort();
        wanted.dedup();
        for partition in &wanted {
            state.slots.entry(partition.clone()).or_default();
        }
        // What cannot be divided evenly goes to as few as it must, and stays with those who have it.
        let (least, left_over) = (wanted.len() / state.members.len(), wanted.len() % state.members.len());
        let mut others: BTreeMap<Uuid, usize> = BTreeMap::new();
        for holder in wanted.iter().filter_map(|partition| state.slots[partition].holder(now)) {
            *others.entry(holder).or_default() += usize::from(holder != owner);
        }
        let share = least + usize::from(others.values().filter(|held| **held > least).count() < left_over);
        let lease = |partition: &TopicPartition, slot: &Slot| Lease {
            consumer: consumer.to_owned(),
            partition: partition.clone(),
            epoch: slot.epoch,
            next_offset: slot.next_offset,
        };

        let mut leases = Vec::new();
        // Its own first: what it holds within its share is renewed, what is above it given up.
        for (partition, slot) in state.slots.iter_mut().filter(|(partition, _)| wanted.contains(partition)) {
            if slot.held.is_some_and(|(holder, lease_until)| holder == owner && lease_until >= now) {
                let renewed = leases.len() < share;
                slot.held = renewed.then_some((owner, until));
                leases.extend(renewed.then(|| lease(partition, slot)));
            }
        }
        // Then what nobody holds.
        let renewed: Vec<TopicPartition> = leases.iter().map(|lease| lease.partition.clone()).collect();
        for (partition, slot) in state.slots.iter_mut().filter(|(partition, _)| wanted.contains(partition)) {
            let free = slot.held.is_none_or(|(_, lease_until)| lease_until < now);
            if free && !renewed.contains(partition) && leases.len() < share {
                slot.epoch += 1;
                slot.held = Some((owner, until));
                leases.push(lease(partition, slot));
            }
        }
        leases
    }

    pub(super) fn release(&mut self, consumer: &str, owner: Uuid) {
        let Some(state) = self.consumers.get_mut(consumer) else { return };
        state.members.remove(&owner);
        for slot in state.slots.values_mut() {
            slot.held = slot.held.filter(|(holder, _)| *holder != owner);
        }
    }

    fn slot(&self, consumer: &str, partition: &TopicPartition) -> Option<&Slot> {
        self.consumers.get(consumer)?.slots.get(partition)
    }

    /// Whether the partition is there and nobody holds it.
    pub(super) fn is_free(&self, consumer: &str, partition: &TopicPartition, now: DateTime<Utc>) -> bool {
        self.slot(consumer, partition).is_some_and(|slot| slot.holder(now).is_none())
    }

    pub(super) fn next_offset(&self, consumer: &str, partition: &TopicPartition) -> Option<i64> {
        self.slot(consumer, partition).map(|slot| slot.next_offset)
    }

    /// Whether anybody has ever held a place of this name.
    pub(super) fn is_known(&self, consumer: &str) -> bool {
        self.consumers.get(consumer).is_some_and(|state| !state.slots.is_empty())
    }

    pub(super) fn nobody_holds(&self, consumer: &str, now: DateTime<Utc>) -> bool {
        self.consumers.get(consumer).is_none_or(|state| state.slots.values().all(|slot| slot.holder(now).is_none()))
    }

    /// Sets the offset of a partition that nobody holds; whoever held it writes nothing any more.
    pub(super) fn set(&mut self, consumer: &str, partition: &TopicPartition, next_offset: i64) {
        let state = self.consumers.get_mut(consumer);
        if let Some(slot) = state.and_then(|state| state.slots.get_mut(partition)) {
            slot.next_offset = next_offset;
            slot.epoch += 1;
        }
    }

    /// Whether the offset may move: the epoch and the old offset are as held, and it never falls.
    pub(super) fn check(&self, advance: &OffsetAdvance) -> Result<(), Error> {
        let lease = &advance.lease;
        let slot = self.consumers.get(&lease.consumer).and_then(|state| state.slots.get(&lease.partition));
        let held = slot.is_some_and(|slot| slot.epoch == lease.epoch && slot.next_offset == lease.next_offset);
        if held && advance.to >= lease.next_offset {
            return Ok(());
        }
        Err(Error::LeaseLost { consumer: lease.consumer.clone(), partition: lease.partition.clone() })
    }

    pub(super) fn advance(&mut self, advance: &OffsetAdvance) {
        let state = self.consumers.get_mut(&advance.lease.consumer);
        if let Some(slot) = state.and_then(|state| state.slots.get_mut(&advance.lease.partition)) {
            slot.next_offset = advance.to;
        }
    }
}
