//! The databases that are filled: each by one connection, in transactions of some megabytes.

use super::rows::{Batch, Place, Table, places};
use super::shop::{Shop, consumers};
use crate::ports::Role;
use crate::postgres::Server;
use crate::shop::{self, BROKER_DATABASE};
use anyhow::{Context, anyhow};
use broker::TopicPartition;
use cqrs_es::Aggregate;
use domain::stock::Stock;
use kernel::Decide;
use runtime::relay;
use sqlx::{Connection, PgConnection};
use std::collections::HashMap;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Rows that are sent at once.
const SEND_BYTES: usize = 256 << 10;

/// What one database gets in one transaction.
type Copies = Vec<(Table, Vec<u8>)>;

/// Writes to all databases at once; whoever is too fast for them waits.
pub(super) struct Writers {
    queues: HashMap<Option<Role>, mpsc::Sender<Copies>>,
    tasks: JoinSet<anyhow::Result<()>>,
}

impl Writers {
    /// Connects.
    ///
    /// # Errors
    /// A database is away.
    pub(super) async fn begin(server: &Server) -> anyhow::Result<Self> {
        let mut writers = Self { queues: HashMap::new(), tasks: JoinSet::new() };
        for place in Role::ALL.into_iter().map(Some).chain([None]) {
            let name = place.map_or(BROKER_DATABASE, Role::database);
            let connection = connect(server, name).await?;
            let (queue, copies) = mpsc::channel(1);
            writers.queues.insert(place, queue);
            writers.tasks.spawn(async move { write(connection, copies).await.context(name) });
        }
        Ok(writers)
    }

    /// Hands rows over, from a thread that may wait.
    ///
    /// # Errors
    /// A database has refused some; [`Writers::finish`] tells why.
    pub(super) fn hand_over(&self, rows: Vec<(Place, Vec<u8>)>) -> anyhow::Result<()> {
        let mut copies: HashMap<Option<Role>, Copies> = HashMap::new();
        for ((place, table), rows) in rows {
            copies.entry(place).or_default().push((table, rows));
        }
        for (place, copies) in copies {
            let queue = self.queues.get(&place).context("a database without a writer")?;
            queue.blocking_send(copies).map_err(|_| anyhow!("a database refuses rows"))?;
        }
        Ok(())
    }

    /// Waits until all of it is written.
    ///
    /// # Errors
    /// A database has refused something.
    pub(super) async fn finish(mut self) -> anyhow::Result<()> {
        self.queues.clear();
        while let Some(ended) = self.tasks.join_next().await {
            ended??;
        }
        Ok(())
    }
}

/// A connection for as long as it takes.
async fn connect(server: &Server, database: &str) -> anyhow::Result<PgConnection> {
    let options = server.options(database).application_name("sagashop-generate").options([
        ("statement_timeout", "0"),
        ("idle_in_transaction_session_timeout", "0"),
        // Only the last commit has to be there when this ends; it brings all before it along.
        ("synchronous_commit", "off"),
    ]);
    PgConnection::connect_with(&options).await.with_context(|| database.to_owned())
}

async fn write(mut connection: PgConnection, mut queue: mpsc::Receiver<Copies>) -> anyhow::Result<()> {
    while let Some(copies) = queue.recv().await {
        let mut transaction = connection.begin().await?;
        for (table, rows) in copies {
            let (name, columns) = table.columns();
            let statement = format!("COPY {name} ({}) FROM STDIN (FORMAT binary)", columns.join(", "));
            let mut copy = transaction.copy_in_raw(&statement).await?;
            for piece in rows.chunks(SEND_BYTES) {
                copy.send(piece).await?;
            }
            copy.finish().await?;
        }
        transaction.commit().await?;
    }
    sqlx::query("SET synchronous_commit = on").execute(&mut connection).await?;
    sqlx::query("ANALYZE").execute(&mut connection).await?;
    Ok(connection.close().await?)
}

