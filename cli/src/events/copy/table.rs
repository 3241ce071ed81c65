//! A table on its way to another server.

use crate::progress::Progress;
use crate::restore::{EPOCHS, OLDEST};
use futures::TryStreamExt;
use sqlx::PgConnection;

pub(super) const EVENTS: &str = "events";
/// Rows that are sent at once.
const SEND_BYTES: usize = 256 << 10;

/// A table and those of its columns that are written.
pub(super) struct Table {
    pub(super) name: String,
    columns: Vec<String>,
    /// The column that numbers its rows by itself.
    identity: Option<String>,
}

impl Table {
    /// All that have rows of their own, those that others refer to first.
    pub(super) async fn all(connection: &mut PgConnection) -> sqlx::Result<Vec<Self>> {
        let rows: Vec<(String, Vec<String>, Option<String>)> = sqlx::query_as(
            "SELECT c.relname::text,
                    array_agg(a.attname::text ORDER BY a.attnum) FILTER (WHERE a.attgenerated = ''),
                    min(a.attname::text) FILTER (WHERE a.attidentity <> '')
               FROM pg_class c
               JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
              WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND NOT starts_with(c.relname, '_sqlx_')
              GROUP BY c.oid, c.relname
              ORDER BY (SELECT count(*) FROM pg_constraint f WHERE f.conrelid = c.oid AND f.contype = 'f'), c.relname",
        )
        .fetch_all(connection)
        .await?;
        Ok(rows.into_iter().map(|(name, columns, identity)| Self { name, columns, identity }).collect())
    }

    pub(super) async fn is_empty(&self, connection: &mut PgConnection) -> sqlx::Result<bool> {
        let query = format!("SELECT NOT EXISTS (SELECT FROM {})", quoted(&self.name));
        sqlx::query_scalar(&query).fetch_one(connection).await
    }

    pub(super) async fn count(&self, connection: &mut PgConnection) -> sqlx::Result<u64> {
        let query = format!("SELECT count(*) FROM {}", quoted(&self.name));
        let count: i64 = sqlx::query_scalar(&query).fetch_one(connection).await?;
        Ok(count.unsigned_abs())
    }

    /// Copies its rows; how many there were. They go by in pieces.
    pub(super) async fn copy(
        &self,
        source: &mut PgConnection,
        target: &mut PgConnection,
        progress: &Progress,
    ) -> anyhow::Result<u64> {
        let out = format!("COPY ({}) TO STDOUT (FORMAT binary)", self.select());
        let into = format!("COPY {} ({}) FROM STDIN (FORMAT binary)", quoted(&self.name), self.columns());
        let mut rows = source.copy_out_raw(&out).await?;
        let mut copy = target.copy_in_raw(&into).await?;
        let mut buffer = Vec::with_capacity(2 * SEND_BYTES);
        while let Some(row) = rows.try_next().await? {
            buffer.extend_from_slice(&row);
            if buffer.len() >= SEND_BYTES {
                copy.send(buffer.as_slice()).await?;
                buffer.clear();
            }
            progress.advance(1);
        }
        copy.send(buffer.as_slice()).await?;
        Ok(copy.finish().await?)
    }

    /// Its next row gets a number that none has.
    pub(super) async fn count_on(&self, target: &mut PgConnection) -> sqlx::Result<()> {
        let Some(column) = &self.identity else { return Ok(()) };
        let (table, column) = (quoted(&self.name), quoted(column));
        let query = format!(
            "SELECT setval(pg_get_serial_sequence('{table}', '{}'), greatest(max({column}), 1), count(*) > 0) FROM {table}",
            column.trim_matches('"')
        );
        sqlx::query(&query).execute(target).await.map(|_| ())
    }

    fn columns(&self) -> String {
        self.columns.iter().map(|column| quoted(column)).collect::<Vec<_>>().join(", ")
    }

    /// What is to stand there.
    fn select(&self) -> String {
        let (table, columns) = (quoted(&self.name), self.columns());
        let all = |change: &dyn Fn(&str) -> Option<String>| {
            let column = |name: &String| change(name).unwrap_or_else(|| quoted(name));
            self.columns.iter().map(column).collect::<Vec<_>>().join(", ")
        };
        match self.name.as_str() {
            EVENTS => {
                let columns = all(&|name| match name {
                    "position" => Some("row_number() OVER (ORDER BY transaction_id, position)".to_owned()),
                    "transaction_id" => Some(format!("'{OLDEST}'::xid8")),
                    _ => None,
                });
                format!("SELECT {columns} FROM {table} ORDER BY transaction_id, position")
            }
            // How many events they have passed.
            "checkpoints" => {
                let passed = "(SELECT count(*) FROM events e
                                WHERE (e.transaction_id, e.position) <= (c.transaction_id, c.position))";
                let columns = all(&|name| match name {
                    "position" => Some(passed.to_owned()),
                    "transaction_id" => Some(format!("(CASE WHEN {passed} > 0 THEN '{OLDEST}' ELSE '0' END)::xid8")),
                    _ => None,
                });
                format!("SELECT {columns} FROM {table} AS c")
            }
            // Whoever was at work may still be: a new lease's epoch is beyond all that it can hold.
            "consumer_offsets" => {
                let columns = all(&|name| match name {
                    "epoch" => Some(format!("epoch + {EPOCHS}")),
                    "owner" => Some("NULL::uuid".to_owned()),
                    "lease_until" => Some("NULL::timestamptz".to_owned()),
                    _ => None,
                });
                format!("SELECT {columns} FROM {table}")
            }
            "consumer_members" => format!("SELECT {columns} FROM {table} WHERE false"),
            _ => format!("SELECT {columns} FROM {table}"),
        }
    }
}

/// A name as an SQL identifier.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
