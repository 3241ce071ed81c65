//! What operators do to what stands beside the events: parts of the unit of work's one statement, and what they are
//! decided on.

use std::collections::BTreeMap;

use broker::{Record, TopicPartition};
use sqlx::PgPool;

use super::unit_of_work::{Added, Statement};
use super::{printable, translate};
use crate::{DeadLetter, Error, Letter, LetterId, LetterKey, Mend};

/// Adds the changes; each tells the statement how many rows it must change.
pub(super) fn add(statement: &mut Statement, mends: &[Mend]) -> Added {
    let ids = |pick: fn(&Mend) -> Option<&LetterId>| mends.iter().filter_map(pick).cloned().collect::<Vec<_>>();
    let removed = ids(|mend| if let Mend::Remove(id) = mend { Some(id) } else { None });
    if !removed.is_empty() {
        let letters = bind_ids(statement, &removed)?;
        let sql = format!("DELETE FROM dead_letters d USING {letters} WHERE {IS_IT} RETURNING 1");
        statement.changing("removed", &sql, removed.len())?;
    }
    keep(statement, mends)?;
    edit(statement, mends)?;
    let keys = |pick: fn(&Mend) -> Option<&LetterKey>| mends.iter().filter_map(pick).collect::<Vec<_>>();
    let wanted = keys(|mend| if let Mend::Retry(key) = mend { Some(key) } else { None });
    if !wanted.is_empty() {
        let keys = bind_keys(statement, &wanted)?;
        let sql = format!(
            "INSERT INTO dead_letter_retries (consumer, topic, key) SELECT k.consumer, k.topic, k.key FROM {keys}
             ON CONFLICT DO NOTHING"
        );
        statement.part("retry_wanted", &sql);
    }
    let done = keys(|mend| if let Mend::Retried(key) = mend { Some(key) } else { None });
    if !done.is_empty() {
        let keys = bind_keys(statement, &done)?;
        let sql = format!(
            "DELETE FROM dead_letter_retries r USING {keys} WHERE r.consumer = k.consumer AND r.topic = k.topic AND r.key = k.key"
        );
        statement.part("retried", &sql);
    }
    move_offsets(statement, mends)?;
    move_checkpoints(statement, mends)
}

/// The letter that is meant, as it was seen.
const IS_IT: &str =
    "d.consumer = w.consumer AND d.topic = w.topic AND d.partition = w.partition AND d.\"offset\" = w.at
    AND d.revision = w.revision";

fn bind_ids(statement: &mut Statement, ids: &[LetterId]) -> Result<String, sqlx::error::BoxDynError> {
    let columns = bind_id_columns(statement, ids)?;
    Ok(format!("UNNEST({columns}) AS w(consumer, topic, partition, at, revision)"))
}

fn bind_id_columns(statement: &mut Statement, ids: &[LetterId]) -> Result<String, sqlx::error::BoxDynError> {
    let consumers = statement.bind(ids.iter().map(|id| id.consumer.clone()).collect::<Vec<_>>())?;
    let topics = statement.bind(ids.iter().map(|id| id.partition.topic.to_string()).collect::<Vec<_>>())?;
    let partitions = statement.bind(ids.iter().map(|id| id.partition.partition).collect::<Vec<_>>())?;
    let offsets = statement.bind(ids.iter().map(|id| id.offset).collect::<Vec<_>>())?;
    let revisions = statement.bind(ids.iter().map(|id| id.revision).collect::<Vec<_>>())?;
    Ok(format!("{consumers}::text[], {topics}::text[], {partitions}::int[], {offsets}::bigint[], {revisions}::int[]"))
}

fn bind_keys(statement: &mut Statement, keys: &[&LetterKey]) -> Result<String, sqlx::error::BoxDynError> {
    let consumers = statement.bind(keys.iter().map(|key| key.consumer.clone()).collect::<Vec<_>>())?;
    let topics = statement.bind(keys.iter().map(|key| key.topic.clone()).collect::<Vec<_>>())?;
    let keys = statement.bind(keys.iter().map(|key| printable(&key.key)).collect::<Vec<_>>())?;
    Ok(format!("UNNEST({consumers}::text[], {topics}::text[], {keys}::text[]) AS k(consumer, topic, key)"))
}

fn keep(statement: &mut Statement, mends: &[Mend]) -> Added {
    let (mut ids, mut reasons, mut waiting) = (Vec::new(), Vec::new(), Vec::new());
    for mend in mends {
        if let Mend::Keep { id, reason, parked } = mend {
            ids.push(id.clone());
            reasons.push(printable(reason));
            waiting.push(*parked);
        }
    }
    if ids.is_empty() {
        return Ok(());
    }
    let columns = bind_id_columns(statement, &ids)?;
    let (reasons, waiting) = (statement.bind(reasons)?, statement.bind(waiting)?);
    let sql = format!(
        "UPDATE dead_letters d SET reason = w.reason, parked = w.parked, attempts = d.attempts + (NOT w.parked)::int
           FROM UNNEST({columns}, {reasons}::text[], {waiting}::boolean[])
                AS w(consumer, topic, partition, at, revision, reason, parked)
          WHERE {IS_IT} RETURNING 1"
    );
    statement.changing("kept", &sql, ids.len())
}