/// Makes the topics and tells the numbers of their partitions in the log.
///
/// # Errors
/// The database is away, or has topics with another number of partitions.
pub(super) async fn topics(server: &Server, partitions: u16) -> anyhow::Result<HashMap<TopicPartition, i32>> {
    let log = shop::topic_log(server, false).await?;
    let topics: Vec<(String, i32)> =
        event_schemas::topics::ALL.iter().map(|topic| ((*topic).to_owned(), i32::from(partitions))).collect();
    log.ensure_topics(&topics).await?;
    let mut connection = connect(server, BROKER_DATABASE).await?;
    let rows: Vec<(String, i32, i32)> =
        sqlx::query_as("SELECT topic, partition, id FROM topic_partitions").fetch_all(&mut connection).await?;
    connection.close().await?;
    Ok(rows.into_iter().map(|(topic, partition, id)| (TopicPartition::new(topic, partition), id)).collect())
}

/// The first database that holds something, if one does.
///
/// # Errors
/// A database is away.
pub(super) async fn not_empty(server: &Server) -> anyhow::Result<Option<&'static str>> {
    let stores = Role::ALL.into_iter().map(|role| (role.database(), "events"));
    for (database, table) in stores.chain([(BROKER_DATABASE, "topic_records")]) {
        let mut connection = connect(server, database).await?;
        let query = format!("SELECT EXISTS (SELECT FROM {table})");
        let has_any: bool = sqlx::query_scalar(&query).fetch_one(&mut connection).await?;
        connection.close().await?;
        if has_any {
            return Ok(Some(database));
        }
    }
    Ok(None)
}

/// Says where everybody stands: at the end. What is done and over is nobody's business again.
///
/// # Errors
/// A database is away.
pub(super) async fn close(server: &Server, shop: Shop, partitions: u16) -> anyhow::Result<(u64, u64)> {
    let Shop { batch, stocks, .. } = shop;
    let (events, records, ends) = Batch::ends(batch);
    let mut log = connect(server, BROKER_DATABASE).await?;
    for (place, end) in &ends {
        sqlx::query("UPDATE topic_partitions SET next_offset = $3 WHERE topic = $1 AND partition = $2")
            .bind(&*place.topic)
            .bind(place.partition)
            .bind(end)
            .execute(&mut log)
            .await?;
    }
    log.close().await?;
    for role in Role::ALL {
        let mut connection = connect(server, role.database()).await?;
        for (_, follows) in consumers().filter(|(of, _)| *of == role) {
            for place in places(partitions).filter(|place| follows.topics.contains(&&*place.topic)) {
                sqlx::query(
                    "INSERT INTO consumer_offsets (consumer, topic, partition, epoch, next_offset)
                     VALUES ($1, $2, $3, 1, $4)
                     ON CONFLICT (consumer, topic, partition) DO UPDATE SET epoch = 1, next_offset = EXCLUDED.next_offset",
                )
                .bind(follows.consumer)
                .bind(&*place.topic)
                .bind(place.partition)
                .bind(ends.get(&place).copied().unwrap_or(0))
                .execute(&mut connection)
                .await?;
            }
        }
        if role != Role::Notification {
            published(&mut connection).await?;
        }
        if role == Role::Product {
            for (id, stock, sequence) in stocks.all().filter(|(_, _, sequence)| *sequence >= Stock::SNAPSHOT_EVERY) {
                sqlx::query(
                    "INSERT INTO snapshots (aggregate_type, aggregate_id, last_sequence, payload)
                     VALUES ($1, $2, $3, $4::text::json)",
                )
                .bind(Stock::TYPE)
                .bind(id)
                .bind(i64::try_from(sequence)?)
                .bind(serde_json::to_string(stock)?)
                .execute(&mut connection)
                .await?;
            }
        }
        connection.close().await?;
    }
    Ok((events, records))
}

/// The relay has passed all events.
///
/// # Errors
/// The database refuses.
pub(in crate::bench) async fn published(connection: &mut PgConnection) -> anyhow::Result<()> {
    sqlx::query(
        "INSERT INTO checkpoints (follower, transaction_id, position)
         SELECT $1, transaction_id, position FROM events ORDER BY transaction_id DESC, position DESC LIMIT 1
         ON CONFLICT (follower) DO UPDATE
            SET transaction_id = EXCLUDED.transaction_id, position = EXCLUDED.position, updated_at = clock_timestamp()",
    )
    .bind(relay::FOLLOWER)
    .execute(connection)
    .await?;
    Ok(())
}
