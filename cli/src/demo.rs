//! `sagashop demo`: a mix of orders, each followed to its end; one order's story; and the audit.

mod follow;
mod live;
mod mix;
mod stage;
mod story;
mod tally;

use crate::args::{AuditArgs, DemoArgs, GlobalArgs, UpArgs};
use crate::client::{Client, Error};
use crate::exit::{Code, Failure};
use crate::output::{self, Format};
use crate::ports::Role;
use crate::running::Shop;
use crate::shop::asked_to_stop;
use follow::{Followed, Follower};
use live::Live;
use mix::Planned;
use stage::Stage;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use story::Scene;
use tally::Tally;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;

/// Every order has ended so long after the last was placed, or something is wrong.
const END_MAX: Duration = Duration::from_secs(60);
/// Orders that are on their way to the shop at once when a rate is asked for: an answer that is late delays no other.
const PLACING_AT_RATE_MAX: usize = 64;
/// Orders that are placed and not over.
const IN_FLIGHT_MAX: usize = 256;
/// A shop that is started again within this is waited for.
const AWAY_MAX: Duration = Duration::from_secs(15);
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Runs the demo.
///
/// # Errors
/// A sentence for people: no shop to be had, or it went away.
pub async fn demo(global: &GlobalArgs, args: &DemoArgs) -> anyhow::Result<Code> {
    let (mut shop, client) = Shop::find_or_start(global, &args.up).await?;
    let board = Arc::new(Board::new(args.up.payment.payment_success_rate < 1.0));
    let ended = tokio::select! {
        ended = run(global, args, &client, &board) => ended,
        how = gone(&mut shop, &client) => Err(Failure::new(Code::Unavailable, board.interrupted(&how)).into()),
        asked = asked_to_stop() => asked.map(|()| {
            eprintln!("{}", board.interrupted("interrupted"));
            Code::Interrupted
        }),
    };
    let stopped = shop.stop().await;
    let code = ended?;
    stopped?;
    Ok(code)
}

async fn run(global: &GlobalArgs, args: &DemoArgs, client: &Client, board: &Arc<Board>) -> anyhow::Result<Code> {
    let plan = mix::mix(args.orders as usize, args.seed);
    let last_items = mix::last_items(&plan);
    let stage = Stage::set(client, &global.data_dir, &plan).await?;
    let play = Arc::new(Play { client: client.clone(), stage, plan, board: Arc::clone(board) });
    let began = Instant::now();
    perform(&play, args.rate).await?;
    let took = began.elapsed();
    let all_fine = report(global.output, &play, last_items, took).await?;
    let audited = audit_after(global, &args.up).await?;
    Ok(if audited == Code::Done && !all_fine { Code::Violated } else { audited })
}

/// The one place where the demo has the promises checked.
async fn audit_after(global: &GlobalArgs, up: &UpArgs) -> anyhow::Result<Code> {
    let args = AuditArgs {
        database: up.database.clone(),
        servers: up.servers.clone(),
        provider: up.payment.provider.clone(),
        ..AuditArgs::default()
    };
    crate::audit::audit(global, &args).await
}

/// What the demo's tasks share.
struct Play {
    client: Client,
    stage: Stage,
    plan: Vec<Planned>,
    board: Arc<Board>,
}

/// How it stands.
struct Board {
    tally: Mutex<Tally>,
    sent: AtomicUsize,
    taken: AtomicUsize,
}

impl Board {
    fn new(payments_may_fail: bool) -> Self {
        let tally = Mutex::new(Tally::new(payments_may_fail));
        Self { tally, sent: AtomicUsize::new(0), taken: AtomicUsize::new(0) }
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sent(&self) -> usize {
        self.sent.load(Ordering::Relaxed)
    }

    /// What is known when it cannot go on.
    fn interrupted(&self, how: &str) -> String {
        let taken = self.taken.load(Ordering::Relaxed);
        let ended = self.tally().followed().iter().filter(|followed| followed.id.is_some()).count();
        format!(
            "{how}. {taken} orders had been acknowledged, {ended} of them had ended. None is lost: \
             start the shop with `sagashop up`, and `sagashop audit` checks them"
        )
    }
}

/// Places all orders, shows how it goes, and returns when each is over.
async fn perform(play: &Arc<Play>, rate: Option<f64>) -> anyhow::Result<()> {
    let live = Live::new(play.plan.len());
    let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + live.interval(), live.interval());
    let mut placing = pin!(place_all(play, rate));
    let done = loop {
        tokio::select! {
            done = &mut placing => break done,
            _ = ticks.tick() => live.show(&play.board.tally(), play.board.sent()),
        }
    };
    live.finish(&play.board.tally(), play.board.sent());
    done
}

