//! Nothing personal is readable in any store: no column of any table, and no record of any topic, holds a text that looks
//! like an e-mail address. (Names and addresses cannot be told from other texts; they are sealed together with it, and
//! [`super::subjects::Users`] sees to it that they are.)

use super::report::Tally;
use super::snapshot::{Snapshot, connect};
use super::stores::Store;
use crate::ports::Role;
use crate::postgres::Server;
use crate::shop::{BROKER_DATABASE, databases};
use chrono::{DateTime, Utc};
use domain::user::Sealed;
use event_store::Cursor;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use sqlx::{Connection, PgConnection};
use std::sync::Arc;
use uuid::Uuid;

/// Clocks of those who publish differ by less.
const CLOCKS_MAX_MS: i64 = 60_000;

/// As PostgreSQL's expressions have it.
const ADDRESS: &str = r"[[:alnum:]._%+-]+@[[:alnum:]-]+(\.[[:alnum:]-]+)*\.[[:alpha:]]{2,}";

/// Whether bytes that lie outside of any database hold what [`ADDRESS`] matches.
pub(super) fn holds_address(bytes: &[u8]) -> bool {
    let signs = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'@').map(|(at, _)| at);
    signs.into_iter().any(|at| is_address(&bytes[..at], &bytes[at + 1..]))
}

/// Whether these stand on both sides of the sign of an address.
fn is_address(before: &[u8], after: &[u8]) -> bool {
    let in_mailbox = |byte: &u8| byte.is_ascii_alphanumeric() || b"._%+-".contains(byte);
    if !before.last().is_some_and(in_mailbox) {
        return false;
    }
    let host = after.iter().position(|byte| !(byte.is_ascii_alphanumeric() || b"-.".contains(byte)));
    let mut labels = after[..host.unwrap_or(after.len())].split(|byte| *byte == b'.');
    // The first label, and any later one that begins as a top-level domain does.
    labels.next().is_some_and(|label| !label.is_empty())
        && labels
            .take_while(|label| !label.is_empty())
            .any(|label| label.len() >= 2 && label[..2].iter().all(u8::is_ascii_alphabetic))
}

/// Whose data has a key.
pub(super) async fn with_key(snapshot: &mut Snapshot) -> anyhow::Result<Vec<Uuid>> {
    Ok(sqlx::query_scalar("SELECT user_id FROM person_keys").fetch_all(snapshot.connection()).await?)
}

/// Looks through all databases of the shop, the topic log among them, where there is one. Of what only grows, only what
/// came after a store's mark is looked through where `since` is given: when the first of it was recorded.
pub(super) async fn search(server: &Server, stores: &[Arc<Store>], since: Option<Option<DateTime<Utc>>>) -> Tally {
    let topics = has_database(server, BROKER_DATABASE).await.then_some(BROKER_DATABASE);
    let searches: FuturesUnordered<_> = databases()
        .map(|(role, database)| (Some(role), database))
        .chain(topics.map(|database| (None, database)))
        .map(async |(role, database)| {
            let mut tally = Tally::default();
            let store = stores.iter().find(|store| Some(store.moment.role) == role);
            let narrowed = since.map(|at| Narrowed { events: store.map(|store| store.since), at });
            if let Err(error) = search_database(server, database, narrowed, &mut tally).await {
                tally.could_not(format!("{database}: {error:#}"));
            }
            tally
        })
        .collect();
    searches
        .fold(Tally::default(), async |mut all, tally| {
            all.merge(tally);
            all
        })
        .await
}

/// What is looked through of tables that only grow.
#[derive(Clone, Copy)]
struct Narrowed {
    events: Option<Cursor>,
    at: Option<DateTime<Utc>>,
}

impl Narrowed {
    /// The condition for a table's rows, of numbers alone.
    fn condition(self, table: &str) -> String {
        match (table, self.events) {
            ("public.events", Some(Cursor { transaction_id, position })) => {
                format!("WHERE (transaction_id, position) > ('{transaction_id}'::xid8, {position})")
            }
            ("public.topic_records", _) => {
                let since = self.at.map_or(i64::MAX, |at| at.timestamp_millis().saturating_sub(CLOCKS_MAX_MS));
                format!("WHERE timestamp_ms >= {since}")
            }
            _ => String::new(),
        }
    }
}

