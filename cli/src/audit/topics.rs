//! Store and broker agree: the ids on the topics are those of the events, the first of each in its stream's order.
//!
//! On a live shop, two looks at the topics' ends make sure of what is a violation and what is on its way. A record that
//! was there before the stores' snapshots were taken must be in them; a message that the relay had passed by then must
//! be there when its topic's end is looked at after them.

use super::messages::Expected;
use super::personal;
use super::report::Tally;
use super::spill::{PARTS, Spill};
use crate::args::ServerArgs;
use crate::ports::Role;
use crate::postgres::Server;
use crate::progress::Progress;
use crate::shop::BROKER_DATABASE;
use broker::{Broker, Error, FetchLimits, PostgresBroker, PostgresOptions, Record, Stored, TopicPartition};
use chrono::{DateTime, Utc};
use event_schemas::topics;
use futures::{StreamExt, TryStreamExt, stream};
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;
use uuid::Uuid;

/// Partitions that are read at once.
const READ_AT_ONCE: usize = 4;
const FETCH: FetchLimits = FetchLimits { bytes_max: 8 << 20, records_max: 5_000, wait_max: Duration::from_millis(500) };
/// Fetches in a row that bring nothing where something is.
const EMPTY_MAX: u32 = 20;

/// The first offset of each partition and the one that its next record will get.
pub(crate) type Bounds = BTreeMap<TopicPartition, (i64, i64)>;

/// The topics of a shop.
pub(crate) struct Topics {
    /// Or why there is none.
    broker: Result<Box<dyn Broker>, String>,
    /// Whether no database holds the records.
    is_kafka: bool,
    partitions: u16,
}

impl Topics {
    /// Those that the arguments mean. Nothing is made that is not there.
    pub(crate) fn new(server: &Server, servers: &ServerArgs) -> Self {
        let kafka = servers.kafka();
        let is_kafka = matches!(&kafka, Ok(Some(_)));
        let broker = kafka.map(|kafka| match kafka {
            Some(kafka) => Box::new(kafka) as Box<dyn Broker>,
            None => {
                let connections = u32::try_from(READ_AT_ONCE).unwrap_or(1);
                let pool = runtime::service::pool(server.options(BROKER_DATABASE), "audit", connections);
                Box::new(PostgresBroker::new(pool, PostgresOptions::default()))
            }
        });
        Self { broker: broker.map_err(|error| format!("{error:#}")), is_kafka, partitions: servers.partitions }
    }

    fn broker(&self) -> Result<&dyn Broker, Error> {
        self.broker.as_deref().map_err(|reason| Error::Unavailable(reason.clone()))
    }

    /// Where each partition begins and ends now.
    pub(super) async fn bounds(&self) -> Result<Bounds, String> {
        self.look(None).await
    }

    /// The same for a broker that may have been made anew: topics that are not there are empty.
    pub(crate) async fn bounds_of_any(&self) -> Result<Bounds, String> {
        self.look(Some((0, 0))).await
    }

    async fn look(&self, of_missing: Option<(i64, i64)>) -> Result<Bounds, String> {
        let mut bounds = Bounds::new();
        let broker = self.broker().map_err(|error| error.to_string())?;
        for topic in topics::ALL {
            for partition in 0..i32::from(self.partitions) {
                let place = TopicPartition::new(topic, partition);
                match (broker.bounds(&place).await, of_missing) {
                    (Ok(found), _) | (Err(Error::UnknownPartition(_)), Some(found)) => bounds.insert(place, found),
                    (Err(error), _) => return Err(error.to_string()),
                };
            }
            let beyond = TopicPartition::new(topic, i32::from(self.partitions));
            match broker.bounds(&beyond).await {
                Err(Error::UnknownPartition(_)) => {}
                Ok(_) => return Err(format!("{topic} has more partitions than {}: see --partitions", self.partitions)),
                Err(error) => return Err(error.to_string()),
            }
        }
        Ok(bounds)
    }

    /// From where on a partition's records were published at this time or later, as far as its times rise.
    pub(super) async fn offset_at(
        &self,
        place: &TopicPartition,
        bounds: (i64, i64),
        at: DateTime<Utc>,
    ) -> Result<i64, Error> {
        const ONE: FetchLimits =
            FetchLimits { bytes_max: 1 << 20, records_max: 1, wait_max: Duration::from_millis(500) };
        let (mut first, mut end) = bounds;
        while first < end {
            let middle = first + (end - first) / 2;
            let found = self.broker()?.fetch(place, middle, ONE).await?;
            let is_before =
                found.records.first().is_some_and(|stored| stored.record.timestamp_ms < at.timestamp_millis());
            if is_before { first = middle + 1 } else { end = middle }
        }
        Ok(first)
    }

