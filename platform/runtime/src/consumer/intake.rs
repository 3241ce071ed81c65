//! What a batch's records ask for: commands, or nothing that anybody can do.

use std::collections::{BTreeMap, HashMap};

use broker::TopicPartition;
use chrono::{DateTime, Utc};
use event_store::DeadLetter;
use kernel::Decide;
use telemetry::logs;
use uuid::Uuid;

use super::fetch::Batch;
use super::{Addressed, Consumer, Handler, records};
use crate::Origin;
use crate::batch::Item;
use crate::message::{self, Message};
use crate::traces::Traces;

/// What a batch's records ask for.
pub(super) struct Intake<A: Decide> {
    pub(super) items: Vec<Item<A>>,
    /// By record number: why it is put aside, and whether it only waits behind another.
    pub(super) dead: BTreeMap<usize, (String, bool)>,
    pub(super) inbox: Vec<(String, Uuid)>,
    /// Where records lie that were published again, and not for this consumer.
    pub(super) replays: Vec<TopicPartition>,
}

impl<H: Handler> Consumer<H> {
    /// Reads the records: commands, and what can never be handled with all that follows it. `blocked` are the keys that
    /// dead letters block, by topic, with the letters' offsets.
    pub(super) async fn take_in(
        &self,
        batches: &[Batch],
        blocked: &HashMap<String, HashMap<String, i64>>,
        refused: &BTreeMap<usize, String>,
        traces: &mut Traces,
    ) -> Result<Intake<H::Aggregate>, event_store::Error> {
        let now = self.clock.now();
        let mut intake = Intake { items: Vec::new(), dead: BTreeMap::new(), inbox: Vec::new(), replays: Vec::new() };
        // Keys that this very batch blocks.
        let mut newly_blocked: HashMap<(&str, &str), i64> = HashMap::new();
        let mut commands = Vec::new();
        for (n, (partition, stored)) in records(batches).enumerate() {
            if !self.is_meant(stored) {
                intake.replays.push(partition.clone());
                continue;
            }
            let key = (partition.topic.as_ref(), stored.record.key.as_str());
            let behind = newly_blocked
                .get(&key)
                .or_else(|| blocked.get(key.0).and_then(|keys| keys.get(key.1)))
                .filter(|offset| **offset < stored.offset);
            if let Some(offset) = behind {
                intake.dead.insert(n, (format!("waits behind the dead letter at offset {offset}"), true));
                continue;
            }
            let read = match refused.get(&n) {
                Some(reason) => Err(reason.clone()),
                None => match self.read(stored, now) {
                    Err(error @ message::Error::UnknownVersion { .. }) => {
                        let what = format!("the record at offset {} of {partition}", stored.offset);
                        return Err(event_store::Error::UnknownVersion { what, error: error.to_string() });
                    }
                    read => read.map_err(|error| error.to_string()),
                },
            };
            match read {
                Ok((means, _)) if means.is_empty() => {}
                Ok((means, mut message)) => {
                    self.trace(traces, n, (partition, stored), &mut message);
                    if let Some((id, command)) = means.first() {
                        traces.say(n, |span| self.handler.describe(id, command, span));
                    }
                    commands.extend(means.into_iter().map(|(id, command)| {
                        (message.id, Item { record: n, id, command, origin: Origin::message(&message) })
                    }));
                }
                Err(reason) => {
                    self.trace_refusal(traces, n, (partition, stored), &reason);
                    newly_blocked.insert(key, stored.offset);
                    intake.dead.insert(n, (reason, false));
                }
            }
        }
        if H::INBOX && !commands.is_empty() {
            self.skip_handled(&mut commands, &mut intake.inbox).await?;
        }
        intake.items = commands.into_iter().map(|(_, item)| item).collect();
        Ok(intake)
    }

    /// Whether the record is for this consumer: one that was published again is only within its own replay.
    fn is_meant(&self, stored: &broker::Stored) -> bool {
        let own = self.options.replay.as_deref().map(str::as_bytes);
        message::replay_of(&stored.record).is_none_or(|replay| own == Some(replay))
    }

    /// The message, and the commands that it means.
    fn read(
        &self,
        stored: &broker::Stored,
        now: DateTime<Utc>,
    ) -> Result<(Addressed<H::Aggregate>, Message), message::Error> {
        let message = Message::from_record(&stored.record)?;
        let known = self.handler.version(&message.message_type);
        if message.version > known {
            let Message { message_type, version, .. } = message;
            return Err(message::Error::UnknownVersion { message_type, version, known });
        }
        let commands = logs::in_scope(message.ids(), || self.handler.commands(&message, now))?;
        Ok((commands, message))
    }

    /// Leaves out commands that were handled before, in the store or earlier in this batch.
    async fn skip_handled(
        &self,
        commands: &mut Vec<(Uuid, Item<H::Aggregate>)>,
        inbox: &mut Vec<(String, Uuid)>,
    ) -> Result<(), event_store::Error> {
        let ids: Vec<Uuid> = commands.iter().map(|(id, _)| *id).collect();
        let mut seen: std::collections::HashSet<Uuid> =
            self.store.handled(self.options.name, &ids).await?.into_iter().collect();
        commands.retain(|(id, _)| seen.insert(*id));
        inbox.extend(commands.iter().map(|(id, _)| (self.options.name.to_owned(), *id)));
        Ok(())
    }

    /// Per topic, the batch's keys that are blocked by a dead letter.
    pub(super) async fn blocked(
        &self,
        batches: &[Batch],
    ) -> Result<HashMap<String, HashMap<String, i64>>, event_store::Error> {
        let mut keys: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for (partition, stored) in records(batches) {
            keys.entry(partition.topic.as_ref()).or_default().push(stored.record.key.clone());
        }
        let mut blocked = HashMap::new();
        for (topic, keys) in keys {
            blocked.insert(topic.to_owned(), self.store.blocked_keys(self.options.name, topic, &keys).await?);
        }
        Ok(blocked)
    }

    pub(super) fn dead_letters(&self, batches: &[Batch], dead: &BTreeMap<usize, (String, bool)>) -> Vec<DeadLetter> {
        if dead.is_empty() {
            return Vec::new();
        }
        records(batches)
            .enumerate()
            .filter_map(|(n, (partition, stored))| {
                let (reason, parked) = dead.get(&n)?;
                if !parked {
                    let tell = || {
                        tracing::error!(
                            consumer = self.options.name, topic = %partition.topic, partition = partition.partition,
                            offset = stored.offset, reason, "a record can never be handled: it is put aside"
                        );
                    };
                    match Message::ids_of(&stored.record) {
                        Some(ids) => logs::in_scope(ids, tell),
                        None => tell(),
                    }
                }
                Some(DeadLetter {
                    consumer: self.options.name.to_owned(),
                    partition: partition.clone(),
                    offset: stored.offset,
                    record: stored.record.as_ref().clone(),
                    reason: reason.clone(),
                    parked: *parked,
                })
            })
            .collect()
    }
}
