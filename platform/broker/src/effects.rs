//! Who may publish: a running service, anywhere; a replay, onto its own topic alone.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use kernel::Live;

use crate::{Broker, Error, Record, TopicPartition, partition_of};

/// The header of a record that is published again: it names the replay that it belongs to. Consumers act on it within
/// their own replays alone.
pub const REPLAY: &str = "replay";

/// The longest name of a topic that Kafka takes.
const NAME_CHARS_MAX: usize = 249;

/// What a publish may do. There are two ways to one: from [`Live`], which only what has effects holds, and from a
/// [`ReplayTopic`], which is no topic of the shop's.
#[derive(Debug, Clone, Copy)]
pub struct Permit<'a>(Of<'a>);

#[derive(Debug, Clone, Copy)]
enum Of<'a> {
    Live,
    Replay(&'a ReplayTopic),
}

impl From<Live> for Permit<'_> {
    fn from(_: Live) -> Self {
        Self(Of::Live)
    }
}

impl Permit<'_> {
    /// Refuses what it is not for. Every broker asks before it takes anything.
    ///
    /// # Errors
    /// A replay's record is for another topic than its own, or not marked as one of a replay.
    pub fn check(self, batch: &[(TopicPartition, Vec<Record>)]) -> Result<(), Error> {
        let Of::Replay(own) = self.0 else { return Ok(()) };
        let is_marked = |record: &Record| record.headers.get(REPLAY).is_some_and(|id| *id == own.replay);
        let strange = batch.iter().find(|(to, records)| to.topic != own.name || !records.iter().all(is_marked));
        match strange {
            Some((to, _)) => Err(Error::NotPermitted(to.clone())),
            None => Ok(()),
        }
    }
}

/// Why a topic is none for a replay.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotForReplays {
    /// It is the shop's own.
    #[error("{0} is a topic of the running shop: a replay is published onto another one, such as {0}_replay")]
    Live(String),
    /// Kafka takes no such name.
    #[error("{0:?} is no name of a topic: it has 1 to 249 letters, digits, dots, dashes and underscores")]
    Malformed(String),
}

/// A topic that history is published to again, for a consumer that is new.
#[derive(Debug, Clone)]
pub struct ReplayTopic {
    name: Arc<str>,
    partitions: i32,
    replay: Bytes,
}

impl ReplayTopic {
    /// The topic of this name, for the replay of that; `live` are the topics that it must not be.
    ///
    /// # Errors
    /// It is one of those, or no topic can be called so.
    pub fn new(name: &str, partitions: i32, replay: &str, live: &[&str]) -> Result<Self, NotForReplays> {
        let is_name = (1..=NAME_CHARS_MAX).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
            && !matches!(name, "." | "..");
        // Kafka takes dots and underscores for the same in some places.
        let alike = |other: &&&str| other.replace('.', "_") == name.replace('.', "_");
        match live.iter().find(alike) {
            Some(live) => Err(NotForReplays::Live((*live).to_owned())),
            None if !is_name || name.starts_with("__") => Err(NotForReplays::Malformed(name.to_owned())),
            None => Ok(Self { name: name.into(), partitions, replay: Bytes::copy_from_slice(replay.as_bytes()) }),
        }
    }

    /// Its partitions.
    pub fn partitions(&self) -> impl Iterator<Item = TopicPartition> + '_ {
        (0..self.partitions).map(|number| TopicPartition::new(Arc::clone(&self.name), number))
    }

    /// Makes it, if it is not there.
    ///
    /// # Errors
    /// Those of the broker; it is there with another number of partitions.
    pub async fn ensure(&self, broker: &dyn Broker) -> Result<(), Error> {
        broker.ensure_topics(&[(self.name.to_string(), self.partitions)]).await
    }

    /// How many records it has, or had.
    ///
    /// # Errors
    /// Those of the broker.
    pub async fn records(&self, broker: &dyn Broker) -> Result<i64, Error> {
        let mut records = 0;
        for partition in self.partitions() {
            match broker.bounds(&partition).await {
                Ok((_, end)) => records += end,
                Err(Error::UnknownPartition(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(records)
    }

    /// Publishes records, marked, each to its key's partition.
    ///
    /// # Errors
    /// Those of the broker.
    pub async fn publish(&self, broker: &dyn Broker, records: Vec<Record>) -> Result<(), Error> {
        let mut batch: Vec<(TopicPartition, Vec<Record>)> = self.partitions().map(|to| (to, Vec::new())).collect();
        for mut record in records {
            record.headers.insert(REPLAY.to_owned(), self.replay.clone());
            let partition = usize::try_from(partition_of(&record.key, self.partitions)).unwrap_or(0);
            if let Some((_, of_partition)) = batch.get_mut(partition) {
                of_partition.push(record);
            }
        }
        batch.retain(|(_, records)| !records.is_empty());
        broker.publish(Permit(Of::Replay(self)), batch).await
    }
}

impl fmt::Display for ReplayTopic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FetchLimits, MemoryBroker};

    const SHOPS: [&str; 2] = ["order_events", "order_commands"];

    fn record(key: &str) -> Record {
        Record { key: key.to_owned(), headers: Default::default(), value: Bytes::from_static(b"{}"), timestamp_ms: 0 }
    }

    #[test]
    fn the_shops_topics_are_refused_and_what_none_can_be_called() {
        let new = |name: &str| ReplayTopic::new(name, 1, "mine", &SHOPS).map(|topic| topic.to_string());
        assert_eq!(new("new_consumer"), Ok("new_consumer".to_owned()));
        for name in ["order_events", "order.events"] {
            assert_eq!(new(name), Err(NotForReplays::Live("order_events".to_owned())), "{name}");
        }
        for name in ["", ".", "..", "a b", "__consumer_offsets", &"x".repeat(250)] {
            assert!(matches!(new(name), Err(NotForReplays::Malformed(_))), "{name}");
        }
    }

    #[tokio::test]
    async fn a_replay_publishes_onto_its_own_topic_alone_and_marks_what_it_does() {
        let broker = MemoryBroker::new();
        let topic = ReplayTopic::new("new", 2, "mine", &SHOPS).unwrap();
        broker.ensure_topics(&[("order_events".to_owned(), 2)]).await.unwrap();
        topic.ensure(&broker).await.unwrap();
        topic.publish(&broker, ["a", "b", "c"].map(record).to_vec()).await.unwrap();
        assert_eq!(topic.records(&broker).await.unwrap(), 3);
        for partition in topic.partitions() {
            for stored in broker.fetch(&partition, 0, FetchLimits::default()).await.unwrap().records {
                assert_eq!(stored.record.headers[REPLAY], "mine");
            }
        }
        // Whoever holds the permit of a replay cannot use it for anything else.
        let elsewhere = vec![(TopicPartition::new("order_events", 0), vec![record("a")])];
        let refused = broker.publish(Permit(Of::Replay(&topic)), elsewhere).await;
        assert!(matches!(refused, Err(Error::NotPermitted(_))));
        let unmarked = vec![(TopicPartition::new("new", 0), vec![record("a")])];
        assert!(matches!(broker.publish(Permit(Of::Replay(&topic)), unmarked).await, Err(Error::NotPermitted(_))));
        assert_eq!(broker.bounds(&TopicPartition::new("order_events", 0)).await.unwrap(), (0, 0));
    }
}
