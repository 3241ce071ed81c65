//! Orders across the services: each ends, and money and stock are where its end says.
//!
//! The services' databases have no common moment. The sagas are looked at first: one that is over then has had all its
//! answers, so what the others show afterwards is final, unless the saga has moved on since. Whatever looks wrong is
//! therefore looked at again: it is a violation if the saga has not moved.

use super::report::Tally;
use super::snapshot::connect;
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

/// What the four stores say of orders, by order; nothing of a store that could not be read.
pub(super) struct Books {
    /// When the sagas were looked at.
    pub(super) at: Option<DateTime<Utc>>,
    pub(super) sagas: Option<HashMap<Uuid, SagaFacts>>,
    pub(super) orders: Option<HashMap<Uuid, OrderFacts>>,
    pub(super) payments: Option<HashMap<Uuid, PaymentFacts>>,
    pub(super) shares: Option<HashMap<Uuid, Vec<Share>>>,
}

/// The checks across services.
#[derive(Default)]
pub(super) struct Crossed {
    pub(super) ends: Tally,
    pub(super) money: Tally,
    pub(super) stock: Tally,
}

impl Crossed {
    fn unchecked(reason: &str) -> Self {
        let tally = || Tally::unchecked(reason);
        Self { ends: tally(), money: tally(), stock: tally() }
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
}

/// Compares the books.
pub(super) async fn compare(server: &Server, books: &Books, unread: &str) -> Crossed {
    let (Some(at), Some(sagas), Some(orders)) = (books.at, &books.sagas, &books.orders) else {
        return Crossed::unchecked(unread);
    };
    let mut crossed = Crossed::default();
    let mut suspects = ends(at, sagas, orders);
    crossed.ends.checked(orders.len() as u64);
    let settled = Settled::of(sagas, orders);
    match &books.payments {
        Some(payments) => suspects.extend(settled.money(payments)),
        None => crossed.money.could_not(unread),
    }
    match &books.shares {
        Some(shares) => suspects.extend(settled.stock(sagas, shares)),
        None => crossed.stock.could_not(unread),
    }
    let moved = match moved(server, sagas, &suspects).await {
        Ok(moved) => moved,
        Err(error) => return Crossed::unchecked(&format!("{error:#}")),
    };
    for Suspect { order, what, how } in suspects.into_iter().filter(|suspect| !moved.contains(&suspect.order)) {
        crossed.of(what).violated(|| format!("order {order}: {how}"));
    }
    let over = settled.0.len() as u64;
    crossed.money.checked(over);
    crossed.stock.checked(over);
    let open = sagas.values().filter(|saga| !saga.state.is_over()).count();
    let stuck = sagas.values().filter(|saga| saga.state == State::Stuck).count();
    crossed.ends.note(format!("{over} are over, {open} sagas are open, {stuck} of them stuck"));
    if let Some(payments) = &books.payments {
        settled.totals(payments, &moved, &mut crossed.money);
    }
    crossed
}

/// Every order ends, in time and in one way.
fn ends(at: DateTime<Utc>, sagas: &HashMap<Uuid, SagaFacts>, orders: &HashMap<Uuid, OrderFacts>) -> Vec<Suspect> {
    let mut suspects = Vec::new();
    let mut suspect = |order: Uuid, how: String| suspects.push(Suspect { order, what: What::Ends, how });
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
        let is_waiting = !saga.state.is_over() && saga.state != State::Stuck;
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
            suspects.push(Suspect { order: *id, what: What::Money, how });
        }
        suspects
    }

    /// A confirmed order has bought its lines; nothing is held for an order that is over.
    fn stock(&self, sagas: &HashMap<Uuid, SagaFacts>, shares: &HashMap<Uuid, Vec<Share>>) -> Vec<Suspect> {
        let mut suspects = Vec::new();
        let mut suspect = |order: Uuid, how: String| suspects.push(Suspect { order, what: What::Stock, how });
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

    /// The same over all orders, and over all payments whosever they are.
    fn totals(&self, payments: &HashMap<Uuid, PaymentFacts>, moved: &HashSet<Uuid>, tally: &mut Tally) {
        let mut totals: BTreeMap<Currency, Totals> = BTreeMap::new();
        for (id, _, order) in self.0.iter().filter(|(id, ..)| !moved.contains(id)) {
            let due = due(order);
            let total = totals.entry(due.currency).or_default();
            let (net, ledger) = moved_money(payments.get(id), due.currency);
            total.due += i128::from(due.minor);
            total.net += i128::from(net.minor);
            total.ledger += i128::from(ledger.minor);
        }
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
}

#[derive(Default)]
struct Totals {
    due: i128,
    net: i128,
    ledger: i128,
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
async fn moved(
    server: &Server,
    sagas: &HashMap<Uuid, SagaFacts>,
    suspects: &[Suspect],
) -> anyhow::Result<HashSet<Uuid>> {
    let mut still: HashSet<Uuid> = suspects.iter().map(|suspect| suspect.order).collect();
    let mut moved = HashSet::new();
    if still.is_empty() {
        return Ok(moved);
    }
    let mut connection = connect(server, Role::Orchestrator.database()).await?;
    let deadline = Instant::now() + MOVES_WITHIN;
    loop {
        let ids: Vec<String> = still.iter().map(Uuid::to_string).collect();
        let query = "SELECT aggregate_id, max(sequence) FROM events
                      WHERE aggregate_type = $1 AND aggregate_id = ANY($2) GROUP BY aggregate_id";
        let now: Vec<(String, i64)> =
            sqlx::query_as(query).bind(OrderFulfilment::TYPE).bind(&ids).fetch_all(&mut connection).await?;
        for (id, sequence) in now {
            let id: Uuid = id.parse()?;
            let then = sagas.get(&id).map_or(0, |saga| saga.sequence);
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
