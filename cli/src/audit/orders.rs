//! Orders across the services: each ends, and money and stock are where its end says.
//!
//! The services' databases have no common moment. The sagas are looked at first: one that is over then has had all its
//! answers, so what the others show afterwards is final, unless the saga has moved on since. Whatever looks wrong is
//! therefore looked at again: it is a violation if the saga has not moved.

use super::facts::{Facts, Part};
use super::report::Tally;
use super::snapshot::connect;
use super::spill::PARTS;
use super::subjects::{OrderFacts, PaymentFacts, SagaFacts, Share};
use crate::ports::Role;
use crate::postgres::Server;
use chrono::{DateTime, TimeDelta, Utc};
use cqrs_es::Aggregate;
use domain::order::OrderStatus;
use kernel::{Currency, Money};
use orchestrator::saga::order_fulfilment::{OrderFulfilment, State};
use sqlx::Connection;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};
use uuid::Uuid;

/// A timer may fire so late: after a restart there is a backlog.
const DEADLINE_GRACE: TimeDelta = TimeDelta::seconds(60);
/// An order's saga has begun by then, whatever was down for a while.
const BEGINS_WITHIN: TimeDelta = TimeDelta::minutes(5);
/// What looks wrong has this long to move on.
const MOVES_WITHIN: Duration = Duration::from_secs(4);
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// More that looks wrong is not looked at again.
const SUSPECTS_MAX: usize = 100_000;

/// The books of all stores, or why some of them could not be read.
pub(super) struct Books<'a> {
    /// When the sagas were looked at.
    pub(super) at: Option<DateTime<Utc>>,
    pub(super) facts: &'a Facts,
    /// Whose store could be read.
    pub(super) read: &'a [Role],
    pub(super) unread: &'a str,
}

/// The checks across services.
#[derive(Default)]
pub(super) struct Crossed {
    pub(super) ends: Tally,
    pub(super) money: Tally,
    pub(super) stock: Tally,
    pub(super) charged_once: Tally,
}

impl Crossed {
    fn unchecked(reason: &str) -> Self {
        let tally = || Tally::unchecked(reason);
        Self { ends: tally(), money: tally(), stock: tally(), charged_once: Tally::default() }
    }

    fn of(&mut self, what: What) -> &mut Tally {
        match what {
            What::Ends => &mut self.ends,
            What::Money => &mut self.money,
            What::Stock => &mut self.stock,
        }
    }
}

#[derive(Clone, Copy)]
enum What {
    Ends,
    Money,
    Stock,
}

/// Something that is not as it must be, unless the order is just moving.
struct Suspect {
    order: Uuid,
    what: What,
    how: String,
    /// The saga's last event.
    sequence: u64,
}

impl Suspect {
    fn new(order: Uuid, what: What, how: String) -> Self {
        Self { order, what, how, sequence: 0 }
    }
}

/// Compares the books, a part of the orders after the other.
pub(super) async fn compare(server: &Server, books: &Books<'_>) -> Crossed {
    let has = |role| books.read.contains(&role);
    let (Some(at), true, true) = (books.at, has(Role::Orchestrator), has(Role::Order)) else {
        return Crossed::unchecked(books.unread);
    };
    let mut comparison = Comparison::default();
    for number in 0..PARTS {
        match books.facts.part(number) {
            Ok(part) => comparison.part(at, &part, has(Role::Payment), has(Role::Product)),
            Err(error) => return Crossed::unchecked(&format!("{error:#}")),
        }
    }
    if !has(Role::Payment) {
        comparison.crossed.money.could_not(books.unread);
    }
    if !has(Role::Product) {
        comparison.crossed.stock.could_not(books.unread);
    }
    match comparison.finish(server).await {
        Ok(crossed) => crossed,
        Err(error) => Crossed::unchecked(&format!("{error:#}")),
    }
}

