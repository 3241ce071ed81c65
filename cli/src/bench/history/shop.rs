//! A shop at work, in memory and in a time of its own: the services' own rules, each deciding on what the others have
//! published, one thing after the other.

mod people;
mod services;

use super::clock::HandClock;
use super::mix::Dice;
use super::rows::Batch;
use super::streams::{Decided, Streams};
use crate::ports::Role;
use cqrs_es::Aggregate;
use domain::notification::Notification;
use domain::order::Order;
use domain::payment::Payment;
use domain::product::Product;
use domain::stock::Stock;
use event_store::chain::{Hash, genesis};
use event_store::{Append, Cursor, Metadata, RecordedEvent};
use kernel::{Money, OrderId, ProductId, UserId};
use orchestrator::saga::order_fulfilment::OrderFulfilment;
use payment_service::Job;
use runtime::consumer::Follows;
use runtime::message::to_record;
use runtime::{Message, Publish};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::sync::Arc;
use user_service::Enrolment;

/// Microseconds: a message is handled so long after it was published, a mail sent after it was queued.
const HANDLED_AFTER: i64 = 2_000;
const SENT_AFTER: i64 = 5_000;
/// What the payment provider takes, usually.
const ANSWERED_AFTER: i64 = 80_000;
const SECOND: i64 = 1_000_000;
const HOUR: i64 = 3_600 * SECOND;
/// An order that nothing more is done with is over by then.
const OVER_AFTER: i64 = 60 * SECOND;

const STOCK: i64 = 5_000;
/// Below this more is ordered, which comes after a while.
const STOCK_LOW: i64 = 1_000;
const RESTOCKED_AFTER: i64 = 600 * SECOND;

/// Who handles the messages.
const CONSUMERS: [(Role, &Follows); 5] = [
    (Role::Product, &product_service::FOLLOWS),
    (Role::Order, &order_service::FOLLOWS),
    (Role::Payment, &payment_service::FOLLOWS),
    (Role::Notification, &notification_service::FOLLOWS),
    (Role::Orchestrator, &orchestrator::FOLLOWS),
];

/// What will happen.
enum What {
    Launch(usize),
    Register(u64),
    Place(u64),
    Cancel(OrderId, UserId),
    Deliver(Role, &'static str, Arc<Message>),
    Answer(Box<Job>, Box<Metadata>),
    Send(String, Arc<Message>),
    Restock(ProductId),
    Forget(OrderId),
}

/// Something that will happen; of two at the same time the one that was foreseen first.
struct Due {
    at: i64,
    number: u64,
    what: What,
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (Reverse(self.at), Reverse(self.number)).cmp(&(Reverse(other.at), Reverse(other.number)))
    }
}

/// When orders are placed, and how many.
#[derive(Clone, Copy)]
pub(super) struct Plan {
    pub(super) orders: u64,
    pub(super) customers: u64,
    /// Microseconds since the Unix epoch: the shop opens, and nothing happens any more.
    pub(super) from: i64,
    pub(super) until: i64,
}

/// How orders ended.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ended {
    pub(super) confirmed: u64,
    pub(super) cancelled: u64,
}

/// The shop.
pub(super) struct Shop {
    plan: Plan,
    clock: Arc<HandClock>,
    dice: Dice,
    due: BinaryHeap<Due>,
    foreseen: u64,
    enrolment: Enrolment,
    customers: Vec<UserId>,
    prices: Vec<(ProductId, Money)>,
    products: Streams<Product>,
    pub(super) stocks: Streams<Stock>,
    /// Products that more was ordered of.
    ordered: HashSet<ProductId>,
    orders: Streams<Order>,
    sagas: Streams<OrderFulfilment>,
    payments: Streams<Payment>,
    notifications: Streams<Notification>,
    mailing: notification_service::Customers,
    /// The last hash of each stream that may go on, where events are chained.
    heads: Option<HashMap<(&'static str, String), Hash>>,
    pub(super) batch: Batch,
    pub(super) ended: Ended,
}

impl Shop {
    /// One that has not opened.
    pub(super) fn new(plan: Plan, seed: u64, enrolment: Enrolment, batch: Batch, is_chained: bool) -> Self {
        let at = chrono::DateTime::from_timestamp_micros(plan.from).unwrap_or_default();
        let mut shop = Self {
            plan,
            clock: Arc::new(HandClock::new(at, seed)),
            dice: Dice::new(seed.wrapping_add(1)),
            due: BinaryHeap::new(),
            foreseen: 0,
            enrolment,
            customers: Vec::new(),
            prices: Vec::new(),
            products: Streams::default(),
            stocks: Streams::default(),
            ordered: HashSet::new(),
            orders: Streams::default(),
            sagas: Streams::default(),
            payments: Streams::default(),
            notifications: Streams::default(),
            mailing: notification_service::Customers::of_the_log(),
            heads: is_chained.then(HashMap::new),
            batch,
            ended: Ended::default(),
        };
        shop.later(0, What::Launch(0));
        shop.later(SECOND, What::Register(0));
        shop
    }

