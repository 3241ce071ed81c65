//! What only the database knows: how far the followers are behind, what lies aside, what holds readers up.
//!
//! One task of each service looks every few seconds, with a bound on time and on what it counts. Scrapes cost no query,
//! however many ask, and what is told is right from the first look after a restart.

use std::time::{Duration, Instant};

use anyhow::Context;
use futures::future::BoxFuture;
use sqlx::PgPool;
use telemetry::metrics::{FloatGauges, Gauges, IntGauge, Label, SERVICE};
use tokio_util::sync::CancellationToken;

use super::consumers::{CONSUMER, KIND};
use super::count;
use super::followers::{AGGREGATE, PROJECTION};
use crate::relay;

pub(super) static RELAY_PENDING: Gauges = Gauges::new(
    "relay_pending_events",
    "Events behind the relay's checkpoint, counted up to 10000. From the database: every instance tells the same.",
    &[SERVICE],
);
pub(super) static RELAY_OLDEST_SECONDS: FloatGauges = FloatGauges::new(
    "relay_oldest_unpublished_seconds",
    "Age of the oldest event behind the relay's checkpoint, 0 without one. From the database.",
    &[SERVICE],
);
pub(super) static PROJECTION_LAG: Gauges = Gauges::new(
    "projection_lag_events",
    "Events behind a projection's checkpoint, counted up to 10000. From the database.",
    &[SERVICE, PROJECTION],
);
pub(super) static PROJECTION_LAG_SECONDS: FloatGauges = FloatGauges::new(
    "projection_lag_seconds",
    "Age of the oldest event behind a projection's checkpoint, 0 without one. From the database.",
    &[SERVICE, PROJECTION],
);
pub(super) static DEAD_LETTERS_NOW: Gauges = Gauges::new(
    "consumer_dead_letters",
    "Dead letters that lie there now, counted up to 10000. From the database.",
    &[SERVICE, CONSUMER, KIND],
);
pub(super) static TIMERS_PENDING: Gauges = Gauges::new(
    "timers_pending",
    "Durable timers that are set, counted up to 10000. From the database.",
    &[SERVICE, AGGREGATE],
);
pub(super) static DATABASE_UP: Gauges = Gauges::new(
    "database_up",
    "1 if the last look at the service's database succeeded. While it is 0, what is from the database is as it was.",
    &[SERVICE],
);
pub(super) static OLDEST_TRANSACTION_SECONDS: FloatGauges = FloatGauges::new(
    "postgres_oldest_transaction_seconds",
    "How long the oldest writing transaction of the service's server has been open, 0 without one: it holds up all \
     who follow events.",
    &[SERVICE],
);
pub(super) static POOL_CONNECTIONS: Gauges = Gauges::new(
    "db_pool_connections",
    "Connections of the service's pool to its database; those kept between two statements count as used.",
    &[SERVICE, Label::one_of("state", &["idle", "used"])],
);
pub(super) static POOL_CONNECTIONS_MAX: Gauges =
    Gauges::new("db_pool_connections_max", "The most that the pool may have.", &[SERVICE]);

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// A look that takes longer is given up until the next.
const LOOK_MAX: Duration = Duration::from_secs(3);

const FOLLOWERS: &str = "
SELECT f.follower, behind.events, behind.oldest_s
  FROM UNNEST($1::text[]) AS f(follower)
  LEFT JOIN checkpoints AS c ON c.follower = f.follower
 CROSS JOIN LATERAL (
       SELECT (SELECT count(*)
                 FROM (SELECT FROM events AS e
                        WHERE (e.transaction_id, e.position)
                            > (COALESCE(c.transaction_id, '0'::xid8), COALESCE(c.position, 0))
                        ORDER BY e.transaction_id, e.position LIMIT 10000) AS few) AS events,
              (SELECT extract(epoch FROM clock_timestamp() - e.recorded_at)::float8
                 FROM events AS e
                WHERE (e.transaction_id, e.position) > (COALESCE(c.transaction_id, '0'::xid8), COALESCE(c.position, 0))
                ORDER BY e.transaction_id, e.position LIMIT 1) AS oldest_s) AS behind";
const DEAD_LETTERS: &str = "
SELECT consumer, parked, count(*) FROM (SELECT consumer, parked FROM dead_letters LIMIT 10000) AS few
 GROUP BY consumer, parked";
const TIMERS: &str = "
SELECT aggregate_type, count(*) FROM (SELECT aggregate_type FROM timers LIMIT 10000) AS few GROUP BY aggregate_type";
/// Whether a transaction writes, and since when, is told of one's own sessions alone unless one may see all; which is
/// the oldest is told to everybody.
const TRANSACTIONS: &str = "
SELECT pg_snapshot_xmin(s)::text, pg_snapshot_xmax(s)::text,
       (SELECT max(extract(epoch FROM clock_timestamp() - a.xact_start))::float8
          FROM pg_stat_activity AS a WHERE a.backend_xid IS NOT NULL)
  FROM pg_current_snapshot() AS s";

/// Something else to look at now and then.
pub(crate) type Probe = Box<dyn Fn(PgPool) -> BoxFuture<'static, anyhow::Result<()>> + Send + Sync>;

/// Looks at one service's database.
pub(crate) struct Observer {
    service: &'static str,
    pool: PgPool,
    relays: bool,
    projections: Vec<&'static str>,
    consumers: Vec<&'static str>,
    timers: Vec<&'static str>,
    probes: Vec<Probe>,
    oldest: Oldest,
}

impl Observer {
    pub(crate) fn new(service: &'static str, pool: PgPool) -> Self {
        let (projections, consumers, timers, probes) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { service, pool, relays: false, projections, consumers, timers, probes, oldest: Oldest::default() }
    }

