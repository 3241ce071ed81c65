//! Store and broker agree: the ids on the topics are those of the events, the first of each in its stream's order.
//!
//! On a live shop, two looks at the topics' ends make sure of what is a violation and what is on its way. A record that
//! was there before the stores' snapshots were taken must be in them; a message that the relay had passed by then must
//! be there when its topic's end is looked at after them.

use super::messages::{Expected, Messages};
use super::personal;
use super::report::Tally;
use crate::args::ServerArgs;
use crate::postgres::Server;
use crate::shop::BROKER_DATABASE;
use broker::{Broker, Error, FetchLimits, PostgresBroker, PostgresOptions, Record, TopicPartition};
use event_schemas::topics;
use futures::{StreamExt, TryStreamExt, stream};
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

/// What the records tell.
pub(super) struct Compared {
    /// Whether they are what the stores mean.
    pub(super) published: Tally,
    /// Whether none of them holds what is personal. Where they lie in a database they are looked through there.
    pub(super) personal: Tally,
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

    /// Compares all that lies on the topics with what the services' events mean. `before` and `after` are the bounds
    /// from before and after the stores were looked at.
    pub(super) async fn compare(&self, before: &Bounds, after: &Bounds, services: &mut [Messages]) -> Compared {
        let mut comparison = Comparison { services, tally: Tally::default(), records: 0, again: 0, unread: Vec::new() };
        let mut partitions = stream::iter(after)
            .map(|(place, bounds)| async move { Ok::<_, Error>((place, self.read(place, *bounds).await?)) })
            .buffered(READ_AT_ONCE);
        let mut personal = Tally::default();
        loop {
            match partitions.try_next().await {
                Ok(None) => break,
                Ok(Some((place, Read { ids, personal: found }))) => {
                    if self.is_kafka {
                        personal.checked(ids.len() as u64);
                        for offset in found {
                            personal.violated(|| format!("{place} offset {offset} holds an e-mail address"));
                        }
                    }
                    let (first, _) = after[place];
                    if first > 0 {
                        comparison.unread.push(place.clone());
                    }
                    let known_before = before.get(place).map_or(0, |(_, end)| *end);
                    comparison.partition(place, &ids, known_before);
                }
                Err(error) => {
                    comparison.tally.could_not(error.to_string());
                    if self.is_kafka {
                        personal.could_not(format!("the topics: {error}"));
                    }
                    return Compared { published: comparison.tally, personal };
                }
            }
        }
        Compared { published: comparison.finish(), personal }
    }

    /// What is to be said where the topics were not read.
    pub(super) fn unread(&self, reason: String) -> Compared {
        let personal = if self.is_kafka { Tally::unchecked(format!("the topics: {reason}")) } else { Tally::default() };
        Compared { published: Tally::unchecked(reason), personal }
    }

    /// The message ids of a partition, in order; `None` for what is no message.
    pub(crate) async fn ids(
        &self,
        place: &TopicPartition,
        bounds: (i64, i64),
    ) -> Result<Vec<(i64, Option<Uuid>)>, Error> {
        Ok(self.read(place, bounds).await?.ids)
    }

    async fn read(&self, place: &TopicPartition, (first, end): (i64, i64)) -> Result<Read, Error> {
        let mut read = Read::default();
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
            for stored in fetched.records.iter().filter(|stored| stored.offset < end) {
                let id = stored.record.headers.get("ce_id").and_then(|id| std::str::from_utf8(id).ok());
                read.ids.push((stored.offset, id.and_then(|id| Uuid::parse_str(id).ok())));
                if is_personal(&stored.record) {
                    read.personal.push(stored.offset);
                }
            }
        }
        Ok(read)
    }
}

/// What was read of a partition.
#[derive(Default)]
struct Read {
    /// The message ids, in order; `None` for what is no message.
    ids: Vec<(i64, Option<Uuid>)>,
    /// The offsets of records that hold an e-mail address.
    personal: Vec<i64>,
}

/// Whether key, headers or payload hold an e-mail address.
fn is_personal(record: &Record) -> bool {
    let headers = record.headers.values().map(|value| &value[..]);
    headers.chain([record.key.as_bytes(), &record.value[..]]).any(personal::holds_address)
}

struct Comparison<'a> {
    services: &'a mut [Messages],
    tally: Tally,
    records: u64,
    /// Of these, how many came before.
    again: u64,
    /// Partitions whose beginning the broker has deleted.
    unread: Vec<TopicPartition>,
}

impl Comparison<'_> {
    fn partition(&mut self, place: &TopicPartition, ids: &[(i64, Option<Uuid>)], known_before: i64) {
        // By service and stream: the sequence of the last first occurrence.
        let mut last: HashMap<(usize, u32), u32> = HashMap::new();
        for (offset, id) in ids {
            self.records += 1;
            let found = id.and_then(|id| {
                let mut services = self.services.iter_mut().enumerate();
                services.find_map(|(n, service)| service.by_id.get_mut(&id).map(|expected| (n, expected)))
            });
            let Some((service, expected)) = found else {
                // What came after the first look may belong to an event that is younger than the snapshots.
                if *offset < known_before {
                    let what = id.map_or_else(|| "no message".to_owned(), |id| format!("message {id} of no event"));
                    self.tally.violated(|| format!("{place} offset {offset}: {what}"));
                }
                continue;
            };
            let first_time = !std::mem::replace(&mut expected.is_seen, true);
            let wrong_place = !lies_on(expected, place);
            let last = last.entry((service, expected.stream)).or_default();
            self.again += u64::from(!first_time);
            let reversed = first_time && expected.sequence < *last;
            if first_time {
                *last = expected.sequence.max(*last);
            }
            if wrong_place || reversed {
                let what = if wrong_place { "does not belong there" } else { "comes after a later one of its stream" };
                let name = self.services[service].by_id.get(&id.unwrap_or_default());
                let name = name.map(|expected| self.services[service].name(expected)).unwrap_or_default();
                self.tally.violated(|| format!("{place} offset {offset}: {name} {what}"));
            }
        }
    }

    fn finish(mut self) -> Tally {
        let (mut on_their_way, mut too_old) = (0_u64, 0_u64);
        for service in self.services.iter() {
            for (id, expected) in &service.by_id {
                match () {
                    () if expected.is_seen => {}
                    () if !expected.is_due => on_their_way += 1,
                    () if self.unread.iter().any(|place| lies_on(expected, place)) => too_old += 1,
                    () => {
                        let topic = topics::ALL.get(usize::from(expected.topic)).unwrap_or(&"no topic");
                        self.tally.violated(|| format!("{}: message {id} is not on {topic}", service.name(expected)));
                    }
                }
            }
            self.tally.checked(service.by_id.len() as u64);
        }
        if too_old > 0 {
            self.tally.could_not(format!("{too_old} messages are older than what the broker has kept"));
        }
        let Self { records, again, .. } = self;
        self.tally.note(format!("{records} records, {again} of them repeated, {on_their_way} on their way"));
        self.tally
    }
}

fn lies_on(expected: &Expected, place: &TopicPartition) -> bool {
    i32::from(expected.partition) == place.partition
        && topics::ALL.get(usize::from(expected.topic)).is_some_and(|topic| **topic == *place.topic)
}
