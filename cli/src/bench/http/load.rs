//! Load: clients on one thread of their own, each with a connection of its own.

use super::connection::Connection;
use anyhow::Context;
use futures::future::join_all;
use hdrhistogram::Histogram;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use tokio::task::LocalSet;

/// The longest time that is told exactly.
const LONGEST_US: u64 = 60_000_000;
/// A client that met an error does not turn it into a storm.
const AFTER_ERROR: Duration = Duration::from_millis(20);
/// Timers are late by a millisecond or two, and so is a thread on a busy machine.
const CATCH_UP_MAX: Duration = Duration::from_millis(50);

/// What one client sends, again and again in this order.
pub(super) type Requests = Vec<Vec<u8>>;

/// What comes at one address.
pub(super) struct Load {
    pub(super) address: SocketAddr,
    pub(super) clients: Vec<Requests>,
    /// The status of an answer that counts; others are errors.
    pub(super) good: u16,
    /// So many requests a second of all clients together, as far as they come to it; none: as fast as answers come.
    pub(super) per_s: Option<f64>,
}

/// When to send, and what of it counts.
#[derive(Clone, Copy)]
pub(super) struct Window {
    pub(super) from: Instant,
    pub(super) to: Instant,
}

/// What was answered in the window.
pub(super) struct Answers {
    /// Times of the good ones, in µs.
    pub(super) latency: Histogram<u64>,
    /// The others: by status, or in the words of the error.
    pub(super) others: BTreeMap<String, u64>,
}

impl Window {
    /// Begins after the warm-up.
    pub(super) fn after(warm_up: Duration, duration: Duration) -> Self {
        let from = Instant::now() + warm_up;
        Self { from, to: from + duration }
    }

    pub(super) fn seconds(self) -> f64 {
        (self.to - self.from).as_secs_f64()
    }
}

impl Answers {
    fn new() -> Self {
        let latency = Histogram::new_with_bounds(1, LONGEST_US, 3).expect("these bounds are allowed");
        Self { latency, others: BTreeMap::new() }
    }

    /// How many others had this status.
    pub(super) fn with_status(&self, status: u16) -> u64 {
        self.others.get(&status.to_string()).copied().unwrap_or_default()
    }

    pub(super) fn others_total(&self) -> u64 {
        self.others.values().sum()
    }

    fn record(&mut self, window: Window, good: u16, began: Instant, answer: std::io::Result<u16>) {
        let now = Instant::now();
        if !(window.from..window.to).contains(&now) {
            return;
        }
        match answer {
            Ok(status) if status == good => {
                self.latency.saturating_record(u64::try_from((now - began).as_micros()).unwrap_or(u64::MAX));
            }
            Ok(status) => *self.others.entry(status.to_string()).or_default() += 1,
            Err(error) => *self.others.entry(error.to_string()).or_default() += 1,
        }
    }
}

impl Load {
    /// Sends until the window closes. Dropped, it goes on until then, and nobody hears of it.
    pub(super) async fn run(self, window: Window) -> anyhow::Result<Answers> {
        let (tell, told) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.context("no runtime for the load")?;
        let run = move || {
            let answers = runtime.block_on(LocalSet::new().run_until(self.send(window)));
            // Nobody waits any more after Ctrl-C.
            let _ = tell.send(answers);
        };
        std::thread::Builder::new().name("load".to_owned()).spawn(run).context("no thread for the load")?;
        told.await.context("the load ended by itself")
    }

    async fn send(self, window: Window) -> Answers {
        let Self { address, clients, good, per_s } = self;
        let answers = Rc::new(RefCell::new(Answers::new()));
        let pace = Rc::new(Pace::new(per_s));
        let clients = clients.into_iter().map(|requests| {
            let (answers, pace) = (Rc::clone(&answers), Rc::clone(&pace));
            tokio::task::spawn_local(async move { client(address, requests, good, window, &answers, &pace).await })
        });
        join_all(clients).await;
        answers.replace(Answers::new())
    }
}

/// When the next request is due.
struct Pace {
    period: Option<Duration>,
    next: Cell<Instant>,
}

impl Pace {
    fn new(per_s: Option<f64>) -> Self {
        Self { period: per_s.map(|per_s| Duration::from_secs_f64(1.0 / per_s)), next: Cell::new(Instant::now()) }
    }

    async fn next(&self) {
        let Some(period) = self.period else { return };
        let now = Instant::now();
        // What was missed for longer, because every client waits for an answer, is not made up for.
        let due = self.next.get().max(now.checked_sub(CATCH_UP_MAX).unwrap_or(now));
        self.next.set(due + period);
        if due > now {
            tokio::time::sleep_until(due.into()).await;
        }
    }
}

async fn client(
    address: SocketAddr,
    requests: Requests,
    good: u16,
    window: Window,
    answers: &RefCell<Answers>,
    pace: &Pace,
) {
    let mut connection = Connection::new(address);
    for request in requests.iter().cycle() {
        pace.next().await;
        let began = Instant::now();
        if began >= window.to {
            return;
        }
        let answer = connection.exchange(request).await;
        let failed = answer.is_err();
        answers.borrow_mut().record(window, good, began, answer);
        if failed {
            tokio::time::sleep(AFTER_ERROR).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_answers_in_the_window_count_and_others_by_their_kind() {
        let now = Instant::now();
        let (open, over) = (
            Window { from: now, to: now + Duration::from_secs(60) },
            Window { from: now - Duration::from_secs(2), to: now },
        );
        let mut answers = Answers::new();
        answers.record(open, 200, now, Ok(200));
        answers.record(over, 200, now, Ok(200));
        answers.record(open, 200, now, Ok(503));
        answers.record(open, 200, now, Ok(503));
        answers.record(open, 200, now, Err(std::io::ErrorKind::UnexpectedEof.into()));
        assert_eq!(answers.latency.len(), 1);
        assert_eq!((answers.with_status(503), answers.others_total()), (2, 3));
    }
}
