//! The ways of appending that are compared.

use crate::bench::counter::{Counter, Event, Increment, TYPE};
use crate::bench::scratch::{Scratch, fill, stream_id};
use crate::postgres::Server;
use anyhow::Context;
use cqrs_es::CqrsFramework;
use cqrs_es::persist::PersistedEventStore;
use event_store::clock::{self, Clock};
use event_store::{HashChain, PgStore, StoreOptions};
use futures::future::BoxFuture;
use futures::{FutureExt, future::try_join_all};
use postgres_es::{PostgresCqrs, PostgresEventRepository};
use runtime::{Commands, Origin};
use sqlx::PgPool;
use std::sync::Arc;
use std::time::{Duration, Instant};

const OURS: &str = "sagashop_bench_store";
const STOCK: &str = "sagashop_bench_stock";
/// Streams that are there, each one writer's alone, so that nobody meets a conflict.
const STREAMS: u64 = 40_960;
/// As long as most orders' streams.
const EVENTS_EACH: u64 = 4;
/// Rows of a raw INSERT.
const RAW_ROWS: usize = 100;
/// More connections give the raw INSERT nothing.
const RAW_WRITERS_MAX: u32 = 8;

/// postgres-es' own table, as its documentation has it.
const STOCK_TABLE: &str = "CREATE TABLE events (
    aggregate_type text NOT NULL,
    aggregate_id text NOT NULL,
    sequence bigint CHECK (sequence >= 0) NOT NULL,
    event_type text NOT NULL,
    event_version text NOT NULL,
    payload json NOT NULL,
    metadata json NOT NULL,
    PRIMARY KEY (aggregate_type, aggregate_id, sequence)
)";

/// A way of appending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Case {
    /// Ours: load, decide, append.
    Existing,
    /// postgres-es: load, decide, append.
    StockExisting,
    /// Ours at a stream's beginning.
    New,
    /// postgres-es at a stream's beginning.
    StockNew,
    /// Plain SQL.
    Raw,
}

impl Case {
    /// Every case, in the order of the results.
    pub(super) const ALL: [Self; 5] = [Self::Existing, Self::StockExisting, Self::New, Self::StockNew, Self::Raw];
}

/// Both stores, each in its own database.
pub(super) struct Bench {
    ours: Scratch,
    stock: Scratch,
    commands: Commands,
    framework: Arc<PostgresCqrs<Counter>>,
    clock: Arc<dyn Clock>,
}

impl Bench {
    pub(super) async fn make(server: &Server, hash_chain: HashChain) -> anyhow::Result<Self> {
        let (ours, stock) = (Scratch::make(server, OURS).await?, Scratch::make(server, STOCK).await?);
        runtime::service::migrate(&ours.pool, &sqlx::migrate::Migrator::DEFAULT).await?;
        sqlx::query(STOCK_TABLE).execute(&stock.pool).await?;
        let clock = clock::system();
        let options = StoreOptions { hash_chain, ..StoreOptions::default() };
        let store = PgStore::new(ours.pool.clone(), options, crate::bench::LIVE);
        let repository = PostgresEventRepository::new(stock.pool.clone());
        let framework = CqrsFramework::new(PersistedEventStore::new_event_store(repository), Vec::new(), ());
        let commands = Commands::new(store, Arc::clone(&clock));
        Ok(Self { ours, stock, commands, framework: Arc::new(framework), clock })
    }

    pub(super) async fn drop(self, server: &Server) -> anyhow::Result<()> {
        drop((self.commands, self.framework));
        self.ours.drop(server).await?;
        self.stock.drop(server).await
    }

    /// Both stores as at the beginning.
    pub(super) async fn fill(&self) -> anyhow::Result<()> {
        for pool in [&self.ours.pool, &self.stock.pool] {
            sqlx::query("TRUNCATE events").execute(pool).await?;
            fill(pool, STREAMS, EVENTS_EACH, self.clock.as_ref()).await?;
        }
        Ok(())
    }

    /// Events that all writers together append in a second.
    pub(super) async fn per_second(&self, case: Case, writers: u32, time: Duration) -> anyhow::Result<f64> {
        let writers = if case == Case::Raw { writers.min(RAW_WRITERS_MAX) } else { writers };
        let began = Instant::now();
        let until = began + time;
        let tasks: Vec<_> = (0..writers).map(|n| tokio::spawn(self.writer(case, n, writers, until))).collect();
        let mut events = 0;
        for written in try_join_all(tasks).await? {
            events += written.with_context(|| format!("{case:?} with {writers} writers"))?;
        }
        Ok(events as f64 / began.elapsed().as_secs_f64())
    }

