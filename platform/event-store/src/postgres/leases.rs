//! Partitions shared among the living instances of a consumer, by the database's clock.

use std::collections::HashMap;
use std::time::Duration;

use broker::TopicPartition;
use sqlx::postgres::types::PgInterval;
use sqlx::{PgPool, Postgres, Transaction};
use uuid::Uuid;

use super::translate;
use crate::{Error, Lease};

struct Held {
    partition: TopicPartition,
    epoch: i64,
    next_offset: i64,
    mine: bool,
    free: bool,
    /// Whose it is, when it is neither.
    others: Option<Uuid>,
}

/// How many partitions a member may hold. What cannot be divided evenly goes to as few as it must, and stays with those
/// who have it.
fn share(rows: &[Held], members: usize) -> usize {
    let (least, left_over) = (rows.len() / members.max(1), rows.len() % members.max(1));
    let mut held: HashMap<Uuid, usize> = HashMap::new();
    for other in rows.iter().filter_map(|row| row.others) {
        *held.entry(other).or_default() += 1;
    }
    least + usize::from(held.values().filter(|count| **count > least).count() < left_over)
}

pub(super) async fn claim(
    pool: &PgPool,
    consumer: &str,
    owner: Uuid,
    partitions: &[TopicPartition],
    ttl: Duration,
) -> Result<Vec<Lease>, Error> {
    let mut transaction = pool.begin().await.map_err(translate)?;
    let ttl = PgInterval { months: 0, days: 0, microseconds: i64::try_from(ttl.as_micros()).unwrap_or(i64::MAX) };
    let members = enrol(&mut transaction, consumer, owner, &ttl).await?;
    let rows = lock_rows(&mut transaction, consumer, owner, partitions).await?;
    let share = share(&rows, members);
    let (mut kept, mut given_up) = (Vec::new(), Vec::new());
    for row in rows.iter().filter(|row| row.mine) {
        if kept.len() < share { kept.push(row) } else { given_up.push(row) }
    }
    let taken: Vec<&Held> = rows.iter().filter(|row| row.free).take(share.saturating_sub(kept.len())).collect();

    write(&mut transaction, consumer, "SET owner = NULL, lease_until = NULL", &given_up, None).await?;
    let renew = "SET lease_until = clock_timestamp() + $4";
    write(&mut transaction, consumer, renew, &kept, Some((owner, &ttl))).await?;
    let take = "SET owner = $5, epoch = o.epoch + 1, lease_until = clock_timestamp() + $4";
    write(&mut transaction, consumer, take, &taken, Some((owner, &ttl))).await?;
    transaction.commit().await.map_err(translate)?;

    let lease = |row: &Held, epoch| Lease {
        consumer: consumer.to_owned(),
        partition: row.partition.clone(),
        epoch,
        next_offset: row.next_offset,
    };
    Ok(kept
        .into_iter()
        .map(|row| lease(row, row.epoch))
        .chain(taken.into_iter().map(|row| lease(row, row.epoch + 1)))
        .collect())
}

/// Counts the living members, this one included.
async fn enrol(
    transaction: &mut Transaction<'_, Postgres>,
    consumer: &str,
    owner: Uuid,
    ttl: &PgInterval,
) -> Result<usize, Error> {
    sqlx::query(
        "INSERT INTO consumer_members (consumer, owner, seen_until) VALUES ($1, $2, clock_timestamp() + $3)
         ON CONFLICT (consumer, owner) DO UPDATE SET seen_until = EXCLUDED.seen_until",
    )
    .bind(consumer)
    .bind(owner)
    .bind(ttl)
    .execute(&mut **transaction)
    .await
    .map_err(translate)?;
    sqlx::query("DELETE FROM consumer_members WHERE consumer = $1 AND seen_until < clock_timestamp()")
        .bind(consumer)
        .execute(&mut **transaction)
        .await
        .map_err(translate)?;
    let members: i64 = sqlx::query_scalar("SELECT count(*) FROM consumer_members WHERE consumer = $1")
        .bind(consumer)
        .fetch_one(&mut **transaction)
        .await
        .map_err(translate)?;
    Ok(usize::try_from(members).unwrap_or(1))
}