    /// Puts all that lies on the topics aside. `before` and `after` are the bounds from before and after the stores were
    /// looked at; `from` is where to begin.
    pub(super) async fn put_aside(
        &self,
        from: &BTreeMap<TopicPartition, i64>,
        before: &Bounds,
        after: &Bounds,
        aside: &Spill,
        progress: &Progress,
    ) -> Result<Lying, Error> {
        let mut places = stream::iter(after)
            .map(|(place, (first, end))| async move {
                let begin = from.get(place).copied().unwrap_or(0).max(*first);
                let known_before = before.get(place).map_or(0, |(_, end)| *end);
                self.put_place_aside(place, (begin, *end), known_before, aside, progress).await
            })
            .buffered(READ_AT_ONCE);
        let mut lying = Lying::default();
        while let Some((records, personal)) = places.try_next().await? {
            lying.records += records;
            if self.is_kafka {
                lying.personal.checked(records);
                lying.personal.merge(personal);
            }
        }
        let beginnings = after.iter().filter(|(place, (first, _))| *first > from.get(*place).copied().unwrap_or(0));
        lying.cut_off = beginnings.map(|(place, _)| number_of(place)).collect();
        Ok(lying)
    }

    async fn put_place_aside(
        &self,
        place: &TopicPartition,
        bounds: (i64, i64),
        known_before: i64,
        aside: &Spill,
        progress: &Progress,
    ) -> Result<(u64, Tally), Error> {
        let (mut records, mut personal) = (0, Tally::default());
        let (topic, partition) = number_of(place);
        self.each(place, bounds, |stored| {
            records += 1;
            progress.advance(1);
            let found = Found {
                id: id_of(&stored.record).unwrap_or_default(),
                offset: stored.offset,
                partition,
                topic,
                is_old: stored.offset < known_before,
            };
            aside.put(&stored.record.key.as_str(), &found.bytes());
            if self.is_kafka && is_personal(&stored.record) {
                personal.violated(|| format!("{place} offset {} holds an e-mail address", stored.offset));
            }
        })
        .await?;
        Ok((records, personal))
    }

    /// What is to be said of personal data where the topics were not read.
    pub(super) fn personal_unread(&self, reason: &str) -> Tally {
        if self.is_kafka { Tally::unchecked(format!("the topics: {reason}")) } else { Tally::default() }
    }

    /// The message ids of a partition, in order; `None` for what is no message.
    pub(crate) async fn ids(
        &self,
        place: &TopicPartition,
        bounds: (i64, i64),
    ) -> Result<Vec<(i64, Option<Uuid>)>, Error> {
        let mut ids = Vec::new();
        self.each(place, bounds, |stored| ids.push((stored.offset, id_of(&stored.record)))).await?;
        Ok(ids)
    }

    async fn each(
        &self,
        place: &TopicPartition,
        (first, end): (i64, i64),
        mut with: impl FnMut(&Stored) + Send,
    ) -> Result<(), Error> {
        let (mut offset, mut empty) = (first, 0);
        while offset < end {
            let fetched = self.broker()?.fetch(place, offset, FETCH).await?;
            let Some(last) = fetched.records.last().map(|stored| stored.offset) else {
                empty += 1;
                if empty > EMPTY_MAX {
                    return Err(Error::Unavailable(format!("{place} ends at {end} and has nothing at {offset}")));
                }
                continue;
            };
            (offset, empty) = (last + 1, 0);
            fetched.records.iter().filter(|stored| stored.offset < end).for_each(&mut with);
        }
        Ok(())
    }
}

/// What lies on the topics, apart from the records themselves.
#[derive(Default)]
pub(super) struct Lying {
    records: u64,
    /// Whether none of them holds what is personal. Where they lie in a database they are looked through there.
    pub(super) personal: Tally,
    /// Partitions whose beginning the broker has deleted.
    cut_off: Vec<(u8, u16)>,
}

/// A record that lies on a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Found {
    /// Its message's; nil for what is no message.
    id: Uuid,
    offset: i64,
    partition: u16,
    topic: u8,
    /// It was there before the stores were looked at.
    is_old: bool,
}

impl Found {
    const BYTES: usize = 28;

    fn bytes(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..16].copy_from_slice(self.id.as_bytes());
        bytes[16..24].copy_from_slice(&self.offset.to_be_bytes());
        bytes[24..26].copy_from_slice(&self.partition.to_be_bytes());
        bytes[26..].copy_from_slice(&[self.topic, u8::from(self.is_old)]);
        bytes
    }

    fn of(bytes: &[u8; Self::BYTES]) -> Self {
        Self {
            id: Uuid::from_bytes(std::array::from_fn(|n| bytes[n])),
            offset: i64::from_be_bytes(std::array::from_fn(|n| bytes[16 + n])),
            partition: u16::from_be_bytes(std::array::from_fn(|n| bytes[24 + n])),
            topic: bytes[26],
            is_old: bytes[27] != 0,
        }
    }

    fn place(&self) -> String {
        format!("{}/{} offset {}", topic(self.topic), self.partition, self.offset)
    }
}

fn id_of(record: &Record) -> Option<Uuid> {
    let id = record.headers.get("ce_id").and_then(|id| std::str::from_utf8(id).ok())?;
    Uuid::parse_str(id).ok()
}