    fn writer(&self, case: Case, n: u32, writers: u32, until: Instant) -> BoxFuture<'static, anyhow::Result<u64>> {
        let mine = Mine::of(n, writers);
        let clock = Arc::clone(&self.clock);
        let (commands, framework) = (self.commands.clone(), Arc::clone(&self.framework));
        match case {
            Case::Existing => ours_existing(commands, mine, until).boxed(),
            Case::New => ours_new(commands, until).boxed(),
            Case::StockExisting => stock(framework, clock, Some(mine), until).boxed(),
            Case::StockNew => stock(framework, clock, None, until).boxed(),
            Case::Raw => raw(self.ours.pool.clone(), clock, until).boxed(),
        }
    }
}

/// One writer's share of the streams, over and over.
struct Mine {
    first: u64,
    streams: u64,
    next: u64,
}

impl Mine {
    fn of(n: u32, writers: u32) -> Self {
        let streams = (STREAMS / u64::from(writers)).max(1);
        Self { first: u64::from(n) * streams, streams, next: 0 }
    }

    fn next(&mut self) -> String {
        let id = stream_id(self.first + self.next % self.streams);
        self.next += 1;
        id
    }
}

fn origin(clock: &dyn Clock) -> Origin {
    Origin::request(clock.new_id(), clock.new_id(), "system")
}

async fn ours_existing(commands: Commands, mut mine: Mine, until: Instant) -> anyhow::Result<u64> {
    let mut events = 0;
    while Instant::now() < until {
        commands.execute::<Counter>(&mine.next(), &origin(commands.clock()), Increment).await?;
        events += 1;
    }
    Ok(events)
}

async fn ours_new(commands: Commands, until: Instant) -> anyhow::Result<u64> {
    let mut events = 0;
    while Instant::now() < until {
        let id = commands.clock().new_id().to_string();
        commands.create::<Counter>(&id, &origin(commands.clock()), Increment).await?;
        events += 1;
    }
    Ok(events)
}

/// With metadata as ours has it, so that the rows are the same.
async fn stock(
    framework: Arc<PostgresCqrs<Counter>>,
    clock: Arc<dyn Clock>,
    mut mine: Option<Mine>,
    until: Instant,
) -> anyhow::Result<u64> {
    let mut events = 0;
    while Instant::now() < until {
        let id = mine.as_mut().map_or_else(|| clock.new_id().to_string(), Mine::next);
        let metadata = origin(clock.as_ref()).metadata(clock.as_ref()).to_map();
        framework.execute_with_metadata(&id, Increment, metadata).await?;
        events += 1;
    }
    Ok(events)
}

async fn raw(pool: PgPool, clock: Arc<dyn Clock>, until: Instant) -> anyhow::Result<u64> {
    let payloads = vec![serde_json::to_string(&Event::one())?; RAW_ROWS];
    let metadata = vec![origin(clock.as_ref()).metadata(clock.as_ref()).to_json(); RAW_ROWS];
    let mut connection = pool.acquire().await?;
    let mut events = 0;
    while Instant::now() < until {
        let ids: Vec<String> = (0..RAW_ROWS).map(|_| clock.new_id().to_string()).collect();
        let inserted = sqlx::query(
            "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
             SELECT $1, e.id, 1, $2, '1', e.payload::json, e.metadata::json
               FROM UNNEST($3::text[], $4::text[], $5::text[]) AS e(id, payload, metadata)",
        )
        .bind(TYPE)
        .bind(Event::one().event_type())
        .bind(ids)
        .bind(&payloads)
        .bind(&metadata)
        .execute(&mut *connection)
        .await?;
        events += inserted.rows_affected();
    }
    Ok(events)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_stream_has_two_writers() {
        for writers in [1, 3, 128, 512] {
            let mut seen = std::collections::HashSet::new();
            for n in 0..writers {
                let mut mine = Mine::of(n, writers);
                let own: std::collections::HashSet<_> = (0..mine.streams * 2).map(|_| mine.next()).collect();
                assert!(own.iter().all(|id| seen.insert(id.clone())), "{writers} writers");
            }
            assert!(seen.len() as u64 <= STREAMS);
        }
    }
}
