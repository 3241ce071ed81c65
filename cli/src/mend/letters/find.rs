//! Letters in a store, by their place.

use super::super::{Store, meant, plural, time};
use crate::exit::{Code, Failure};
use crate::output::Row;
use broker::TopicPartition;
use chrono::{DateTime, Utc};
use event_schemas::topics;
use event_store::{Letter, LetterKey};
use serde::Serialize;

/// At most so many letters of a key are looked at here.
pub(super) const LETTERS_MAX: usize = 10_000;

/// Where a message lies: `payment_commands/2/17`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) partition: TopicPartition,
    pub(super) offset: i64,
}

impl std::str::FromStr for Place {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self, Failure> {
        let parts: Vec<&str> = text.rsplitn(3, '/').collect();
        let read = || {
            let [offset, partition, topic] = parts[..] else { return None };
            let partition = TopicPartition::new(topic.to_owned(), partition.parse().ok()?);
            Some(Self { partition, offset: offset.parse().ok()? })
        };
        let message = || format!("{text} is no letter: expected TOPIC/PARTITION/OFFSET, such as payment_commands/2/17");
        read().ok_or_else(|| Failure::new(Code::Usage, message()))
    }
}

/// Which letters are listed.
pub(super) struct Which<'a> {
    pub(super) consumer: Option<&'a str>,
    pub(super) key: Option<&'a str>,
    pub(super) parked: bool,
    pub(super) limit: i64,
}

#[derive(sqlx::FromRow)]
pub(super) struct Found {
    consumer: String,
    topic: String,
    partition: i32,
    offset: i64,
    key: String,
    reason: String,
    attempts: i32,
    revision: i32,
    parked: bool,
    followers: i64,
    is_retried: bool,
    created_at: DateTime<Utc>,
}

impl Found {
    pub(super) fn of_key(&self) -> LetterKey {
        LetterKey { consumer: self.consumer.clone(), topic: self.topic.clone(), key: self.key.clone() }
    }
}

/// Letters of a store, each with how many wait behind it.
pub(super) async fn list(store: &Store, which: &Which<'_>) -> anyhow::Result<Vec<Found>> {
    sqlx::query_as(
        "SELECT d.consumer, d.topic, d.partition, d.\"offset\", d.key, d.reason, d.attempts, d.revision, d.parked, d.created_at,
                (SELECT count(*) FROM dead_letters f
                  WHERE f.consumer = d.consumer AND f.topic = d.topic AND f.key = d.key AND f.parked
                    AND f.\"offset\" > d.\"offset\" AND NOT d.parked) AS followers,
                EXISTS (SELECT FROM dead_letter_retries r
                         WHERE r.consumer = d.consumer AND r.topic = d.topic AND r.key = d.key) AS is_retried
           FROM dead_letters d
          WHERE ($1::text IS NULL OR d.consumer = $1) AND ($2::text IS NULL OR d.key = $2) AND ($3 OR NOT d.parked)
          ORDER BY d.consumer, d.topic, d.partition, d.\"offset\" LIMIT $4",
    )
    .bind(which.consumer)
    .bind(which.key)
    .bind(which.parked)
    .bind(which.limit)
    .fetch_all(&store.pool)
    .await
    .map_err(|error| store.away(&error))
}

/// The letter at this place, and all of its key.
pub(super) async fn letter(
    store: &Store,
    place: &str,
    consumer: Option<&str>,
) -> anyhow::Result<(LetterKey, Letter, Vec<Letter>)> {
    let place: Place = place.parse()?;
    let topic = place.partition.topic.as_ref();
    if !topics::ALL.contains(&topic) {
        return Err(Failure::new(Code::Usage, format!("there is no topic {topic}{}", meant(topic, topics::ALL))).into());
    }
    let rows: Vec<(String, String)> = sqlx::query_as(
        "SELECT consumer, key FROM dead_letters
          WHERE topic = $1 AND partition = $2 AND \"offset\" = $3 AND ($4::text IS NULL OR consumer = $4) ORDER BY consumer",
    )
    .bind(place.partition.topic.as_ref())
    .bind(place.partition.partition)
    .bind(place.offset)
    .bind(consumer)
    .fetch_all(&store.pool)
    .await
    .map_err(|error| store.away(&error))?;
    let missing = || {
        let place = format!("{}/{}/{}", place.partition.topic, place.partition.partition, place.offset);
        Failure::new(Code::Failed, format!("the {} has no dead letter {place}", store.role.title()))
    };
    let (consumer, key) = match rows.as_slice() {
        [] => return Err(missing().into()),
        [one] => one.clone(),
        several => {
            let names: Vec<&str> = several.iter().map(|(consumer, _)| consumer.as_str()).collect();
            let message = format!("several consumers have put it aside: choose --consumer {}", names.join(" or "));
            return Err(Failure::new(Code::Usage, message).into());
        }
    };
    let key = LetterKey { consumer, topic: place.partition.topic.to_string(), key };
    let letters = store.events().letters(&key, LETTERS_MAX).await.map_err(|error| store.away(&error))?;
    let is_it = |letter: &&Letter| letter.letter.partition == place.partition && letter.letter.offset == place.offset;
    let letter = letters.iter().find(is_it).cloned().ok_or_else(missing)?;
    Ok((key, letter, letters))
}

/// A letter as a line.
#[derive(Serialize)]
pub(super) struct Line {
    service: &'static str,
    consumer: String,
    letter: String,
    key: String,
    attempts: i32,
    edits: i32,
    followers: i64,
    state: &'static str,
    since: String,
    reason: String,
}

impl Line {
    pub(super) fn of(store: &Store, found: &Found) -> Self {
        Self {
            service: store.role.name(),
            consumer: found.consumer.clone(),
            letter: format!("{}/{}/{}", found.topic, found.partition, found.offset),
            key: found.key.clone(),
            attempts: found.attempts,
            edits: found.revision,
            followers: found.followers,
            state: match (found.is_retried, found.parked) {
                (true, _) => "to be retried",
                (false, true) => "waits",
                (false, false) => "dead",
            },
            since: time(found.created_at),
            reason: found.reason.clone(),
        }
    }
}

impl Row for Line {
    const COLUMNS: &'static [&'static str] =
        &["service", "consumer", "letter", "key", "attempts", "edits", "behind it", "state", "since", "reason"];
    const DISPENSABLE: &'static [usize] = &[5, 8, 1, 7];

    fn cells(&self) -> Vec<String> {
        vec![
            self.service.to_owned(),
            self.consumer.clone(),
            self.letter.clone(),
            self.key.clone(),
            self.attempts.to_string(),
            self.edits.to_string(),
            self.followers.to_string(),
            self.state.to_owned(),
            self.since.clone(),
            self.reason.clone(),
        ]
    }
}

/// `1 letter`, `3 letters`.
pub(super) fn letters(count: usize) -> String {
    plural(count, "letter", "letters")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_topic_partition_and_offset() {
        let place: Place = "payment_commands/2/17".parse().unwrap();
        assert_eq!(place, Place { partition: TopicPartition::new("payment_commands", 2), offset: 17 });
        for bad in ["", "17", "payment_commands/17", "payment_commands/x/17", "payment_commands/2/"] {
            assert_eq!(bad.parse::<Place>().unwrap_err().code, Code::Usage, "{bad}");
        }
    }
}
