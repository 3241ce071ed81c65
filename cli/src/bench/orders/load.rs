//! Placing orders: by clients that wait for each order's end, or on a schedule that waits for nothing.

use super::Target;
use super::recorder::Recorder;
use crate::args::BenchOrdersArgs;
use crate::client::{NewOrder, Status};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Clients of a closed loop when nothing is said.
const CLIENTS: u32 = 64;
/// Orders of an open loop that may be on their way; within the usual limit of open files.
const IN_FLIGHT_MAX: usize = 768;
/// One long poll.
const WAIT: Duration = Duration::from_secs(5);
/// An order that takes longer counts as an error.
const END_MAX: Duration = Duration::from_secs(30);
/// A client that met an error does not turn it into a storm.
const AFTER_ERROR: Duration = Duration::from_millis(100);

/// What comes at the shop.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Load {
    /// So many clients, each with one order at a time.
    Clients(u32),
    /// So many orders a second, whatever becomes of them.
    Rate(f64),
}

/// When an order was acknowledged.
type Accepted = Instant;

impl Load {
    pub(super) fn of(args: &BenchOrdersArgs) -> Self {
        match args.rate {
            Some(rate) => Self::Rate(rate),
            None => Self::Clients(args.clients.unwrap_or(CLIENTS)),
        }
    }

    /// Places orders until the recorder's window closes, and follows those of the window to their end.
    pub(super) async fn place(self, target: &Arc<Target>, recorder: &Arc<Recorder>) -> anyhow::Result<()> {
        match self {
            Self::Clients(clients) => closed(target, recorder, clients).await,
            Self::Rate(rate) => open(target, recorder, rate).await,
        }
    }
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Clients(clients) => write!(f, "{clients} clients, one order each at a time"),
            Self::Rate(rate) => write!(f, "{rate} orders/s on schedule"),
        }
    }
}

async fn closed(target: &Arc<Target>, recorder: &Arc<Recorder>, clients: u32) -> anyhow::Result<()> {
    let next = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    for _ in 0..clients {
        let (target, recorder, next) = (Arc::clone(target), Arc::clone(recorder), Arc::clone(&next));
        tasks.spawn(async move {
            while Instant::now() < recorder.to {
                let began = Instant::now();
                let ended = target.order(next.fetch_add(1, Ordering::Relaxed)).await;
                let failed = ended.is_err();
                recorder.record(began, ended);
                if failed {
                    tokio::time::sleep(AFTER_ERROR).await;
                }
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended?;
    }
    Ok(())
}

/// Each order has its time, fixed beforehand, and is measured from it: a shop that stalls is not spared the orders that
/// would have come meanwhile (no coordinated omission).
async fn open(target: &Arc<Target>, recorder: &Arc<Recorder>, rate: f64) -> anyhow::Result<()> {
    let places = Arc::new(Semaphore::new(IN_FLIGHT_MAX));
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for n in 0.. {
        let scheduled = began + Duration::from_secs_f64(n as f64 / rate);
        if scheduled >= recorder.to {
            break;
        }
        tokio::time::sleep_until(scheduled.into()).await;
        match Arc::clone(&places).try_acquire_owned() {
            Ok(place) => {
                let (target, recorder) = (Arc::clone(target), Arc::clone(recorder));
                tasks.spawn(async move {
                    recorder.record(scheduled, target.order(n).await);
                    drop(place);
                });
            }
            Err(_) => recorder.record(scheduled, Err(format!("not sent: {IN_FLIGHT_MAX} in flight"))),
        }
        while let Some(ended) = tasks.try_join_next() {
            ended?;
        }
    }
    while let Some(ended) = tasks.join_next().await {
        ended?;
    }
    Ok(())
}

impl Target {
    /// Places the n-th order and follows it until it is confirmed. An error is a few words to count it under.
    async fn order(&self, n: usize) -> Result<Accepted, String> {
        let began = Instant::now();
        let customer = &self.customers[n % self.customers.len()];
        let product = self.products[n % self.products.len()];
        let order = NewOrder { lines: vec![(product, 1)], payment_method: "tok_ok" };
        let order = self.client.place(customer, &order).await.map_err(|error| format!("POST: {}", error.label()))?;
        let accepted = Instant::now();
        while began.elapsed() < END_MAX {
            let seen = self.client.order_once_ended(customer, order.id, WAIT).await;
            let seen = seen.map_err(|error| format!("GET: {}", error.label()))?;
            match seen.status {
                Status::Pending => {}
                Status::Confirmed => return Ok(accepted),
                Status::Cancelled => {
                    return Err(format!("cancelled: {}", seen.cancel_reason.unwrap_or_default()));
                }
            }
        }
        Err(format!("not ended after {} s", END_MAX.as_secs()))
    }
}
