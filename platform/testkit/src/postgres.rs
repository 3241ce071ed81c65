//! A database of its own for each test, on a real PostgreSQL.
//!
//! The server is the one of `DATABASE_URL` (an account that may create databases) or else a
//! private cluster under the target directory, started by the first test that asks and left
//! running for the next run.
//!
//! All test databases share one server, and a reader of the event table waits for the oldest
//! transaction of the whole server: a test that holds a transaction open delays the others, so
//! hold it briefly and give whatever waits a generous deadline.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::str::FromStr;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use sqlx::{Connection, Executor};
use uuid::Uuid;

use crate::cluster;

/// Left behind by a test that was killed: swept by a later run.
const DATABASE_AGE_MAX: Duration = Duration::from_secs(3600);
const DATABASE_PREFIX: &str = "testkit_db_";
const TEMPLATE_PREFIX: &str = "testkit_template_";

/// A database that is dropped with this value, unless the test panicked: then it is kept for an
/// hour to look into.
#[derive(Debug)]
pub struct TestDatabase {
    /// Connections to it; more can be made from `url`.
    pub pool: PgPool,
    /// Its URL, password included.
    pub url: String,
    /// Its name.
    pub name: String,
}

/// A fresh, empty database.
///
/// # Panics
/// When there is no PostgreSQL to be had; the message says what was tried.
pub async fn database() -> TestDatabase {
    create(None).await.expect("a test database")
}

/// A fresh database with these migrations applied, cloned from a template that is made once per
/// set of migrations.
///
/// # Panics
/// When there is no PostgreSQL to be had, or a migration fails.
pub async fn database_with(migrator: &Migrator) -> TestDatabase {
    create(Some(migrator)).await.expect("a test database")
}

/// The URL of the server's administrative database, for tests that start programs which make
/// their own databases. Name those databases by [`unique_name`], so that they are swept.
pub fn admin_url() -> String {
    server().to_owned()
}

/// A database name that no other test has, swept an hour from now if it is left behind.
pub fn unique_name() -> String {
    format!("{DATABASE_PREFIX}{}_{}", unix_seconds(), &Uuid::now_v7().simple().to_string()[16..])
}

/// `url` with its database replaced.
pub fn with_database(url: &str, name: &str) -> String {
    let (head, query) = url.split_once('?').map_or((url, None), |(head, query)| (head, Some(query)));
    let authority = head.find("://").map_or(0, |at| at + 3);
    let end = head[authority..].find('/').map_or(head.len(), |at| authority + at);
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    format!("{}/{name}{query}", &head[..end])
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the test's database is kept for an hour: {}", self.url);
            return;
        }
        let name = self.name.clone();
        // A thread and runtime of its own: the test's may be a paused or an ending one.
        let dropped = cluster::blocking(async move {
            let mut admin = admin().await?;
            drop_database(&mut admin, &name).await?;
            admin.close().await?;
            Ok(())
        });
        if let Err(error) = dropped {
            eprintln!("{} stays for the sweep: {error:#}", self.name);
        }
    }
}

