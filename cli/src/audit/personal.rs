//! Nothing personal is readable in any store: no column of any table, and no record of any topic, holds a text that looks
//! like an e-mail address. (Names and addresses cannot be told from other texts; they are sealed together with it, and
//! [`super::subjects::Users`] sees to it that they are.)

use super::report::Tally;
use super::snapshot::{Snapshot, connect};
use crate::ports::Role;
use crate::postgres::Server;
use crate::shop::{BROKER_DATABASE, databases};
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

/// As PostgreSQL's expressions have it.
const ADDRESS: &str = r"[[:alnum:]._%+-]+@[[:alnum:]-]+(\.[[:alnum:]-]+)*\.[[:alpha:]]{2,}";

/// Whose data has a key.
pub(super) async fn with_key(snapshot: &mut Snapshot) -> anyhow::Result<Vec<Uuid>> {
    Ok(sqlx::query_scalar("SELECT user_id FROM person_keys").fetch_all(snapshot.connection()).await?)
}

/// Looks through all databases of the shop, the topic log among them, where there is one.
pub(super) async fn search(server: &Server) -> Tally {
    let mut tally = Tally::default();
    let topics = has_database(server, BROKER_DATABASE).await.then_some(BROKER_DATABASE);
    for database in databases().map(|(_, database)| database).chain(topics) {
        if let Err(error) = search_database(server, database, &mut tally).await {
            tally.could_not(format!("{database}: {error:#}"));
        }
    }
    tally
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

async fn search_database(server: &Server, database: &str, tally: &mut Tally) -> anyhow::Result<()> {
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
        let (rows, found) = search_table(&mut connection, &table, &columns).await?;
        tally.checked(u64::try_from(rows)?);
        let found = u64::try_from(found)?;
        tally.violated_by(
            found,
            (found > 0).then(|| format!("{database}: {found} rows of {table} hold an e-mail address")),
        );
    }
    let _ = connection.close().await;
    Ok(())
}

/// How many rows there are, and how many of them hold an address.
async fn search_table(connection: &mut PgConnection, table: &str, columns: &str) -> anyhow::Result<(i64, i64)> {
    // The sign alone is found fast; few rows have it.
    let query = format!(
        "SELECT count(*), count(*) FILTER (WHERE text LIKE '%@%' AND text ~ $1)
           FROM (SELECT concat_ws(' ', {columns}) AS text FROM {table}) AS rows"
    );
    Ok(sqlx::query_as(&query).bind(ADDRESS).fetch_one(connection).await?)
}
