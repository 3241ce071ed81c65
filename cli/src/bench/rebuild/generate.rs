//! `sagashop bench generate`: a store full of orders, as the order service would have recorded them.

use crate::args::{BenchGenerateArgs, GlobalArgs};
use crate::bench::history;
use crate::exit::{Code, Failure};
use crate::output::{self, Row};
use crate::ports::Role;
use crate::postgres::Server;
use crate::progress::Progress;
use crate::shop;
use anyhow::Context;
use chrono::{DateTime, TimeDelta, Utc};
use cqrs_es::{Aggregate, DomainEvent};
use domain::Reason;
use domain::order::{Command, Order, OrderLine};
use event_store::clock::{self, Clock};
use event_store::{Append, EventStore, NewEvent, PgStore, StoreOptions, StreamId, UnitOfWork};
use kernel::{Currency, Decide, Money, OrderId, ProductId, Quantity, UserId};
use runtime::{Origin, relay};
use serde::Serialize;
use sqlx::PgPool;
use std::sync::Arc;
use uuid::Uuid;

/// Orders of one transaction.
const ORDERS_AT_ONCE: u64 = 2_000;
/// People who order.
const USERS: u128 = 10_000;
/// What they order.
const PRODUCTS: u128 = 500;
/// Of ten orders: two to four events each.
const EVENTS_OF_TEN: u64 = 23;

/// How much.
#[derive(Clone, Copy, Debug)]
pub(super) enum Amount {
    /// So many orders.
    Orders(u64),
    /// So many events, and a few more.
    Events(u64),
}

/// What was written.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Written {
    /// Orders.
    pub orders: u64,
    /// Their events.
    pub events: u64,
}

impl Row for Written {
    const COLUMNS: &'static [&'static str] = &["orders", "events"];

    fn cells(&self) -> Vec<String> {
        vec![self.orders.to_string(), self.events.to_string()]
    }
}

/// Writes orders into the order service's store.
///
/// # Errors
/// The order service runs, or its store refuses.
pub async fn generate(global: &GlobalArgs, args: &BenchGenerateArgs) -> anyhow::Result<Code> {
    let server = Server::open(&args.database.options(global)?).await?;
    if args.all {
        let written = history::write(global, &server, args, clock::system().now()).await;
        server.stop().await?;
        output::one(global.output, &written?)?;
        return Ok(Code::Done);
    }
    let written = write(&server, args).await;
    server.stop().await?;
    output::one(global.output, &written?)?;
    Ok(Code::Done)
}

async fn write(server: &Server, args: &BenchGenerateArgs) -> anyhow::Result<Written> {
    shop::migrate(server, Role::Order, Role::Order.database()).await?;
    let pool = runtime::service::pool(server.options(Role::Order.database()), "bench", 2);
    let is_running: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM consumer_offsets
                         WHERE consumer = $1 AND owner IS NOT NULL AND lease_until > clock_timestamp())",
    )
    .bind(relay::FOLLOWER)
    .fetch_one(&pool)
    .await?;
    if is_running {
        let message = "the order service runs, and would publish what is written: stop it first";
        return Err(Failure::new(Code::InUse, message).into());
    }
    let progress = Progress::new("Writing", "orders", Some(args.orders));
    let written = fill(&pool, Amount::Orders(args.orders), clock::system(), |orders| progress.at(orders)).await;
    progress.finish();
    // What is done and over is nobody's business outside.
    history::published(&mut *pool.acquire().await?).await?;
    pool.close().await;
    written
}

/// Writes orders into an order service's store: seven of ten were confirmed, the others cancelled in one way or another.
/// Each event is one that the order decided.
pub(super) async fn fill(
    pool: &PgPool,
    amount: Amount,
    clock: Arc<dyn Clock>,
    written: impl Fn(u64),
) -> anyhow::Result<Written> {
    let orders = match amount {
        Amount::Orders(orders) => orders,
        Amount::Events(events) => (events * 10).div_ceil(EVENTS_OF_TEN),
    };
    let store = PgStore::new(pool.clone(), StoreOptions::default(), crate::bench::LIVE);
    let mut all = Written::default();
    while all.orders < orders {
        let until = orders.min(all.orders + ORDERS_AT_ONCE);
        let appends = (all.orders..until).map(|n| order(n, clock.as_ref())).collect::<anyhow::Result<Vec<Append>>>()?;
        all.events += appends.iter().map(|append| append.events.len() as u64).sum::<u64>();
        all.orders = until;
        let work = UnitOfWork { appends, ..UnitOfWork::default() };
        store.commit(work).await.context("the events cannot be written")?;
        written(all.orders);
    }
    sqlx::query("ANALYZE events").execute(pool).await?;
    Ok(all)
}

/// The n-th order's stream.
fn order(n: u64, clock: &dyn Clock) -> anyhow::Result<Append> {
    let (order_id, at) = (OrderId(clock.new_id()), clock.now());
    let origin = Origin::request(clock.new_id(), order_id.0, "system");
    let mut order = Order::default();
    let mut events = Vec::new();
    for (step, command) in commands(n, order_id, at).into_iter().enumerate() {
        let decided = order.decide(command).map_err(|error| anyhow::anyhow!("order {n}: {error}"))?;
        for event in decided.executed().with_context(|| format!("step {step} of order {n} changes nothing"))? {
            events.push(NewEvent {
                event_type: event.event_type(),
                event_version: event.event_version(),
                payload: serde_json::to_string(&event)?,
                metadata: origin.metadata(clock),
            });
            order.apply(event);
        }
    }
    Ok(Append { stream: StreamId::of::<Order>(order_id.0.to_string()), expected: 0, events })
}

/// What is done with it.
fn commands(n: u64, order_id: OrderId, at: DateTime<Utc>) -> Vec<Command> {
    let later = |seconds| at + TimeDelta::seconds(seconds);
    let reason = || Reason::from("changed my mind");
    let ask = |seconds| Command::RequestCancellation { reason: Some(reason()), at: later(seconds) };
    let (confirm, cancel) =
        (Command::Confirm { at: later(2) }, |seconds| Command::Cancel { reason: reason(), at: later(seconds) });
    let mut commands = vec![place(n, order_id, at)];
    match n % 10 {
        0 => commands.push(cancel(3)),
        1 => commands.extend([ask(1), cancel(3)]),
        2 => commands.extend([confirm, ask(60), cancel(63)]),
        _ => commands.push(confirm),
    }
    commands
}

/// One to three lines.
pub(super) fn place(n: u64, order_id: OrderId, at: DateTime<Utc>) -> Command {
    let number = u128::from(n);
    let id = |kind: u128, number: u128| Uuid::from_u128((0x0190_0000_0000_7000_8000 + kind) << 48 | number);
    let line = |line: u128| OrderLine {
        product_id: ProductId(id(1, (number * 7 + line) % PRODUCTS)),
        quantity: Quantity::try_from(i64::try_from((number + line) % 3).unwrap_or(0) + 1).expect("one to three"),
        unit_price: Money::new(1_999 + i64::try_from(line).unwrap_or(0) * 500, Currency::EUR),
    };
    Command::Place {
        order_id,
        user_id: UserId(id(2, number % USERS)),
        lines: (0..1 + number % 3).map(line).collect(),
        address_id: None,
        payment_method: "tok_visa".parse().expect("a payment method"),
        at,
    }
}