async fn create(migrator: Option<&Migrator>) -> Result<TestDatabase> {
    let mut admin = admin().await?;
    let template = match migrator {
        Some(migrator) => template(&mut admin, migrator).await?,
        None => "template1".to_owned(),
    };
    let name = unique_name();
    admin.execute(format!(r#"CREATE DATABASE "{name}" TEMPLATE "{template}""#).as_str()).await?;
    admin.close().await?;

    let url = with_database(server(), &name);
    let pool = PgPoolOptions::new()
        .max_connections(20)
        .acquire_timeout(Duration::from_secs(30))
        .connect_lazy_with(PgConnectOptions::from_str(&url)?);
    Ok(TestDatabase { pool, url, name })
}

/// The name of the template with these migrations, made now if nobody has yet.
async fn template(admin: &mut PgConnection, migrator: &Migrator) -> Result<String> {
    let name = format!("{TEMPLATE_PREFIX}{:016x}", hash_of(migrator));
    if exists(admin, &name).await? {
        return Ok(name);
    }
    // Test binaries that start together make it once; the lock ends with the session at the latest.
    admin.execute("SELECT pg_advisory_lock(hashtext('testkit template'))").await?;
    let made = if exists(admin, &name).await? { Ok(()) } else { make_template(admin, &name, migrator).await };
    admin.execute("SELECT pg_advisory_unlock(hashtext('testkit template'))").await?;
    made.with_context(|| format!("cannot make the template database {name}"))?;
    Ok(name)
}

async fn make_template(admin: &mut PgConnection, name: &str, migrator: &Migrator) -> Result<()> {
    // Under its final name only when complete: whoever finds the name may clone at once.
    let draft = unique_name();
    admin.execute(format!(r#"CREATE DATABASE "{draft}" TEMPLATE template1"#).as_str()).await?;
    let mut connection = PgConnection::connect(&with_database(server(), &draft)).await?;
    migrator.run_direct(&mut connection).await?;
    connection.close().await?;
    // The server waits some seconds for our session there to be gone, then renames.
    admin.execute(format!(r#"ALTER DATABASE "{draft}" RENAME TO "{name}""#).as_str()).await?;
    admin.execute(format!(r#"ALTER DATABASE "{name}" ALLOW_CONNECTIONS false"#).as_str()).await?;
    Ok(())
}

fn hash_of(migrator: &Migrator) -> u64 {
    let mut hasher = DefaultHasher::new();
    for migration in migrator.iter() {
        (migration.version, &migration.checksum).hash(&mut hasher);
    }
    hasher.finish()
}

async fn exists(admin: &mut PgConnection, name: &str) -> Result<bool> {
    let found = sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)");
    Ok(found.bind(name).fetch_one(admin).await?)
}

async fn admin() -> Result<PgConnection> {
    PgConnection::connect(server()).await.context("cannot connect to the tests' PostgreSQL")
}

async fn drop_database(admin: &mut PgConnection, name: &str) -> Result<()> {
    if !exists(admin, name).await? {
        return Ok(());
    }
    // A service that still runs comes back as soon as it is cut off, and the drop would wait for it.
    admin.execute(format!(r#"ALTER DATABASE "{name}" ALLOW_CONNECTIONS false"#).as_str()).await?;
    admin.execute(format!(r#"DROP DATABASE IF EXISTS "{name}" WITH (FORCE)"#).as_str()).await?;
    Ok(())
}

/// The admin URL of this run's server, started and swept at the first call.
fn server() -> &'static str {
    static SERVER: OnceLock<String> = OnceLock::new();
    SERVER.get_or_init(|| {
        let given = std::env::var("DATABASE_URL").ok().filter(|url| !url.is_empty());
        let url = given.map_or_else(cluster::ensure, Ok).expect("a PostgreSQL for tests");
        let admin = url.clone();
        if let Err(error) = cluster::blocking(async move { sweep(&admin).await }) {
            eprintln!("old test databases could not be swept: {error:#}");
        }
        url
    })
}

/// Drops databases that earlier runs left behind.
async fn sweep(url: &str) -> Result<()> {
    let mut admin = PgConnection::connect(url).await?;
    let names: Vec<String> = sqlx::query_scalar("SELECT datname FROM pg_database WHERE starts_with(datname, $1)")
        .bind(DATABASE_PREFIX)
        .fetch_all(&mut admin)
        .await?;
    let oldest = unix_seconds().saturating_sub(DATABASE_AGE_MAX.as_secs());
    for name in names {
        let made = name[DATABASE_PREFIX.len()..].split('_').next().and_then(|text| text.parse::<u64>().ok());
        if made.is_some_and(|made| made < oldest) {
            drop_database(&mut admin, &name).await?;
        }
    }
    admin.close().await?;
    Ok(())
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use sqlx::migrate::{Migration, MigrationType};

    use super::*;

    fn migrator() -> Migrator {
        let migration = |version, sql: &'static str| {
            Migration::new(version, Cow::Borrowed("test"), MigrationType::Simple, Cow::Borrowed(sql), false)
        };
        Migrator {
            migrations: Cow::Owned(vec![
                migration(1, "CREATE TABLE apples (weight integer)"),
                migration(2, "INSERT INTO apples VALUES (7)"),
            ]),
            ..Migrator::DEFAULT
        }
    }

    #[test]
    fn the_database_of_a_url_is_replaced() {
        for (url, expected) in [
            ("postgres://a:b@host:1/x?y=z", "postgres://a:b@host:1/new?y=z"),
            ("postgres://host/x", "postgres://host/new"),
            ("postgres://host", "postgres://host/new"),
        ] {
            assert_eq!(with_database(url, "new"), expected);
        }
    }

    #[tokio::test]
    async fn databases_are_apart_and_dropped() {
        let migrator = migrator();
        let (one, two) = tokio::join!(database_with(&migrator), database_with(&migrator));
        sqlx::query("INSERT INTO apples VALUES (8)").execute(&one.pool).await.unwrap();
        let weights = |pool: PgPool| async move {
            let query = sqlx::query_scalar::<_, i32>("SELECT weight FROM apples ORDER BY weight");
            query.fetch_all(&pool).await.unwrap()
        };
        assert_eq!(weights(one.pool.clone()).await, [7, 8]);
        assert_eq!(weights(two.pool.clone()).await, [7]);

        let name = one.name.clone();
        drop(one);
        let mut admin = admin().await.unwrap();
        assert!(!exists(&mut admin, &name).await.unwrap());
    }

    #[tokio::test]
    async fn whoever_still_connects_does_not_hold_a_drop_up() {
        let database = database().await;
        let options = PgConnectOptions::from_str(&database.url).unwrap();
        let stubborn = (0..4).map(|_| {
            let options = options.clone();
            tokio::spawn(async move {
                loop {
                    if let Ok(mut connection) = PgConnection::connect_with(&options).await {
                        let _ = connection.execute("SELECT pg_sleep(60)").await;
                    }
                    tokio::task::yield_now().await;
                }
            })
        });
        let stubborn: Vec<_> = stubborn.collect();
        sqlx::query("SELECT 1").execute(&database.pool).await.unwrap();
        let name = database.name.clone();
        let began = std::time::Instant::now();
        tokio::task::spawn_blocking(move || drop(database)).await.unwrap();
        let took = began.elapsed();
        stubborn.into_iter().for_each(|task| task.abort());
        assert!(!exists(&mut admin().await.unwrap(), &name).await.unwrap());
        assert!(took < Duration::from_secs(10), "{took:?}");
    }

    #[tokio::test]
    async fn an_empty_database_is_durable() {
        let database = database().await;
        let fsync: String = sqlx::query_scalar("SHOW fsync").fetch_one(&database.pool).await.unwrap();
        assert_eq!(fsync, "on");
    }
}
