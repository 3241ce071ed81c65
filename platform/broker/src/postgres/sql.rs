//! The statements, and how a record's headers are stored.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use sqlx::postgres::PgRow;
use sqlx::{PgPool, Row};

use crate::{FetchLimits, Record, Stored, TopicPartition};

/// Everything in one statement, which is one round trip and one short transaction: the partitions'
/// rows are locked in one order for all publishers, their offsets advanced, the records written.
/// The locks are held until the commit, so offsets become visible in their order. A partition that
/// does not exist leaves a null in `partition_id`, which the table refuses, and all with it.
const PUBLISH: &str = r#"
WITH wanted AS (
    SELECT * FROM UNNEST($1::text[], $2::int4[], $3::int8[]) WITH ORDINALITY AS w(topic, partition, records, batch)
), locked AS (
    SELECT p.id, w.records, w.batch
    FROM topic_partitions p JOIN wanted w ON p.topic = w.topic AND p.partition = w.partition
    ORDER BY p.topic, p.partition
    FOR UPDATE OF p
), advanced AS (
    UPDATE topic_partitions p SET next_offset = p.next_offset + l.records
    FROM locked l WHERE p.id = l.id
    RETURNING l.batch, p.id, p.next_offset - l.records AS first
), written AS (
    INSERT INTO topic_records (partition_id, "offset", timestamp_ms, key, headers, value)
    SELECT a.id, a.first + r.index, r.timestamp_ms, r.key, r.headers, r.value
    FROM UNNEST($4::int8[], $5::int8[], $6::int8[], $7::bytea[], $8::bytea[], $9::bytea[])
        AS r(batch, index, timestamp_ms, key, headers, value)
    LEFT JOIN advanced a ON a.batch = r.batch
)
SELECT first FROM advanced ORDER BY batch
"#;

/// Offsets have no gaps, so a range of them bounds the page whatever plan is chosen. The bound in
/// bytes counts what is stored, which is a little more than `Record::bytes`.
const PAGE: &str = r#"
SELECT "offset", timestamp_ms, key, headers, value
FROM (
    SELECT *, sum(octet_length(key) + octet_length(headers) + octet_length(value)) OVER (ORDER BY "offset") AS bytes
    FROM (
        SELECT * FROM topic_records WHERE partition_id = $1 AND "offset" >= $2 AND "offset" < $2 + $3
    ) page
) summed
WHERE bytes <= $4 OR "offset" = $2
ORDER BY "offset"
"#;

const BOUNDS: &str = r#"
SELECT COALESCE((SELECT min(r."offset") FROM topic_records r WHERE r.partition_id = p.id), p.next_offset), p.next_offset
FROM topic_partitions p WHERE p.id = $1
"#;

/// The first offset of each partition's records, in the order of `batch`. Each partition comes
/// once.
pub(crate) async fn publish(pool: &PgPool, batch: &[(TopicPartition, Vec<Record>)]) -> Result<Vec<i64>, sqlx::Error> {
    let topics: Vec<&str> = batch.iter().map(|(to, _)| &*to.topic).collect();
    let partitions: Vec<i32> = batch.iter().map(|(to, _)| to.partition).collect();
    let counts: Vec<i64> = batch.iter().map(|(_, records)| count(records.len())).collect();
    let numbered = || {
        (1_i64..)
            .zip(batch)
            .flat_map(|(batch, (_, records))| (0_i64..).zip(records).map(move |(index, record)| (batch, index, record)))
    };
    let headers: Vec<Vec<u8>> = numbered().map(|(_, _, record)| encode(&record.headers)).collect();
    sqlx::query_scalar(PUBLISH)
        .bind(topics)
        .bind(partitions)
        .bind(counts)
        .bind(numbered().map(|(batch, _, _)| batch).collect::<Vec<_>>())
        .bind(numbered().map(|(_, index, _)| index).collect::<Vec<_>>())
        .bind(numbered().map(|(_, _, record)| record.timestamp_ms).collect::<Vec<_>>())
        .bind(numbered().map(|(_, _, record)| record.key.as_bytes()).collect::<Vec<_>>())
        .bind(headers)
        .bind(numbered().map(|(_, _, record)| &*record.value).collect::<Vec<_>>())
        .fetch_all(pool)
        .await
}

/// Records from `offset` on.
pub(crate) async fn page(
    pool: &PgPool,
    partition_id: i32,
    offset: i64,
    limits: &FetchLimits,
) -> Result<Vec<Stored>, sqlx::Error> {
    let rows = sqlx::query(PAGE)
        .bind(partition_id)
        .bind(offset)
        .bind(count(limits.records_max.max(1)))
        .bind(count(limits.bytes_max))
        .fetch_all(pool)
        .await?;
    rows.iter().map(stored).collect()
}