fn edit(statement: &mut Statement, mends: &[Mend]) -> Added {
    let (mut ids, mut values) = (Vec::new(), Vec::new());
    for mend in mends {
        if let Mend::Edit { id, value } = mend {
            ids.push(id.clone());
            values.push(value.clone());
        }
    }
    if ids.is_empty() {
        return Ok(());
    }
    let columns = bind_id_columns(statement, &ids)?;
    let values = statement.bind(values)?;
    let sql = format!(
        "UPDATE dead_letters d SET value = w.value, revision = d.revision + 1
           FROM UNNEST({columns}, {values}::bytea[]) AS w(consumer, topic, partition, at, revision, value)
          WHERE {IS_IT} RETURNING 1"
    );
    statement.changing("edited", &sql, ids.len())
}

fn move_offsets(statement: &mut Statement, mends: &[Mend]) -> Added {
    let (mut consumers, mut topics, mut partitions, mut old, mut new) = (vec![], vec![], vec![], vec![], vec![]);
    for mend in mends {
        if let Mend::MoveOffset { consumer, partition, from, to } = mend {
            consumers.push(consumer.clone());
            topics.push(partition.topic.to_string());
            partitions.push(partition.partition);
            old.push(*from);
            new.push(*to);
        }
    }
    let count = consumers.len();
    if count == 0 {
        return Ok(());
    }
    let (consumers, topics) = (statement.bind(consumers)?, statement.bind(topics)?);
    let (partitions, old, new) = (statement.bind(partitions)?, statement.bind(old)?, statement.bind(new)?);
    let sql = format!(
        "UPDATE consumer_offsets o SET next_offset = w.new, epoch = o.epoch + 1
           FROM UNNEST({consumers}::text[], {topics}::text[], {partitions}::int[], {old}::bigint[], {new}::bigint[])
                AS w(consumer, topic, partition, old, new)
          WHERE o.consumer = w.consumer AND o.topic = w.topic AND o.partition = w.partition AND o.next_offset = w.old
            AND {IS_FREE} RETURNING 1"
    );
    statement.changing("offsets_set", &sql, count)
}

/// Nobody holds the place.
const IS_FREE: &str = "(o.owner IS NULL OR o.lease_until IS NULL OR o.lease_until < clock_timestamp())";

/// The place's epoch is raised too: whoever claims it meanwhile waits for this, or makes it fail.
fn move_checkpoints(statement: &mut Statement, mends: &[Mend]) -> Added {
    for mend in mends {
        let Mend::MoveCheckpoint { follower, from, to } = mend else { continue };
        let n = statement.parts_count();
        let name = statement.bind(follower.clone())?;
        let free = format!("free_{n}");
        let sql = format!(
            "UPDATE consumer_offsets o SET epoch = o.epoch + 1 WHERE o.consumer = {name} AND {IS_FREE} RETURNING 1"
        );
        statement.part(&free, &sql);
        let [from, to] = [from, to].map(|at| (at.transaction_id.to_string(), at.position));
        let (from_id, from_position) = (statement.bind(from.0)?, statement.bind(from.1)?);
        let (to_id, to_position) = (statement.bind(to.0)?, statement.bind(to.1)?);
        let sql = format!(
            "UPDATE checkpoints c SET transaction_id = {to_id}::text::xid8, position = {to_position}::bigint, updated_at = clock_timestamp()
              WHERE c.follower = {name} AND (c.transaction_id, c.position) = ({from_id}::text::xid8, {from_position}::bigint)
                AND EXISTS (SELECT FROM {free}) RETURNING 1"
        );
        statement.changing(&format!("rewound_{n}"), &sql, 1)?;
    }
    Ok(())
}

pub(super) async fn letters(pool: &PgPool, key: &LetterKey, limit: usize) -> Result<Vec<Letter>, Error> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT partition, \"offset\", key, headers::text, value, timestamp_ms, reason, parked, attempts, revision
           FROM dead_letters WHERE consumer = $1 AND topic = $2 AND key = $3
          ORDER BY partition, \"offset\" LIMIT $4",
    )
    .bind(&key.consumer)
    .bind(&key.topic)
    .bind(printable(&key.key))
    .bind(i64::try_from(limit).unwrap_or(i64::MAX))
    .fetch_all(pool)
    .await
    .map_err(translate)?;
    Ok(rows.into_iter().map(|row| letter(key, row)).collect())
}

/// A row of [`letters`].
type Row = (i32, i64, String, String, Vec<u8>, i64, String, bool, i32, i32);

fn letter(of: &LetterKey, row: Row) -> Letter {
    let (partition, offset, key, headers, value, timestamp_ms, reason, parked, attempts, revision) = row;
    let headers: BTreeMap<String, String> = serde_json::from_str(&headers).unwrap_or_default();
    let headers = headers.into_iter().map(|(name, value)| (name, value.into())).collect();
    let letter = DeadLetter {
        consumer: of.consumer.clone(),
        partition: TopicPartition::new(of.topic.clone(), partition),
        offset,
        record: Record { key, headers, value: value.into(), timestamp_ms },
        reason,
        parked,
    };
    Letter { letter, attempts, revision }
}

pub(super) async fn retries(pool: &PgPool, consumer: &str, limit: usize) -> Result<Vec<LetterKey>, Error> {
    let rows: Vec<(String, String)> = sqlx::query_as(
        "SELECT topic, key FROM dead_letter_retries WHERE consumer = $1 ORDER BY requested_at, topic, key LIMIT $2",
    )
    .bind(consumer)
    .bind(i64::try_from(limit).unwrap_or(i64::MAX))
    .fetch_all(pool)
    .await
    .map_err(translate)?;
    Ok(rows.into_iter().map(|(topic, key)| LetterKey { consumer: consumer.to_owned(), topic, key }).collect())
}
