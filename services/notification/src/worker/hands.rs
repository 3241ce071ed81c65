//! What a worker has in hand.

use std::collections::{HashMap, VecDeque};

use kernel::{NotificationId, WebhookId};

use super::{FRESH_MAX, Fresh, Patience};
use crate::commands::Queued;

/// The notifications in flight, each once: so many in all, and so many of one webhook, lest one that is slow keeps the
/// others waiting.
pub(crate) struct Hands {
    patience: Patience,
    held: HashMap<NotificationId, Option<WebhookId>>,
    webhooks: HashMap<WebhookId, Share>,
    /// Fresh ones that wait for their webhook.
    waiting: usize,
}

/// What a webhook has of the worker.
#[derive(Default)]
struct Share {
    in_flight: usize,
    waiting: VecDeque<Fresh>,
}

impl Hands {
    pub(super) fn new(patience: Patience) -> Self {
        Self { patience, held: HashMap::new(), webhooks: HashMap::new(), waiting: 0 }
    }

    /// Whether there is room for one more.
    pub(super) fn are_free(&self) -> bool {
        self.held.len() < self.patience.at_once_max
    }

    /// Whether it is in hand.
    pub(super) fn hold(&self, id: NotificationId) -> bool {
        self.held.contains_key(&id)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    /// Webhooks that have their share.
    pub(super) fn full(&self) -> Vec<WebhookId> {
        let full = self.webhooks.iter().filter(|(_, share)| share.in_flight >= self.patience.of_webhook_max);
        full.map(|(webhook, _)| *webhook).collect()
    }

    fn have_room_for(&self, queued: &Queued) -> bool {
        let share = queued.letter.webhook_id.and_then(|webhook| self.webhooks.get(&webhook));
        !self.hold(queued.id) && share.is_none_or(|share| share.in_flight < self.patience.of_webhook_max)
    }

    /// Whether one of them could be taken up.
    pub(super) fn have_room_for_any(&self, due: &VecDeque<Queued>) -> bool {
        due.iter().any(|queued| self.have_room_for(queued))
    }

    /// Takes up the first of those that are due for which there is room.
    pub(super) fn take_due(&mut self, due: &mut VecDeque<Queued>) -> Option<Queued> {
        if !self.are_free() {
            return None;
        }
        let at = due.iter().position(|queued| self.have_room_for(queued))?;
        due.remove(at).inspect(|queued| self.take(queued))
    }

    /// Takes up a fresh one, unless it has waited too long or its webhook has its share: then it waits for that, or is
    /// left to the sweep.
    pub(super) fn take_fresh(&mut self, fresh: Fresh) -> Option<Queued> {
        if fresh.since.elapsed() > self.patience.waits_max || self.hold(fresh.queued.id) {
            return None;
        }
        if self.have_room_for(&fresh.queued) {
            self.take(&fresh.queued);
            return Some(fresh.queued);
        }
        if let Some(webhook) = fresh.queued.letter.webhook_id
            && self.waiting < FRESH_MAX
        {
            self.waiting += 1;
            self.webhooks.entry(webhook).or_default().waiting.push_back(fresh);
        }
        None
    }

    fn take(&mut self, queued: &Queued) {
        self.held.insert(queued.id, queued.letter.webhook_id);
        if let Some(webhook) = queued.letter.webhook_id {
            self.webhooks.entry(webhook).or_default().in_flight += 1;
        }
    }

    /// It is done with. What waited for its webhook is taken up in its place.
    pub(super) fn put_down(&mut self, id: NotificationId) -> Option<Queued> {
        let webhook = self.held.remove(&id)??;
        let share = self.webhooks.get_mut(&webhook)?;
        share.in_flight = share.in_flight.saturating_sub(1);
        let mut next = None;
        while next.is_none()
            && let Some(fresh) = share.waiting.pop_front()
        {
            self.waiting -= 1;
            let in_time = fresh.since.elapsed() <= self.patience.waits_max && !self.held.contains_key(&fresh.queued.id);
            next = in_time.then_some(fresh.queued);
        }
        match &next {
            Some(queued) => self.take(queued),
            None if share.in_flight == 0 => drop(self.webhooks.remove(&webhook)),
            None => {}
        }
        next
    }
}
