//! `sagashop bench generate --all`: all stores of a shop as they would be after a long time at work, and at rest.
//!
//! Customers, products and orders are made up; everything else is decided by the services' own rules ([`shop`]), so the
//! audit finds nothing to say against it. What each service would have recorded and published goes into the databases as
//! rows ([`write`](mod@write)), and the read models are made of the events as `projection rebuild` makes them.

mod clock;
mod mix;
mod rows;
mod shop;
mod streams;
mod write;

use crate::args::{BenchGenerateArgs, GlobalArgs};
use crate::exit::{Code, Failure};
use crate::output::Row;
use crate::ports::Role;
use crate::postgres::Server;
use crate::progress::Progress;
use crate::projection;
use crate::shop::{self as running, master_key};
use anyhow::Context;
use chrono::{DateTime, TimeDelta, Utc};
use rows::Batch;
use runtime::projection::{Database, Options, rebuild};
use serde::Serialize;
use shop::{Plan, Shop};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use user_service::Enrolment;
use write::Writers;

pub(in crate::bench) use write::published;

/// A shop of so many days.
const DAYS: i64 = 30;
/// Rows are written when there are so many bytes of them.
const BATCH_BYTES: usize = 24 << 20;
/// Orders of one customer, on average; and how many customers there are at least and at most.
const ORDERS_OF_ONE: u64 = 50;
const CUSTOMERS: (u64, u64) = (3, 20_000);
/// Workers that fill a read model.
const WORKERS: usize = 2;

/// What was written.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Written {
    orders: u64,
    confirmed: u64,
    cancelled: u64,
    customers: u64,
    /// Of all services.
    events: u64,
    messages: u64,
}

impl Row for Written {
    const COLUMNS: &'static [&'static str] = &["orders", "confirmed", "cancelled", "customers", "events", "messages"];

    fn cells(&self) -> Vec<String> {
        let Self { orders, confirmed, cancelled, customers, events, messages } = *self;
        [orders, confirmed, cancelled, customers, events, messages].map(|number| number.to_string()).to_vec()
    }
}

/// Fills all stores on this server.
///
/// # Errors
/// One of them holds something, or the server refuses.
pub(super) async fn write(
    global: &GlobalArgs,
    server: &Server,
    args: &BenchGenerateArgs,
    now: DateTime<Utc>,
) -> anyhow::Result<Written> {
    for (role, database) in running::databases() {
        running::migrate(server, role, database).await?;
    }
    let numbers = write::topics(server, args.partitions).await?;
    if let Some(database) = write::not_empty(server).await? {
        let message = format!("{database} is not empty: a whole history is written into new databases only");
        return Err(Failure::new(Code::InUse, message).into());
    }
    let enrolment = enrolment(global, server, args).await?;
    let plan = plan(args.orders, now);
    let batch = Batch::new(numbers, args.partitions);
    let mut shop = Shop::new(plan, args.seed, enrolment, batch, args.hash_chain);
    let writers = Writers::begin(server).await?;
    let progress = Progress::new("Writing", "orders", Some(args.orders));
    let shown = progress.clone();
    let (worked, writers, shop) = tokio::task::spawn_blocking(move || {
        let worked = work(&mut shop, &writers, &shown);
        (worked, writers, shop)
    })
    .await?;
    progress.say("waiting for the databases");
    // What a database has refused says more than that it takes nothing more.
    writers.finish().await?;
    worked?;
    let ended = shop.ended;
    let (events, messages) = write::close(server, shop, args.partitions).await?;
    read_models(server, &progress).await?;
    progress.finish();
    let (orders, customers) = (plan.orders, plan.customers);
    Ok(Written { orders, confirmed: ended.confirmed, cancelled: ended.cancelled, customers, events, messages })
}

/// The thirty days before today, so that all is over, timers and deadlines included.
fn plan(orders: u64, now: DateTime<Utc>) -> Plan {
    let until = now.date_naive().and_time(chrono::NaiveTime::MIN).and_utc();
    let from = until - TimeDelta::days(DAYS);
    let customers = (orders / ORDERS_OF_ONE).clamp(CUSTOMERS.0, CUSTOMERS.1);
    Plan { orders, customers, from: from.timestamp_micros(), until: until.timestamp_micros() }
}

async fn enrolment(global: &GlobalArgs, server: &Server, args: &BenchGenerateArgs) -> anyhow::Result<Enrolment> {
    let master = master_key::ensure(global, &args.secrets)?;
    let pool = runtime::service::pool(server.options(Role::User.database()), "bench", 1);
    let enrolment = Enrolment::begin(&pool, &master).await;
    pool.close().await;
    enrolment
}

/// Lets everything happen, and writes it.
fn work(shop: &mut Shop, writers: &Writers, progress: &Progress) -> anyhow::Result<()> {
    while shop.step()? {
        if shop.batch.size() >= BATCH_BYTES {
            writers.hand_over(shop.batch.take())?;
            progress.at(shop.ended.confirmed + shop.ended.cancelled);
        }
    }
    writers.hand_over(shop.batch.take())
}

/// Makes the read models of the events.
async fn read_models(server: &Server, progress: &Progress) -> anyhow::Result<()> {
    for named in projection::all() {
        let table = named.model.table().name;
        progress.say(format!("making the read model {table}"));
        let database = Database::new(server.options(named.role.database()));
        let options = Options { parallel: WORKERS, drop_old: true, ..Options::default() };
        let made = rebuild(&database, &named.model, &options, &Arc::default(), &CancellationToken::new()).await;
        made.with_context(|| format!("the read model {table}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_ends_before_today() {
        let now = "2025-03-10T15:00:00Z".parse().unwrap();
        let Plan { customers, from, until, .. } = plan(1_000, now);
        let time = |micros| DateTime::from_timestamp_micros(micros).unwrap().to_rfc3339();
        assert_eq!((time(from), time(until)), ("2025-02-08T00:00:00+00:00".into(), "2025-03-10T00:00:00+00:00".into()));
        assert_eq!((customers, plan(1, now).customers, plan(100_000_000, now).customers), (20, 3, 20_000));
    }
}