/// What was compared so far.
#[derive(Default)]
struct Comparison {
    crossed: Crossed,
    suspects: Vec<Suspect>,
    /// By currency, of the orders that are over and not suspect.
    totals: BTreeMap<Currency, Totals>,
    /// The same of those that are suspect, by order.
    doubtful: HashMap<Uuid, (Currency, Totals)>,
    over: u64,
    open: usize,
    stuck: usize,
    paused: usize,
}

impl Comparison {
    fn part(&mut self, at: DateTime<Utc>, part: &Part, has_money: bool, has_stock: bool) {
        let mut suspects = ends(at, &part.sagas, &part.orders);
        self.crossed.ends.checked(part.orders.len() as u64);
        let settled = Settled::of(&part.sagas, &part.orders);
        if has_money {
            suspects.extend(settled.money(&part.payments));
            for (order, first, second) in &part.paid_twice {
                self.crossed.charged_once.violated(|| format!("order {order}: has payments {first} and {second}"));
            }
        }
        if has_stock {
            suspects.extend(settled.stock(&part.sagas, &part.shares));
        }
        if has_money {
            let orders: HashSet<Uuid> = suspects.iter().map(|suspect| suspect.order).collect();
            settled.totals(&part.payments, |id, currency, totals| {
                if orders.contains(&id) {
                    self.doubtful.insert(id, (currency, totals));
                } else {
                    self.totals.entry(currency).or_default().add(totals);
                }
            });
        }
        self.over += settled.0.len() as u64;
        self.open += part.sagas.values().filter(|saga| !saga.state.is_over()).count();
        let are = |state| part.sagas.values().filter(|saga| saga.state == state).count();
        self.stuck += are(State::Stuck);
        self.paused += are(State::Paused);
        for suspect in suspects {
            if self.suspects.len() < SUSPECTS_MAX {
                self.suspects.push(Suspect {
                    sequence: part.sagas.get(&suspect.order).map_or(0, |saga| saga.sequence),
                    ..suspect
                });
            } else {
                // So many orders do not just move.
                let Suspect { order, what, how, .. } = suspect;
                self.crossed.of(what).violated(|| format!("order {order}: {how}"));
            }
        }
    }

    async fn finish(mut self, server: &Server) -> anyhow::Result<Crossed> {
        let moved = moved(server, &self.suspects).await?;
        for Suspect { order, what, how, .. } in self.suspects.into_iter().filter(|s| !moved.contains(&s.order)) {
            self.crossed.of(what).violated(|| format!("order {order}: {how}"));
        }
        for (order, (currency, totals)) in self.doubtful {
            if !moved.contains(&order) {
                self.totals.entry(currency).or_default().add(totals);
            }
        }
        let Self { mut crossed, totals, over, open, stuck, paused, .. } = self;
        crossed.money.checked(over);
        crossed.stock.checked(over);
        crossed.ends.note(format!("{over} are over, {open} sagas are open, {stuck} of them stuck, {paused} paused"));
        told(totals, &mut crossed.money);
        Ok(crossed)
    }
}

/// Every order ends, in time and in one way.
fn ends(at: DateTime<Utc>, sagas: &HashMap<Uuid, SagaFacts>, orders: &HashMap<Uuid, OrderFacts>) -> Vec<Suspect> {
    let mut suspects = Vec::new();
    let mut suspect = |order: Uuid, how: String| suspects.push(Suspect::new(order, What::Ends, how));
    for (id, order) in orders {
        let status = order.status.as_str();
        if order.was_both {
            suspect(*id, "confirmed after it was cancelled".to_owned());
        }
        match sagas.get(id) {
            None if order.status != OrderStatus::Pending => suspect(*id, format!("{status} without a saga")),
            None if at - order.placed_at > BEGINS_WITHIN => {
                suspect(*id, format!("pending since {} without a saga", order.placed_at.to_rfc3339()));
            }
            Some(saga) if saga.state.is_over() && ended(saga) != order.status => {
                suspect(*id, format!("{status}, and its saga is {}", saga.state));
            }
            _ => {}
        }
    }
    for (id, saga) in sagas {
        let overdue = saga.deadline.filter(|deadline| at - *deadline > DEADLINE_GRACE);
        let is_waiting = !saga.state.is_over() && !matches!(saga.state, State::Stuck | State::Paused);
        match overdue {
            _ if !orders.contains_key(id) => suspect(*id, "has a saga and no events".to_owned()),
            Some(deadline) if is_waiting => {
                suspect(*id, format!("its saga is {} beyond its deadline {}", saga.state, deadline.to_rfc3339()));
            }
            None if is_waiting && saga.deadline.is_none() => {
                suspect(*id, format!("its saga is {} and waits for nothing", saga.state));
            }
            _ => {}
        }
    }
    suspects
}

