//! Orders that are placed on time, whatever goes on beside them; each waits until its row can be read.

use super::generate::place;
use anyhow::Context;
use domain::order::Order;
use event_store::clock;
use event_store::{EventStore, PgStore, StoreOptions};
use hdrhistogram::Histogram;
use kernel::OrderId;
use parking_lot::Mutex;
use runtime::{Commands, Origin, ProjectionHandle, projection};
use sqlx::PgPool;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// An order that takes longer has not been taken at all.
const LONGEST: Duration = Duration::from_secs(10);
/// The most that is told apart.
const LONGEST_US: u64 = 60_000_000;

/// None yet, in microseconds.
pub(super) fn times() -> anyhow::Result<Histogram<u64>> {
    Ok(Histogram::new_with_max(LONGEST_US, 3)?)
}

/// Orders that are being placed.
pub(super) struct Traffic {
    times_us: Arc<Mutex<Histogram<u64>>>,
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

impl Traffic {
    /// So many a second.
    pub(super) async fn begin(pool: &PgPool, rate: f64) -> anyhow::Result<Self> {
        let stop = CancellationToken::new();
        let store: Arc<dyn EventStore> = PgStore::new(pool.clone(), StoreOptions::default(), crate::bench::LIVE);
        let rows = order_service::projection();
        let (handle, follower) = projection::follow("order", Arc::clone(&store), pool.clone(), rows);
        let following = tokio::spawn(follower.run(stop.clone()));
        let times_us = Arc::new(Mutex::new(times()?));
        let placing =
            Placing { commands: Commands::new(store, clock::system()), handle, times_us: Arc::clone(&times_us) };
        let placing = tokio::spawn(place_all(Arc::new(placing), rate, stop.clone()));
        Ok(Self { times_us, stop, tasks: vec![following, placing] })
    }

    /// What orders took since it was last forgotten.
    pub(super) fn times(&self) -> Histogram<u64> {
        self.times_us.lock().clone()
    }

    pub(super) fn forget(&self) {
        self.times_us.lock().reset();
    }

    pub(super) async fn end(self) -> anyhow::Result<()> {
        self.stop.cancel();
        for task in self.tasks {
            task.await.context("the traffic has ended in a panic")?;
        }
        Ok(())
    }
}

struct Placing {
    commands: Commands,
    handle: ProjectionHandle,
    times_us: Arc<Mutex<Histogram<u64>>>,
}

async fn place_all(placing: Arc<Placing>, rate: f64, stop: CancellationToken) {
    let (began, mut n) = (Instant::now(), 0_u64);
    while !stop.is_cancelled() {
        let due = began + Duration::from_secs_f64(n as f64 / rate);
        tokio::time::sleep_until(due).await;
        tokio::spawn(Arc::clone(&placing).place(n, due));
        n += 1;
    }
}

impl Placing {
    async fn place(self: Arc<Self>, n: u64, due: Instant) {
        let clock = clock::system();
        let id = clock.new_id();
        let origin = Origin::request(clock.new_id(), id, "system");
        let command = place(n, OrderId(id), clock.now());
        let placed = self.commands.execute::<Order>(&id.to_string(), &origin, command).await;
        let is_there = match placed.map(|executed| executed.cursor) {
            Ok(Some(cursor)) => self.handle.wait_for(cursor, LONGEST).await,
            _ => false,
        };
        let took = if is_there { due.elapsed() } else { LONGEST };
        self.times_us.lock().saturating_record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }
}