async fn place_all(play: &Arc<Play>, rate: Option<f64>) -> anyhow::Result<()> {
    let (over, deadline) = watch::channel(None);
    let placing = Arc::new(Semaphore::new(if rate.is_some() { PLACING_AT_RATE_MAX } else { stage::CUSTOMERS }));
    let flying = Arc::new(Semaphore::new(IN_FLIGHT_MAX));
    let began = tokio::time::Instant::now();
    let mut orders = JoinSet::new();
    for n in 0..play.plan.len() {
        if let Some(rate) = rate {
            tokio::time::sleep_until(began + Duration::from_secs_f64(n as f64 / rate)).await;
        }
        let places = (Arc::clone(&flying).acquire_owned().await?, Arc::clone(&placing).acquire_owned().await?);
        orders.spawn(place_one(Arc::clone(play), n, deadline.clone(), places));
        while let Some(ended) = orders.try_join_next() {
            ended?;
        }
    }
    over.send_replace(Some(Instant::now() + END_MAX));
    while let Some(ended) = orders.join_next().await {
        ended?;
    }
    Ok(())
}

async fn place_one(
    play: Arc<Play>,
    n: usize,
    deadline: follow::Deadline,
    (_flying, placing): (OwnedSemaphorePermit, OwnedSemaphorePermit),
) {
    let (planned, board) = (&play.plan[n], &play.board);
    let follower = Follower { client: &play.client, customer: play.stage.customer(n), deadline };
    board.sent.fetch_add(1, Ordering::Relaxed);
    let began = Instant::now();
    let placed = follower.place(&play.stage.order(planned)).await;
    drop(placing);
    let (id, outcome, ended) = match placed {
        Ok(order) => {
            board.taken.fetch_add(1, Ordering::Relaxed);
            let (outcome, ended) = follower.follow(planned.kind, order.id).await;
            (Some(order.id), outcome, ended)
        }
        Err(outcome) => (None, outcome, Instant::now()),
    };
    board.tally().add(Followed { kind: planned.kind, n, id, outcome, took: ended - began });
}

/// Ends when the shop is gone for good, with a sentence about it.
async fn gone(shop: &mut Shop, client: &Client) -> String {
    tokio::select! {
        how = shop.ended() => how,
        () = silent(client) => format!(
            "the shop at {} has not answered for {} s",
            client.address(Role::Order),
            AWAY_MAX.as_secs()
        ),
    }
}

/// Ends when nobody has listened for [`AWAY_MAX`].
async fn silent(client: &Client) {
    let mut heard = Instant::now();
    while heard.elapsed() < AWAY_MAX {
        if !matches!(client.health(Role::Order).await, Err(Error::Away(_) | Error::Unreachable(_))) {
            heard = Instant::now();
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Prints what came of the orders and one order's story. Whether all ended as they should is told.
async fn report(format: Format, play: &Play, last_items: u32, took: Duration) -> anyhow::Result<bool> {
    let (lines, told, over, p50) = {
        let tally = play.board.tally();
        (tally.lines(last_items), story::choose(tally.followed()).cloned(), tally.over(), tally.p50())
    };
    let scenes = match told.as_ref().and_then(|told| Some((told, told.id?))) {
        Some((told, id)) => story::tell(&play.client, &play.stage.admin, play.stage.customer(told.n), id).await?,
        None => Vec::new(),
    };
    if format == Format::Table {
        output::rows(format, &lines)?;
        let (seconds, p50_ms) = (took.as_secs_f64(), p50.as_secs_f64() * 1_000.0);
        let rate = over as f64 / seconds.max(0.001);
        output::text(&format!(
            "\n{over} orders in {seconds:.1} s: {rate:.0} a second, half of them within {p50_ms:.0} ms"
        ))?;
        print_story(told.as_ref(), &scenes)?;
    } else {
        let (took_ms, p50_us) = (took.as_millis() as u64, p50.as_micros() as u64);
        let order = told.and_then(|told| told.id);
        let story = serde_json::json!({ "order_id": order, "scenes": scenes });
        let all = serde_json::json!({ "orders": lines, "took_ms": took_ms, "p50_us": p50_us, "story": story });
        output::text(&all.to_string())?;
    }
    Ok(lines.iter().all(|line| line.unexpected.is_empty()))
}

fn print_story(told: Option<&Followed>, scenes: &[Scene]) -> anyhow::Result<()> {
    if let Some((kind, id)) = told.and_then(|told| Some((told.kind, told.id?))) {
        output::text(&format!("\nThe story of order {id} ({}):\n", kind.title()))?;
        output::rows(Format::Table, scenes)?;
        output::text("")?;
    }
    Ok(())
}