    pub(crate) fn relay(&mut self) {
        self.relays = true;
    }

    pub(crate) fn projection(&mut self, name: &'static str) {
        self.projections.push(name);
    }

    pub(crate) fn consumer(&mut self, name: &'static str) {
        self.consumers.push(name);
        DEAD_LETTERS_NOW.init(&[self.service, name]);
    }

    pub(crate) fn timers(&mut self, aggregate: &'static str) {
        self.timers.push(aggregate);
    }

    pub(crate) fn probe(&mut self, probe: Probe) {
        self.probes.push(probe);
    }

    /// Looks until shutdown.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) {
        let up = DATABASE_UP.with(&[self.service]);
        up.set(1);
        while !shutdown.is_cancelled() {
            self.look_at_pool();
            let looked = tokio::time::timeout(LOOK_MAX, self.look()).await.context("no answer in time");
            let looked = looked.and_then(|looked| looked);
            if let Err(error) = &looked
                && up.get() == 1
            {
                // Once, until it can be looked at again.
                tracing::warn!(service = self.service, error = format!("{error:#}"), "the database was not looked at");
            }
            up.set(looked.is_ok().into());
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = shutdown.cancelled() => {}
            }
        }
    }

    fn look_at_pool(&self) {
        let (all, idle) = (self.pool.size() as usize, self.pool.num_idle());
        POOL_CONNECTIONS.with(&[self.service, "idle"]).set(count(idle));
        POOL_CONNECTIONS.with(&[self.service, "used"]).set(count(all.saturating_sub(idle)));
        POOL_CONNECTIONS_MAX.with(&[self.service]).set(self.pool.options().get_max_connections().into());
    }

    async fn look(&mut self) -> anyhow::Result<()> {
        self.look_at_transactions().await?;
        self.look_at_followers().await?;
        self.look_at_dead_letters().await?;
        self.look_at_timers().await?;
        for probe in &self.probes {
            probe(self.pool.clone()).await?;
        }
        Ok(())
    }

    async fn look_at_transactions(&mut self) -> anyhow::Result<()> {
        let (oldest, next, known_s): (String, String, Option<f64>) =
            sqlx::query_as(TRANSACTIONS).fetch_one(&self.pool).await?;
        let watched = self.oldest.age(&oldest, &next);
        let seconds = if oldest == next { 0.0 } else { known_s.unwrap_or(0.0).max(watched.as_secs_f64()) };
        OLDEST_TRANSACTION_SECONDS.with(&[self.service]).set(seconds);
        Ok(())
    }

    async fn look_at_followers(&self) -> anyhow::Result<()> {
        let mut names = self.projections.clone();
        names.extend(self.relays.then_some(relay::FOLLOWER));
        let found: Vec<(String, i64, Option<f64>)> =
            sqlx::query_as(FOLLOWERS).bind(names).fetch_all(&self.pool).await?;
        for (follower, events, oldest_s) in found {
            let seconds = oldest_s.unwrap_or(0.0).max(0.0);
            if follower == relay::FOLLOWER {
                RELAY_PENDING.with(&[self.service]).set(events);
                RELAY_OLDEST_SECONDS.with(&[self.service]).set(seconds);
            } else {
                PROJECTION_LAG.with(&[self.service, &follower]).set(events);
                PROJECTION_LAG_SECONDS.with(&[self.service, &follower]).set(seconds);
            }
        }
        Ok(())
    }

    async fn look_at_dead_letters(&self) -> anyhow::Result<()> {
        let found: Vec<(String, bool, i64)> = sqlx::query_as(DEAD_LETTERS).fetch_all(&self.pool).await?;
        for consumer in &self.consumers {
            for (kind, is_parked) in [("dead", false), ("parked", true)] {
                let letters = found.iter().find(|(of, parked, _)| of == consumer && *parked == is_parked);
                set(&DEAD_LETTERS_NOW.with(&[self.service, consumer, kind]), letters.map(|(_, _, count)| *count));
            }
        }
        Ok(())
    }

    async fn look_at_timers(&self) -> anyhow::Result<()> {
        if self.timers.is_empty() {
            return Ok(());
        }
        let found: Vec<(String, i64)> = sqlx::query_as(TIMERS).fetch_all(&self.pool).await?;
        for aggregate in &self.timers {
            let timers = found.iter().find(|(of, _)| of == aggregate);
            set(&TIMERS_PENDING.with(&[self.service, aggregate]), timers.map(|(_, count)| *count));
        }
        Ok(())
    }
}

fn set(gauge: &IntGauge, found: Option<i64>) {
    gauge.set(found.unwrap_or(0));
}

/// How long the oldest transaction has been the same one, as far as it was watched.
#[derive(Default)]
struct Oldest {
    transaction: String,
    since: Option<Instant>,
}

impl Oldest {
    /// `next` is the id of the next transaction: where that is the oldest, none is open.
    fn age(&mut self, oldest: &str, next: &str) -> Duration {
        if oldest == next {
            self.since = None;
        } else if self.since.is_none() || self.transaction != oldest {
            (self.transaction, self.since) = (oldest.to_owned(), Some(Instant::now()));
        }
        self.since.map_or(Duration::ZERO, |since| since.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_ages_while_it_stays_the_oldest() {
        let mut oldest = Oldest::default();
        assert_eq!(oldest.age("7", "7"), Duration::ZERO, "none is open");
        oldest.age("7", "9");
        let since = oldest.since.expect("one is open");
        oldest.age("7", "12");
        assert_eq!(oldest.since, Some(since));
        oldest.age("9", "12");
        assert!(oldest.since.expect("another is") > since);
        oldest.age("12", "12");
        assert_eq!(oldest.since, None);
    }
}