/// The consumer's rows, made where they are missing, locked in one order by every claimer.
async fn lock_rows(
    transaction: &mut Transaction<'_, Postgres>,
    consumer: &str,
    owner: Uuid,
    partitions: &[TopicPartition],
) -> Result<Vec<Held>, Error> {
    let topics: Vec<&str> = partitions.iter().map(|p| p.topic.as_ref()).collect();
    let numbers: Vec<i32> = partitions.iter().map(|p| p.partition).collect();
    sqlx::query(
        "INSERT INTO consumer_offsets (consumer, topic, partition)
         SELECT $1, w.topic, w.partition FROM UNNEST($2::text[], $3::int[]) AS w(topic, partition)
          WHERE NOT EXISTS (SELECT FROM consumer_offsets o
                             WHERE o.consumer = $1 AND o.topic = w.topic AND o.partition = w.partition)
         ON CONFLICT DO NOTHING",
    )
    .bind(consumer)
    .bind(&topics)
    .bind(&numbers)
    .execute(&mut **transaction)
    .await
    .map_err(translate)?;
    type Row = (String, i32, i64, i64, bool, bool, Option<Uuid>);
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT o.topic, o.partition, o.epoch, o.next_offset,
                COALESCE(o.owner = $2 AND o.lease_until >= clock_timestamp(), false),
                o.owner IS NULL OR o.lease_until IS NULL OR o.lease_until < clock_timestamp(), o.owner
           FROM consumer_offsets o
           JOIN UNNEST($3::text[], $4::int[]) AS w(topic, partition) ON o.topic = w.topic AND o.partition = w.partition
          WHERE o.consumer = $1
          ORDER BY o.topic, o.partition
            FOR UPDATE OF o",
    )
    .bind(consumer)
    .bind(owner)
    .bind(&topics)
    .bind(&numbers)
    .fetch_all(&mut **transaction)
    .await
    .map_err(translate)?;
    Ok(rows
        .into_iter()
        .map(|(topic, partition, epoch, next_offset, mine, free, owner)| Held {
            partition: TopicPartition::new(topic, partition),
            epoch,
            next_offset,
            mine,
            free,
            others: owner.filter(|_| !mine && !free),
        })
        .collect())
}

async fn write(
    transaction: &mut Transaction<'_, Postgres>,
    consumer: &str,
    change: &str,
    rows: &[&Held],
    lease: Option<(Uuid, &PgInterval)>,
) -> Result<(), Error> {
    if rows.is_empty() {
        return Ok(());
    }
    let sql = format!(
        "UPDATE consumer_offsets o {change}
           FROM UNNEST($2::text[], $3::int[]) AS w(topic, partition)
          WHERE o.consumer = $1 AND o.topic = w.topic AND o.partition = w.partition"
    );
    let topics: Vec<&str> = rows.iter().map(|row| row.partition.topic.as_ref()).collect();
    let numbers: Vec<i32> = rows.iter().map(|row| row.partition.partition).collect();
    let mut query = sqlx::query(&sql).bind(consumer).bind(topics).bind(numbers);
    if let Some((owner, ttl)) = lease {
        query = query.bind(ttl);
        if change.contains("$5") {
            query = query.bind(owner);
        }
    }
    query.execute(&mut **transaction).await.map_err(translate)?;
    Ok(())
}

pub(super) async fn release(pool: &PgPool, consumer: &str, owner: Uuid) -> Result<(), Error> {
    sqlx::query("UPDATE consumer_offsets SET owner = NULL, lease_until = NULL WHERE consumer = $1 AND owner = $2")
        .bind(consumer)
        .bind(owner)
        .execute(pool)
        .await
        .map_err(translate)?;
    sqlx::query("DELETE FROM consumer_members WHERE consumer = $1 AND owner = $2")
        .bind(consumer)
        .bind(owner)
        .execute(pool)
        .await
        .map_err(translate)?;
    Ok(())
}