/// The first offset there is, and the next record's.
pub(crate) async fn bounds(pool: &PgPool, partition_id: i32) -> Result<(i64, i64), sqlx::Error> {
    sqlx::query_as(BOUNDS).bind(partition_id).fetch_one(pool).await
}

/// The number by which a partition's records are stored.
pub(crate) async fn partition_id(pool: &PgPool, of: &TopicPartition) -> Result<Option<i32>, sqlx::Error> {
    sqlx::query_scalar("SELECT id FROM topic_partitions WHERE topic = $1 AND partition = $2")
        .bind(&*of.topic)
        .bind(of.partition)
        .fetch_optional(pool)
        .await
}

/// Makes the topics that are missing, in one transaction, and returns how many partitions each has.
pub(crate) async fn ensure_topics(
    pool: &PgPool,
    topics: &BTreeMap<&str, i32>,
) -> Result<Vec<(String, i32)>, sqlx::Error> {
    let names: Vec<&str> = topics.keys().copied().collect();
    let counts: Vec<i32> = topics.values().copied().collect();
    let mut transaction = pool.begin().await?;
    sqlx::query("INSERT INTO topics SELECT * FROM UNNEST($1::text[], $2::int4[]) ON CONFLICT DO NOTHING")
        .bind(&names)
        .bind(&counts)
        .execute(&mut *transaction)
        .await?;
    sqlx::query(
        "INSERT INTO topic_partitions (topic, partition)
         SELECT t.name, n FROM topics t, generate_series(0, t.partitions - 1) n
         WHERE t.name = ANY($1) ORDER BY t.name, n ON CONFLICT DO NOTHING",
    )
    .bind(&names)
    .execute(&mut *transaction)
    .await?;
    let found = sqlx::query_as("SELECT name, partitions FROM topics WHERE name = ANY($1)")
        .bind(&names)
        .fetch_all(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(found)
}

fn count(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn stored(row: &PgRow) -> Result<Stored, sqlx::Error> {
    let bytes = |column: usize| row.try_get::<&[u8], _>(column);
    let headers = decode(bytes(3)?).ok_or_else(|| sqlx::Error::Decode("unreadable headers".into()))?;
    Ok(Stored {
        offset: row.try_get(0)?,
        record: Arc::new(Record {
            timestamp_ms: row.try_get(1)?,
            key: String::from_utf8(bytes(2)?.to_vec()).map_err(|error| sqlx::Error::Decode(error.into()))?,
            headers,
            value: Bytes::copy_from_slice(bytes(4)?),
        }),
    })
}

/// Each name and each value behind its length (u32, little-endian). Neither text nor JSON can hold
/// every header: values are any bytes, and names may contain U+0000.
pub(crate) fn encode(headers: &BTreeMap<String, Bytes>) -> Vec<u8> {
    let mut out = Vec::with_capacity(headers.iter().map(|(name, value)| name.len() + value.len() + 8).sum());
    for part in headers.iter().flat_map(|(name, value)| [name.as_bytes(), value]) {
        out.extend(u32::try_from(part.len()).unwrap_or(u32::MAX).to_le_bytes());
        out.extend(part);
    }
    out
}

fn decode(mut stored: &[u8]) -> Option<BTreeMap<String, Bytes>> {
    fn part<'a>(stored: &mut &'a [u8]) -> Option<&'a [u8]> {
        let (length, rest) = stored.split_first_chunk::<4>()?;
        let (part, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        *stored = rest;
        Some(part)
    }
    let mut headers = BTreeMap::new();
    while !stored.is_empty() {
        let name = String::from_utf8(part(&mut stored)?.to_vec()).ok()?;
        headers.insert(name, Bytes::copy_from_slice(part(&mut stored)?));
    }
    Some(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_come_back_as_they_were() {
        let headers = BTreeMap::from([
            (String::new(), Bytes::new()),
            ("ce_\0id".to_owned(), Bytes::from_static(b"\0\xff")),
            ("zoë".to_owned(), Bytes::from(vec![7; 70_000])),
        ]);
        assert_eq!(decode(&encode(&headers)), Some(headers.clone()));
        assert_eq!(decode(&encode(&BTreeMap::new())), Some(BTreeMap::new()));
        let cut = encode(&headers);
        assert_eq!(decode(&cut[..cut.len() - 1]), None);
    }
}
