//! How fast a server is today. Machines differ fivefold from hour to hour, so every benchmark measures this before
//! and after itself.

use crate::output::Row;
use crate::postgres::Server;
use anyhow::Context;
use futures::future::try_join_all;
use serde::Serialize;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, Executor, PgConnection};
use std::time::{Duration, Instant};

/// Concurrent connections in both parts.
const WRITERS: usize = 8;
/// Rows of one insert in the second part.
const BATCH_ROWS: usize = 100;
/// How long each part takes.
const PART: Duration = Duration::from_secs(3);
/// Created for the measurement and dropped after it. The name is always the same, so that the next run clears away
/// what a killed one left.
const DATABASE: &str = "sagashop_canary";
/// As large as a small event.
const PAYLOAD: &str = r#"{"OrderCreated":{"order_id":"0193f2a0-0000-7000-8000-000000000000","lines":[{"quantity":1,"unit_price":"9.99"}],"currency":"EUR"}}"#;

/// What the server can do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Canary {
    /// Transactions of one row, each on disk before the next, by 8 writers.
    pub commits_per_s: f64,
    /// Transactions of one `INSERT … SELECT … FROM UNNEST` of 100 rows, by 8 writers.
    pub batches_per_s: f64,
    /// The same in rows.
    pub batch_rows_per_s: f64,
    /// Whether `fsync` and `synchronous_commit` are on; without them the numbers above mean nothing.
    pub is_durable: bool,
}

impl Row for Canary {
    const COLUMNS: &'static [&'static str] =
        &["single-row commits/s (8 writers)", "100-row inserts/s (8 writers)", "rows/s in them", "durable"];

    fn cells(&self) -> Vec<String> {
        let whole = |number: f64| format!("{number:.0}");
        let durable = if self.is_durable { "yes" } else { "NO: fsync or synchronous_commit is off" };
        vec![whole(self.commits_per_s), whole(self.batches_per_s), whole(self.batch_rows_per_s), durable.to_owned()]
    }
}

/// Measures a server, in a database of its own that is dropped afterwards. Takes a little over six seconds.
///
/// # Errors
/// Those of the server; also when another canary runs on it.
pub async fn measure(server: &Server) -> anyhow::Result<Canary> {
    measure_for(server, PART).await
}

async fn measure_for(server: &Server, part: Duration) -> anyhow::Result<Canary> {
    server.drop_database(DATABASE).await.context("clearing away an earlier canary (does another one run?)")?;
    server.ensure_database(DATABASE).await?;
    let measured = run(&server.options(DATABASE), part).await.context("measuring the canary");
    let dropped = server.drop_database(DATABASE).await;
    let measured = measured?;
    dropped?;
    Ok(measured)
}

async fn run(options: &PgConnectOptions, part: Duration) -> anyhow::Result<Canary> {
    let mut connection = PgConnection::connect_with(options).await?;
    connection
        .execute("CREATE TABLE canary (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, payload text NOT NULL)")
        .await?;
    let is_durable = "SELECT current_setting('fsync') = 'on' AND current_setting('synchronous_commit') <> 'off'";
    let is_durable = sqlx::query_scalar(is_durable).fetch_one(&mut connection).await?;
    connection.close().await?;
    let commits_per_s = per_second(options, part, 1).await?;
    let batches_per_s = per_second(options, part, BATCH_ROWS).await?;
    Ok(Canary { commits_per_s, batches_per_s, batch_rows_per_s: batches_per_s * BATCH_ROWS as f64, is_durable })
}

/// Inserts of so many rows that all writers together complete in a second.
async fn per_second(options: &PgConnectOptions, part: Duration, rows: usize) -> anyhow::Result<f64> {
    let connections = try_join_all((0..WRITERS).map(|_| PgConnection::connect_with(options))).await?;
    let began = Instant::now();
    let writers: Vec<_> =
        connections.into_iter().map(|connection| tokio::spawn(write(connection, began + part, rows))).collect();
    let mut completed = 0;
    for writer in writers {
        completed += writer.await??;
    }
    Ok(completed as f64 / began.elapsed().as_secs_f64())
}

async fn write(mut connection: PgConnection, until: Instant, rows: usize) -> anyhow::Result<u64> {
    let payloads = vec![PAYLOAD; rows];
    let mut completed = 0;
    while Instant::now() < until {
        let insert = if rows == 1 {
            sqlx::query("INSERT INTO canary (payload) VALUES ($1)").bind(PAYLOAD)
        } else {
            sqlx::query("INSERT INTO canary (payload) SELECT * FROM UNNEST($1::text[])").bind(&payloads)
        };
        insert.execute(&mut connection).await?;
        completed += 1;
    }
    connection.close().await?;
    Ok(completed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::Options;
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    #[tokio::test]
    async fn the_canary_measures_and_leaves_nothing_behind() {
        // Open to the user that a root process lends its cluster to.
        let everybody = Permissions::from_mode(0o755);
        let folder = tempfile::Builder::new().permissions(everybody).tempdir().expect("a folder");
        let server = Server::start(&Options::private(folder.path())).await.expect("a cluster");
        let canary = measure_for(&server, Duration::from_millis(200)).await.expect("measured");
        assert!(canary.is_durable);
        assert!(canary.commits_per_s > 0.0 && canary.batch_rows_per_s > canary.commits_per_s, "{canary:?}");
        let mut connection = PgConnection::connect_with(&server.options("postgres")).await.expect("connected");
        let left: i64 = sqlx::query_scalar("SELECT count(*) FROM pg_database WHERE datname = $1")
            .bind(DATABASE)
            .fetch_one(&mut connection)
            .await
            .expect("counted");
        assert_eq!(left, 0);
        drop(connection);
        server.stop().await.expect("stopped");
    }
}