    /// Lets the next thing happen; false when there is none.
    ///
    /// # Errors
    /// A rule is broken: the history would be none.
    pub(super) fn step(&mut self) -> anyhow::Result<bool> {
        let Some(Due { at, what, .. }) = self.due.pop() else { return Ok(false) };
        self.clock.put_on(at);
        match what {
            What::Launch(n) => self.launch(n)?,
            What::Register(n) => self.register(n)?,
            What::Place(n) => self.place(n)?,
            What::Cancel(order, user) => self.cancel(order, user)?,
            What::Deliver(role, consumer, message) => self.deliver(role, consumer, &message)?,
            What::Answer(job, asked) => self.answer(&job, &asked)?,
            What::Send(id, message) => self.send(&id, &message)?,
            What::Restock(product) => self.restock(product)?,
            What::Forget(order) => self.forget(order)?,
        }
        Ok(true)
    }

    fn later(&mut self, micros: i64, what: What) {
        self.at(self.clock.micros() + micros, what);
    }

    fn at(&mut self, at: i64, what: What) {
        self.foreseen += 1;
        self.due.push(Due { at, number: self.foreseen, what });
    }

    fn recorded<A: Aggregate>(&mut self, role: Role, decided: Option<Decided<A>>) -> anyhow::Result<Option<()>> {
        decided.map(|decided| self.record(role, decided.append)).transpose()
    }

    fn record(&mut self, role: Role, append: Append) -> anyhow::Result<()> {
        let Append { stream, expected, events } = append;
        for (new, sequence) in events.into_iter().zip(expected + 1..) {
            let mut event = RecordedEvent {
                aggregate_type: stream.aggregate_type.to_owned(),
                aggregate_id: stream.aggregate_id.clone(),
                sequence,
                event_type: new.event_type,
                event_version: new.event_version,
                payload: new.payload,
                recorded_at: new.metadata.recorded_at,
                metadata: new.metadata,
                // The database gives it one.
                cursor: Cursor::default(),
            };
            if let Some(heads) = &mut self.heads {
                let head = heads.entry((stream.aggregate_type, stream.aggregate_id.clone()));
                let head = head.or_insert_with(|| genesis(stream.aggregate_type, &stream.aggregate_id));
                event.metadata.prev_hash = Some(*head);
                *head = event.hash()?;
            }
            self.batch.event(role, &event);
            self.publish(role, &event)?;
        }
        Ok(())
    }

    fn publish(&mut self, role: Role, event: &RecordedEvent) -> anyhow::Result<()> {
        let outgoing = match role {
            Role::User => user_service::Publisher.publish(event)?,
            Role::Product => product_service::Publisher.publish(event)?,
            Role::Order => order_service::Publisher.publish(event)?,
            Role::Payment => payment_service::Publisher.publish(event)?,
            Role::Orchestrator => orchestrator::Publisher.publish(event)?,
            Role::Notification => Vec::new(),
        };
        for (index, outgoing) in outgoing.into_iter().enumerate() {
            let topic = outgoing.topic;
            let record = to_record(event, index, role.name(), outgoing);
            self.batch.record(topic, &record);
            let message = Arc::new(Message::from_record(&record)?);
            for (role, follows) in CONSUMERS {
                if follows.topics.contains(&topic) {
                    self.later(HANDLED_AFTER, What::Deliver(role, follows.consumer, Arc::clone(&message)));
                }
            }
        }
        Ok(())
    }
}

/// The consumers and what they follow, for their places at the end.
pub(super) fn consumers() -> impl Iterator<Item = (Role, &'static Follows)> {
    CONSUMERS.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn what_comes_first_happens_first_and_at_one_time_what_was_foreseen_first() {
        let due = |at, number| Due { at, number, what: What::Forget(OrderId(Uuid::nil())) };
        let mut heap = BinaryHeap::from([due(3, 1), due(1, 3), due(1, 2)]);
        let mut order = Vec::new();
        while let Some(Due { at, number, .. }) = heap.pop() {
            order.push((at, number));
        }
        assert_eq!(order, [(1, 2), (1, 3), (3, 1)]);
    }
}
