//! The brokers under test.

use std::sync::Arc;

use broker::{Broker, KafkaBroker, KafkaOptions, MIGRATOR, MemoryBroker, PostgresBroker, PostgresOptions};
use testkit::postgres::TestDatabase;

/// A broker, and a second client of it.
pub trait Server: Sized {
    /// Nothing when there is no such broker to be had here.
    async fn start() -> Option<Self>;
    fn broker(&self) -> Arc<dyn Broker>;
    fn another_client(&self) -> Arc<dyn Broker>;
}

pub struct Memory(MemoryBroker);

impl Server for Memory {
    async fn start() -> Option<Self> {
        Some(Self(MemoryBroker::new()))
    }

    fn broker(&self) -> Arc<dyn Broker> {
        Arc::new(self.0.clone())
    }

    fn another_client(&self) -> Arc<dyn Broker> {
        self.broker()
    }
}

/// All clients in one process.
pub struct Postgres {
    broker: PostgresBroker,
    _database: TestDatabase,
}

impl Server for Postgres {
    async fn start() -> Option<Self> {
        let database = testkit::postgres::database_with(&MIGRATOR).await;
        // No help from the database: whatever wakes must come from this process.
        let options = PostgresOptions { recheck_after: std::time::Duration::from_secs(3600), ..Default::default() };
        Some(Self { broker: PostgresBroker::new(database.pool.clone(), options), _database: database })
    }

    fn broker(&self) -> Arc<dyn Broker> {
        Arc::new(self.broker.clone())
    }

    fn another_client(&self) -> Arc<dyn Broker> {
        self.broker()
    }
}

/// Each client as in a process of its own.
pub struct PostgresShared {
    broker: PostgresBroker,
    database: TestDatabase,
}

impl PostgresShared {
    fn client(database: &TestDatabase) -> PostgresBroker {
        let options = PostgresOptions { cross_process: true, ..Default::default() };
        PostgresBroker::new(database.pool.clone(), options)
    }
}

impl Server for PostgresShared {
    async fn start() -> Option<Self> {
        let database = testkit::postgres::database_with(&MIGRATOR).await;
        Some(Self { broker: Self::client(&database), database })
    }

    fn broker(&self) -> Arc<dyn Broker> {
        Arc::new(self.broker.clone())
    }

    fn another_client(&self) -> Arc<dyn Broker> {
        Arc::new(Self::client(&self.database))
    }
}

pub struct Kafka(String);

impl Server for Kafka {
    async fn start() -> Option<Self> {
        testkit::kafka::broker().map(Self)
    }

    fn broker(&self) -> Arc<dyn Broker> {
        self.another_client()
    }

    fn another_client(&self) -> Arc<dyn Broker> {
        Arc::new(KafkaBroker::connect(vec![self.0.clone()], KafkaOptions::default()))
    }
}
