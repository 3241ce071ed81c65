//! The PostgreSQL that the shop runs on: one that the user names, or a private cluster of our own.
//!
//! The order is fixed: `DATABASE_URL` or `DB_HOST`; else a private cluster under the data folder, run
//! by the programs found on the machine ([`find`]), else by a PostgreSQL fetched once into the user's
//! cache ([`fetch`]). Behind [`Server`] all of them look the same.

mod account;
pub mod cluster;
mod error;
pub mod external;
pub mod fetch;
pub mod find;
mod home;
mod initdb;
mod postmaster;
mod settings;

pub use cluster::Cluster;
pub use error::Error;
pub use external::External;
pub use find::Programs;

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, Executor, PgConnection};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// The oldest PostgreSQL that the shop runs on: `client_connection_check_interval` came with 14.
pub const MAJOR_MIN: u32 = 14;

/// How long another process may take to start the cluster that we want to share.
const STARTING_ELSEWHERE_MAX: Duration = Duration::from_secs(30);

/// Which PostgreSQL to use.
#[derive(Clone, Debug)]
pub struct Options {
    /// The folder that a private cluster lives under.
    pub data_dir: PathBuf,
    /// A server that the user named; nothing of our own is started then.
    pub external: Option<External>,
    /// Where the programs of a private cluster may come from.
    pub programs: Programs,
}

impl Options {
    /// A private cluster under this folder, by whatever programs there are.
    pub fn private(data_dir: impl Into<PathBuf>) -> Self {
        Self { data_dir: data_dir.into(), external: None, programs: Programs::Any }
    }
}

/// A PostgreSQL server that answers.
#[derive(Debug)]
pub enum Server {
    /// Run by somebody else.
    External(External),
    /// Run by this process, which stops it at its end.
    Own(Cluster),
    /// The private cluster of another `sagashop` process, which goes on running after us.
    Shared(cluster::Running),
}

impl Server {
    /// Makes a server available for as long as this process wants it: checks the one that the user
    /// named, else starts the private cluster and owns it.
    ///
    /// # Errors
    /// A sentence for people; [`Error::InUse`] when another process owns the private cluster.
    pub async fn start(options: &Options) -> Result<Self, Error> {
        match &options.external {
            Some(external) => external.check().await.map(|()| Self::External(external.clone())),
            None => Cluster::start(options).await.map(Self::Own),
        }
    }

    /// The server that runs now, without starting anything: `None` when the private cluster is down.
    ///
    /// # Errors
    /// A sentence for people, when the server that the user named does not answer or the folder cannot be read.
    pub async fn attach(options: &Options) -> Result<Option<Self>, Error> {
        match &options.external {
            Some(external) => external.check().await.map(|()| Some(Self::External(external.clone()))),
            None => Ok(Cluster::attach(options).await?.map(Self::Shared)),
        }
    }

    /// The server that runs now, else a started one.
    ///
    /// # Errors
    /// A sentence for people.
    pub async fn open(options: &Options) -> Result<Self, Error> {
        let deadline = Instant::now() + STARTING_ELSEWHERE_MAX;
        loop {
            let error = match Self::start(options).await {
                Err(error @ Error::InUse { .. }) => error,
                other => return other,
            };
            if let Some(server) = Self::attach(options).await? {
                return Ok(server);
            }
            // Its owner is on the way up, or down.
            if Instant::now() > deadline {
                return Err(error);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// The server that runs now, else a started one; none is made where there is none: `None`.
    ///
    /// # Errors
    /// A sentence for people.
    pub async fn open_existing(options: &Options) -> Result<Option<Self>, Error> {
        if options.external.is_none() && home::Home::existing(&options.data_dir)?.is_none() {
            return Ok(None);
        }
        Self::open(options).await.map(Some)
    }

    /// How to connect to one of its databases.
    pub fn options(&self, database: &str) -> PgConnectOptions {
        match self {
            Self::External(external) => external.connect_options(database),
            Self::Own(cluster) => cluster.connect_options(database),
            Self::Shared(running) => running.connect_options(database),
        }
    }

    /// Whether there is a database of this name.
    ///
    /// # Errors
    /// A sentence for people.
    pub async fn has_database(&self, name: &str) -> Result<bool, Error> {
        let mut connection = self.maintenance().await?;
        let exists = sqlx::query_scalar::<_, bool>("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)")
            .bind(name)
            .fetch_one(&mut connection)
            .await
            .map_err(|error| Error::query(&self.describe(), &error));
        // Nothing more is asked of this connection: an error in parting is of no interest.
        let _ = connection.close().await;
        exists
    }

    /// Creates a database unless it is there; true when it was created.
    ///
    /// # Errors
    /// A sentence for people, for example when the user may not create databases.
    pub async fn ensure_database(&self, name: &str) -> Result<bool, Error> {
        if self.has_database(name).await? {
            return Ok(false);
        }
        let mut connection = self.maintenance().await?;
        let statement = format!("CREATE DATABASE {}", quoted(name));
        let created = connection.execute(statement.as_str()).await;
        let _ = connection.close().await;
        match created {
            Ok(_) => Ok(true),
            // Somebody else created it in between; both codes occur (duplicate_database, unique_violation).
            Err(error) if error::has_code(&error, &["42P04", "23505"]) => Ok(false),
            Err(error) if error::has_code(&error, &["42501"]) => {
                Err(Error::MayNotCreate { server: self.describe(), database: name.to_owned() })
            }
            Err(error) => Err(Error::query(&self.describe(), &error)),
        }
    }

    /// Drops a database if it is there.
    ///
    /// # Errors
    /// A sentence for people, for example when somebody is connected to it.
    pub async fn drop_database(&self, name: &str) -> Result<(), Error> {
        let mut connection = self.maintenance().await?;
        let statement = format!("DROP DATABASE IF EXISTS {}", quoted(name));
        let dropped = connection.execute(statement.as_str()).await;
        let _ = connection.close().await;
        dropped.map(|_| ()).map_err(|error| Error::query(&self.describe(), &error))
    }

    /// What to call it in a sentence: `PostgreSQL at localhost:5432`, `the PostgreSQL under ./.sagashop`.
    pub fn describe(&self) -> String {
        match self {
            Self::External(external) => external.describe(),
            Self::Own(cluster) => cluster.describe(),
            Self::Shared(running) => running.describe(),
        }
    }

    /// Ends when the server that this process owns has ended by itself, with what is known about it.
    /// A server of somebody else is never watched: then this waits for ever.
    pub async fn ended(&self) -> Error {
        match self {
            Self::Own(cluster) => cluster.ended().await,
            Self::External(_) | Self::Shared(_) => std::future::pending().await,
        }
    }

    /// Stops what this process started; a server of somebody else is left alone.
    ///
    /// # Errors
    /// When the processes of the private cluster could not be stopped.
    pub async fn stop(self) -> Result<(), Error> {
        match self {
            Self::Own(cluster) => cluster.stop().await,
            Self::External(_) | Self::Shared(_) => Ok(()),
        }
    }

    /// A connection to the database that is there before any of ours.
    async fn maintenance(&self) -> Result<PgConnection, Error> {
        match self {
            Self::External(external) => external.maintenance().await,
            Self::Own(_) | Self::Shared(_) => external::connect(&self.options("postgres"), &self.describe()).await,
        }
    }
}

/// A name as an SQL identifier.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