fn number_of(place: &TopicPartition) -> (u8, u16) {
    let topic = topics::ALL.iter().position(|topic| **topic == *place.topic).and_then(|n| u8::try_from(n).ok());
    (topic.unwrap_or(u8::MAX), u16::try_from(place.partition).unwrap_or(u16::MAX))
}

fn topic(number: u8) -> &'static str {
    topics::ALL.get(usize::from(number)).unwrap_or(&"no topic")
}

/// Whether key, headers or payload hold an e-mail address.
fn is_personal(record: &Record) -> bool {
    let headers = record.headers.values().map(|value| &value[..]);
    headers.chain([record.key.as_bytes(), &record.value[..]]).any(personal::holds_address)
}

/// Compares all that lies on the topics with what the services' events mean: a part of the keys after the other, for the
/// messages of one key are in order.
///
/// # Errors
/// When something could not be put aside.
pub(super) fn compare(expected: &Spill, found: &Spill, lying: &Lying, is_whole: bool) -> anyhow::Result<Tally> {
    let mut comparison = Comparison { is_whole, ..Comparison::default() };
    for part in 0..PARTS {
        comparison.part(&expected.part(part)?, &found.part(part)?, &lying.cut_off);
    }
    let Comparison { mut tally, again, on_their_way, too_old, earlier, .. } = comparison;
    if too_old > 0 {
        tally.could_not(format!("{too_old} messages are older than what the broker has kept"));
    }
    let records = lying.records;
    tally.note(format!("{records} records, {again} of them repeated, {on_their_way} on their way"));
    if earlier > 0 {
        tally.note(format!("{earlier} records are not of events since then"));
    }
    Ok(tally)
}

#[derive(Default)]
struct Comparison {
    tally: Tally,
    /// All events were looked at: a record of none of them is nobody's.
    is_whole: bool,
    /// Records whose message came before.
    again: u64,
    on_their_way: u64,
    too_old: u64,
    earlier: u64,
}

impl Comparison {
    fn part(&mut self, expected: &[u8], found: &[u8], cut_off: &[(u8, u16)]) {
        // And whether it was seen.
        let mut messages: HashMap<Uuid, (Expected, bool)> = HashMap::new();
        for expected in Expected::read(expected) {
            match messages.entry(expected.id) {
                Entry::Occupied(mut known) => {
                    let (known, _) = known.get_mut();
                    known.is_due |= expected.is_due;
                    known.sequence = known.sequence.min(expected.sequence);
                }
                Entry::Vacant(place) => {
                    place.insert((expected, false));
                }
            }
        }
        let mut records: Vec<Found> = found.as_chunks().0.iter().map(Found::of).collect();
        records.sort_unstable_by_key(|found| (found.topic, found.partition, found.offset));
        // By place and stream: the sequence of the last first occurrence.
        let mut last: HashMap<(u8, u16, Uuid, u8), u32> = HashMap::new();
        for found in &records {
            self.record(found, &mut messages, &mut last);
        }
        for (expected, is_seen) in messages.values() {
            match () {
                () if *is_seen => {}
                () if !expected.is_due => self.on_their_way += 1,
                () if cut_off.contains(&(expected.topic, expected.partition)) => self.too_old += 1,
                () => self.tally.violated(|| {
                    let service = Role::ALL.get(usize::from(expected.service)).map_or("", |role| role.name());
                    let (name, id, topic) = (expected.name(), expected.id, topic(expected.topic));
                    format!("{name}: message {id} of {service} is not on {topic}")
                }),
            }
        }
        self.tally.checked(messages.len() as u64);
    }

    fn record(
        &mut self,
        found: &Found,
        messages: &mut HashMap<Uuid, (Expected, bool)>,
        last: &mut HashMap<(u8, u16, Uuid, u8), u32>,
    ) {
        let Some((expected, is_seen)) = messages.get_mut(&found.id) else {
            match () {
                () if !self.is_whole => self.earlier += 1,
                // What came after the first look may belong to an event that is younger than the snapshots.
                () if !found.is_old => {}
                () if found.id.is_nil() => self.tally.violated(|| format!("{}: no message", found.place())),
                () => self.tally.violated(|| format!("{}: message {} of no event", found.place(), found.id)),
            }
            return;
        };
        let first_time = !std::mem::replace(is_seen, true);
        self.again += u64::from(!first_time);
        if (found.topic, found.partition) != (expected.topic, expected.partition) {
            self.tally.violated(|| format!("{}: {} does not belong there", found.place(), expected.name()));
            return;
        }
        if first_time {
            let last = last.entry((found.topic, found.partition, expected.stream, expected.kind)).or_default();
            if expected.sequence < *last {
                let (place, name) = (found.place(), expected.name());
                self.tally.violated(|| format!("{place}: {name} comes after a later one of its stream"));
            }
            *last = expected.sequence.max(*last);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_aside_comes_back_as_it_was() {
        let found = Found { id: Uuid::from_u128(1), offset: 1 << 40, partition: 300, topic: 2, is_old: true };
        assert_eq!(Found::of(&found.bytes()), found);
    }
}
