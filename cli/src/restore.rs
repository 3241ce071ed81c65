//! `sagashop restore-check`: databases that were restored from a backup, made to fit their server, and the broker.
//!
//! A dump carries the transaction ids of the server that it was taken from, and readers go by them ([`ids`]). A backup is
//! of another moment than the broker's ([`published`]): what the one has and the other lacks is found by the messages'
//! ids. Only what a store can answer for by itself is mended; whether the services' copies fit together is the audit's
//! question.

mod ids;
mod published;

pub(crate) use ids::{EPOCHS, OLDEST};

pub(crate) use published::{owner, publisher};

use crate::args::{GlobalArgs, RestoreCheckArgs, roles_of};
use crate::diagnosis::Diagnosis;
use crate::exit::{Code, Failure};
use crate::ports::Role;
use crate::postgres::Server;
use crate::shop;
use anyhow::Context;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use std::time::Duration;

const CONNECT_MAX: Duration = Duration::from_secs(10);
const NAME: &str = "sagashop-restore-check";

/// Checks, and mends if it is told to.
///
/// # Errors
/// When a database cannot be reached, services are connected, or mending fails.
pub async fn restore_check(global: &GlobalArgs, args: &RestoreCheckArgs) -> anyhow::Result<Code> {
    // A private cluster that does not run is started for the time.
    let server = Server::open(&args.database.options(global)?).await?;
    let checked = check(args, &server).await;
    server.stop().await?;
    let diagnosis = checked?;
    diagnosis.print(global.output)?;
    eprintln!("Checked {}.", diagnosis.summary());
    if !args.yes && diagnosis.code() == Code::Violated {
        eprintln!("Nothing was changed. Stop the services, and mend it with: sagashop restore-check --yes");
    }
    Ok(diagnosis.code())
}

/// What is found; where it was mended, what is found afterwards.
async fn check(args: &RestoreCheckArgs, server: &Server) -> anyhow::Result<Diagnosis> {
    let mut stores = Vec::new();
    for role in roles_of(&args.roles) {
        stores.push(Store::open(server, role).await?);
    }
    let mut mended = Diagnosis::default();
    if args.yes {
        for store in &stores {
            store.refuse_company().await?;
        }
        // Makes a topic log that is lost; nobody's topics of Kafka.
        shop::broker(server, &args.servers, false).await?;
        for store in &stores {
            ids::mend(store, &mut mended).await?;
        }
        // Places in the event table are other ones now.
        if let Ok(compared) = published::compare(server, &args.servers, &stores).await {
            published::mend(&stores, &compared, &mut mended).await?;
        }
    }
    let mut found = mended;
    for store in &stores {
        ids::look(store, &mut found).await.with_context(|| store.role.database())?;
    }
    match published::compare(server, &args.servers, &stores).await {
        Ok(compared) => published::tell(&compared, &mut found),
        Err(error) => found.unchecked("store = broker", "topics", format!("{error:#}")),
    }
    for store in stores {
        store.pool.close().await;
    }
    Ok(found)
}

/// A role's database.
pub(crate) struct Store {
    role: Role,
    pub(crate) pool: PgPool,
}

impl Store {
    pub(crate) async fn open(server: &Server, role: Role) -> anyhow::Result<Self> {
        let options = server.options(role.database()).application_name(NAME).options([
            // Whoever holds a lock is not gone yet.
            ("lock_timeout", "5s"),
            ("jit", "off"),
        ]);
        let pool = PgPoolOptions::new().max_connections(1).acquire_timeout(CONNECT_MAX).connect_with(options).await;
        let message = |error: sqlx::Error| Failure::new(Code::Unavailable, format!("{}: {error}", role.database()));
        Ok(Self { role, pool: pool.map_err(message)? })
    }

    /// Nobody else may be connected to a database that is changed under its readers.
    pub(crate) async fn refuse_company(&self) -> anyhow::Result<()> {
        let others: Vec<String> = sqlx::query_scalar(
            "SELECT concat_ws(' ', count(*) || ' ×', usename, application_name) FROM pg_stat_activity
              WHERE datname = current_database() AND pid <> pg_backend_pid() AND coalesce(backend_type, 'client backend') = 'client backend'
              GROUP BY usename, application_name ORDER BY 1",
        )
        .fetch_all(&self.pool)
        .await?;
        if others.is_empty() {
            return Ok(());
        }
        let (database, others) = (self.role.database(), others.join(", "));
        let message = format!("{database} is in use ({others}): stop its services and whoever else is connected");
        Err(Failure::new(Code::InUse, message).into())
    }
}