/// How the order of a saga that is over must have ended.
fn ended(saga: &SagaFacts) -> OrderStatus {
    if saga.state == State::Completed { OrderStatus::Confirmed } else { OrderStatus::Cancelled }
}

/// The orders whose saga is over.
struct Settled<'a>(Vec<(Uuid, &'a SagaFacts, &'a OrderFacts)>);

impl<'a> Settled<'a> {
    fn of(sagas: &'a HashMap<Uuid, SagaFacts>, orders: &'a HashMap<Uuid, OrderFacts>) -> Self {
        let over = sagas.iter().filter(|(_, saga)| saga.state.is_over());
        Self(over.filter_map(|(id, saga)| Some((*id, saga, orders.get(id)?))).collect())
    }

    /// A confirmed order is paid, whole and once; any other costs nothing.
    fn money(&self, payments: &HashMap<Uuid, PaymentFacts>) -> Vec<Suspect> {
        let mut suspects = Vec::new();
        for (id, saga, order) in &self.0 {
            let due = due(order);
            let (net, ledger) = moved_money(payments.get(id), due.currency);
            if net == due && ledger == due {
                continue;
            }
            let how = format!(
                "{}, captured − refunded is {net}, in the provider's book {ledger}, and {due} is due{}",
                order.status.as_str(),
                skipped(saga)
            );
            suspects.push(Suspect::new(*id, What::Money, how));
        }
        suspects
    }

    /// A confirmed order has bought its lines; nothing is held for an order that is over.
    fn stock(&self, sagas: &HashMap<Uuid, SagaFacts>, shares: &HashMap<Uuid, Vec<Share>>) -> Vec<Suspect> {
        let mut suspects = Vec::new();
        let mut suspect = |order: Uuid, how: String| suspects.push(Suspect::new(order, What::Stock, how));
        for (id, saga, order) in &self.0 {
            let bought: BTreeMap<Uuid, i64> = match order.status {
                OrderStatus::Confirmed => order.lines.iter().copied().collect(),
                OrderStatus::Pending | OrderStatus::Cancelled => BTreeMap::new(),
            };
            let shares = shares.get(id).map(Vec::as_slice).unwrap_or_default();
            let has = |product: Uuid| shares.iter().find(|share| share.product == product);
            for share in shares {
                let due = bought.get(&share.product).copied().unwrap_or(0);
                if (share.held, share.sold) != (0, due) {
                    let (product, held, sold) = (share.product, share.held, share.sold);
                    let status = order.status.as_str();
                    let how = format!("{status}, of product {product} {held} held, {sold} sold, {due} ordered");
                    suspect(*id, how + skipped(saga));
                }
            }
            for (product, due) in bought.iter().filter(|(product, _)| has(**product).is_none()) {
                suspect(*id, format!("confirmed, of product {product} none sold, {due} ordered{}", skipped(saga)));
            }
        }
        let strangers = shares.iter().filter(|(id, _)| !sagas.contains_key(id));
        for (id, shares) in strangers {
            for share in shares.iter().filter(|share| (share.held, share.sold) != (0, 0)) {
                let Share { product, held, sold } = share;
                suspect(*id, format!("has no saga, and of product {product} {held} held, {sold} sold"));
            }
        }
        suspects
    }