/// Where Kafka keeps the topics there is no log.
async fn has_database(server: &Server, name: &str) -> bool {
    let Ok(mut connection) = connect(server, Role::User.database()).await else { return false };
    let found: Result<Option<i32>, _> = sqlx::query_scalar("SELECT 1 FROM pg_database WHERE datname = $1")
        .bind(name)
        .fetch_optional(&mut connection)
        .await;
    let _ = connection.close().await;
    found.is_ok_and(|found| found.is_some())
}

async fn search_database(
    server: &Server,
    database: &str,
    narrowed: Option<Narrowed>,
    tally: &mut Tally,
) -> anyhow::Result<()> {
    let mut connection = connect(server, database).await?;
    // A table's columns as one text; bytes as far as they are ASCII. Partitions are seen in their tables.
    let tables: Vec<(String, String)> = sqlx::query_as(
        "SELECT format('%I.%I', c.table_schema, c.table_name),
                string_agg(CASE c.data_type WHEN 'bytea' THEN format('encode(%I, ''escape'')', c.column_name)
                                            ELSE format('%I::text', c.column_name) END, ', ' ORDER BY c.ordinal_position)
           FROM information_schema.columns c
           JOIN information_schema.tables t USING (table_schema, table_name)
          WHERE t.table_type = 'BASE TABLE' AND c.table_schema NOT IN ('pg_catalog', 'information_schema')
            AND c.data_type IN ('text', 'character varying', 'json', 'jsonb', 'bytea', 'ARRAY')
          GROUP BY 1 ORDER BY 1",
    )
    .fetch_all(&mut connection)
    .await?;
    for (table, columns) in tables {
        let condition = narrowed.map(|narrowed| narrowed.condition(&table)).unwrap_or_default();
        let (rows, found) = search_table(&mut connection, &table, &columns, &condition).await?;
        tally.checked(u64::try_from(rows)?);
        let found = u64::try_from(found)?;
        tally.violated_by(
            found,
            (found > 0).then(|| format!("{database}: {found} rows of {table} hold an e-mail address")),
        );
    }
    if database == Role::User.database() {
        search_answers(&mut connection, tally).await?;
    }
    let _ = connection.close().await;
    Ok(())
}

/// What the user service keeps under idempotency keys tells of persons: it is ciphertext, or nothing.
async fn search_answers(connection: &mut PgConnection, tally: &mut Tally) -> anyhow::Result<()> {
    let bodies: Vec<Vec<u8>> =
        sqlx::query_scalar("SELECT body FROM idempotency_keys WHERE length(body) > 0").fetch_all(connection).await?;
    tally.checked(bodies.len() as u64);
    for body in bodies {
        if !std::str::from_utf8(&body).is_ok_and(Sealed::is_ciphertext) {
            tally.violated(|| "an answer under an idempotency key of userdb is not sealed".to_owned());
        }
    }
    Ok(())
}

/// How many rows there are, and how many of them hold an address.
async fn search_table(
    connection: &mut PgConnection,
    table: &str,
    columns: &str,
    condition: &str,
) -> anyhow::Result<(i64, i64)> {
    // The sign alone is found fast; few rows have it.
    let query = format!(
        "SELECT count(*), count(*) FILTER (WHERE text LIKE '%@%' AND text ~ $1)
           FROM (SELECT concat_ws(' ', {columns}) AS text FROM {table} {condition}) AS rows"
    );
    Ok(sqlx::query_as(&query).bind(ADDRESS).fetch_one(connection).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_found_in_bytes() {
        for text in ["ada@example.com", "{\"to\":\"Ada.L+x@mail.example.co.uk\"}", "\u{0}a@b.de\u{0}", "x@y@z.org"] {
            assert!(holds_address(text.as_bytes()), "{text}");
        }
        for text in ["", "@", "a@", "@example.com", "a@b", "a@b.", "a@b.1", "a@.com", "a @ b.com", "a@b..com", "5@3.2x"]
        {
            assert!(!holds_address(text.as_bytes()), "{text}");
        }
        assert!(!holds_address(&[0xff, b'@', 0xff]));
    }
}