    /// What is due for each order, and what moved.
    fn totals(&self, payments: &HashMap<Uuid, PaymentFacts>, mut with: impl FnMut(Uuid, Currency, Totals)) {
        for (id, _, order) in &self.0 {
            let due = due(order);
            let (net, ledger) = moved_money(payments.get(id), due.currency);
            let totals = [due, net, ledger].map(|money| i128::from(money.minor));
            with(*id, due.currency, Totals { due: totals[0], net: totals[1], ledger: totals[2] });
        }
    }
}

/// The same over all orders.
fn told(totals: BTreeMap<Currency, Totals>, tally: &mut Tally) {
    for (currency, Totals { due, net, ledger }) in totals {
        let money = |minor: i128| Money::new(i64::try_from(minor).unwrap_or(i64::MAX), currency).to_string();
        tally.checked(1);
        if (net, ledger) != (due, due) {
            tally.violated(|| {
                let (due, net, ledger) = (money(due), money(net), money(ledger));
                format!("in total: captured − refunded is {net}, in the provider's book {ledger}, and {due} is due")
            });
        } else {
            tally.note(format!("captured − refunded = confirmed = {} in total", money(due)));
        }
    }
}

#[derive(Clone, Copy, Default)]
struct Totals {
    due: i128,
    net: i128,
    ledger: i128,
}

impl Totals {
    fn add(&mut self, other: Self) {
        self.due += other.due;
        self.net += other.net;
        self.ledger += other.ledger;
    }
}

fn due(order: &OrderFacts) -> Money {
    match order.status {
        OrderStatus::Confirmed => order.total,
        OrderStatus::Pending | OrderStatus::Cancelled => Money::zero(order.total.currency),
    }
}

/// What moved by the payment's events, and by the provider's book.
fn moved_money(payment: Option<&PaymentFacts>, currency: Currency) -> (Money, Money) {
    let none = Money::zero(currency);
    payment.map_or((none, none), |payment| {
        // Nothing of another currency is nothing of ours.
        let money = |minor| if minor == 0 { none } else { Money::new(minor, payment.currency) };
        (money(payment.net_minor), money(payment.ledger_minor))
    })
}

fn skipped(saga: &SagaFacts) -> &'static str {
    if saga.was_skipped { " (an operator skipped a step)" } else { "" }
}

/// Those of the suspects whose saga has gone on since it was looked at.
async fn moved(server: &Server, suspects: &[Suspect]) -> anyhow::Result<HashSet<Uuid>> {
    let mut still: HashMap<Uuid, u64> = suspects.iter().map(|suspect| (suspect.order, suspect.sequence)).collect();
    let mut moved = HashSet::new();
    if still.is_empty() {
        return Ok(moved);
    }
    let mut connection = connect(server, Role::Orchestrator.database()).await?;
    let deadline = Instant::now() + MOVES_WITHIN;
    loop {
        let ids: Vec<String> = still.keys().map(Uuid::to_string).collect();
        let query = "SELECT aggregate_id, max(sequence) FROM events
                      WHERE aggregate_type = $1 AND aggregate_id = ANY($2) GROUP BY aggregate_id";
        let now: Vec<(String, i64)> =
            sqlx::query_as(query).bind(OrderFulfilment::TYPE).bind(&ids).fetch_all(&mut connection).await?;
        for (id, sequence) in now {
            let id: Uuid = id.parse()?;
            let then = still.get(&id).copied().unwrap_or(u64::MAX);
            if u64::try_from(sequence)? > then {
                still.remove(&id);
                moved.insert(id);
            }
        }
        if still.is_empty() || Instant::now() > deadline {
            break;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    // Nothing more is asked of it.
    let _ = connection.close().await;
    Ok(moved)
}
