//! Given, when, then; the larger tests are beside this file.

mod faults;
mod operators;
mod properties;
mod table;
mod world;

use cqrs_es::DomainEvent;
use kernel::{Currency, Decide, Money, OrderId, ProductId, Quantity, UserId, fold};
use uuid::Uuid;

use super::InputKind as In;
use super::*;

/// A definition with few attempts, so that all states can be walked through. Sagas of it are begun by hand.
pub(super) const IMPATIENT: Definition = Definition {
    version: 0,
    reserve: Patience { wait_s: 1, wait_s_max: 1, attempts_max: 1 },
    charge: Patience { wait_s: 3, wait_s_max: 3, attempts_max: 1 },
    retriable: Patience { wait_s: 1, wait_s_max: 2, attempts_max: 2 },
};

fn start() -> DateTime<Utc> {
    DateTime::UNIX_EPOCH
}

fn product(number: u128) -> ProductId {
    ProductId(Uuid::from_u128(number))
}

fn order(quantities: &[i64]) -> Order {
    let line = |(number, quantity): (u128, &i64)| Line {
        product_id: product(number),
        quantity: Quantity::try_from(*quantity).unwrap(),
    };
    Order {
        order_id: OrderId(Uuid::from_u128(100)),
        user_id: UserId(Uuid::from_u128(200)),
        lines: (1..).zip(quantities).map(line).collect(),
        total: Money::new(1_000, Currency::EUR),
        payment_method: "tok_ok".to_owned(),
    }
}

fn created(Order { order_id, user_id, lines, total, payment_method }: Order) -> In {
    In::OrderCreated { order_id, user_id, lines, total, payment_method }
}

fn reserved(number: u128) -> In {
    In::StockReserved { product_id: product(number) }
}

fn rejected(number: u128) -> In {
    In::StockRejected { product_id: product(number), reason: "out of stock".to_owned() }
}

fn committed(number: u128) -> In {
    In::StockCommitted { product_id: product(number) }
}

fn released(number: u128) -> In {
    In::StockReleased { product_id: product(number) }
}

fn paid() -> In {
    In::PaymentSucceeded { transaction_id: "tx-1".to_owned() }
}

fn declined() -> In {
    In::PaymentFailed { reason: "card declined".to_owned() }
}

fn refund_failed() -> In {
    In::RefundFailed { reason: "provider away".to_owned() }
}

fn retry() -> In {
    In::OperatorRetry { actor: "ops".to_owned(), reason: None }
}

fn skip() -> In {
    In::OperatorSkip { actor: "ops".to_owned(), reason: "done by hand".to_owned() }
}

fn cancel() -> In {
    In::OperatorCancel { actor: "ops".to_owned(), reason: "wrong price".to_owned() }
}

fn pause() -> In {
    In::OperatorPause { actor: "ops".to_owned(), reason: "the provider moves".to_owned() }
}

fn resume() -> In {
    In::OperatorResume { actor: "ops".to_owned(), reason: "it has moved".to_owned() }
}

fn restart(from: CommandKind) -> In {
    In::OperatorRestart { actor: "ops".to_owned(), reason: "skipped by mistake".to_owned(), from }
}

/// A command in a few words: its name, and the number of its product.
fn words(command: &Command) -> String {
    let product = match command {
        Command::ReserveStock { product_id, .. }
        | Command::ReleaseStock { product_id }
        | Command::CommitStock { product_id } => format!(" {}", product_id.0.as_u128()),
        _ => String::new(),
    };
    command.as_str().to_owned() + &product
}

/// A saga, the clock, and what was recorded.
#[derive(Clone, Default)]
struct Story {
    saga: OrderFulfilment,
    now: DateTime<Utc>,
    events: Vec<Event>,
    last: Vec<Event>,
}

impl Story {
    /// Begins with an order of so many lines.
    fn of_lines(lines: usize) -> Self {
        Self::default().on(created(order(&vec![1; lines])))
    }

    /// One line, paid.
    fn paid() -> Self {
        Self::of_lines(1).on(reserved(1)).on(paid())
    }

    fn completed() -> Self {
        Self::paid().on(committed(1)).on(In::OrderConfirmed)
    }

    /// One line, being undone: the charge and the line.
    fn compensating() -> Self {
        Self::of_lines(1).on(reserved(1)).on(In::CancelRequested)
    }

    fn cancelled() -> Self {
        Self::compensating().on(In::PaymentRefunded).on(released(1)).on(In::OrderCancelled)
    }

    fn try_on(mut self, kind: In) -> Result<Self, Error> {
        self.last = self.saga.decide(Input { at: self.now, kind })?.executed().unwrap_or_default();
        self.events.extend(self.last.clone());
        for event in self.last.clone() {
            cqrs_es::Aggregate::apply(&mut self.saga, event);
        }
        Ok(self)
    }

    fn on(self, kind: In) -> Self {
        self.try_on(kind).unwrap()
    }

    /// The timer fires when it is due.
    fn times_out(mut self) -> Self {
        self.now = self.saga.deadline().expect("something is waited for");
        self.on(In::Timeout)
    }

    /// The timer fires until all attempts are used up.
    fn gets_stuck(mut self) -> Self {
        for _ in 0..100 {
            if self.saga.deadline().is_none() {
                break;
            }
            self = self.times_out();
        }
        self.is(Stuck)
    }

    #[track_caller]
    fn is(self, state: State) -> Self {
        assert_eq!(self.saga.state(), state);
        self
    }

    /// The last input led to these commands, and no others.
    #[track_caller]
    fn asks(self, commands: &[&str]) -> Self {
        let asked: Vec<_> = self.last.iter().filter_map(issued).map(words).collect();
        assert_eq!(asked, commands);
        self
    }

    #[track_caller]
    fn ignores(self, kind: In) -> Self {
        let story = self.on(kind.clone());
        assert_eq!(story.last, [], "{kind:?}");
        story
    }
}

fn issued(event: &Event) -> Option<&Command> {
    if let Event::CommandIssued { command, .. } = event { Some(command) } else { None }
}

#[test]
fn an_order_goes_through() {
    let story = Story::of_lines(2).is(Reserving).asks(&["reserve_stock 1", "reserve_stock 2"]);
    let story = story.on(reserved(2)).is(Reserving).asks(&[]).on(reserved(1)).is(Charging).asks(&["charge_payment"]);
    let story = story.on(paid()).is(Completing).asks(&["commit_stock 1", "commit_stock 2", "confirm_order"]);
    let story = story.on(In::OrderConfirmed).on(committed(1)).is(Completing).on(committed(2)).is(Completed).asks(&[]);
    assert_eq!(story.last.last(), Some(&Event::SagaCompleted { at: start() }));
    assert_eq!((story.saga.deadline(), story.saga.ended_at(), story.saga.cancel_reason()), (None, Some(start()), None));
    assert_eq!(fold::<OrderFulfilment>(story.events), story.saga);
}

#[test]
fn a_rejected_line_undoes_the_others_at_once_and_cancels() {
    let story = Story::of_lines(3).on(reserved(1)).on(rejected(2)).is(Compensating);
    let story = story.asks(&["release_stock 3", "release_stock 1"]).ignores(rejected(3));
    let story = story.on(reserved(3)).asks(&[]).on(released(3)).is(Compensating).on(released(1)).is(Cancelling);
    let story = story.asks(&["cancel_order"]).on(In::OrderCancelled).is(Cancelled);
    assert_eq!(story.last.last(), Some(&Event::SagaCancelled { at: start(), reason: "out of stock".to_owned() }));
    Story::of_lines(1).on(rejected(1)).is(Cancelling).asks(&["cancel_order"]);
}

#[test]
fn a_declined_card_releases_the_stock() {
    let story = Story::of_lines(2).on(reserved(1)).on(reserved(2)).on(declined()).is(Compensating);
    let story = story.asks(&["release_stock 2", "release_stock 1"]).on(released(1)).on(released(2)).is(Cancelling);
    assert_eq!(story.on(In::OrderCancelled).is(Cancelled).saga.cancel_reason(), Some("card declined"));
}

#[test]
fn a_missing_answer_is_undone_like_a_good_one() {
    let story = Story::of_lines(2).on(reserved(1)).times_out().is(Compensating);
    assert_eq!(story.saga.cancel_reason(), Some(RESERVATION_TIMED_OUT));
    story.asks(&["release_stock 2", "release_stock 1"]);

    let story = Story::of_lines(1).on(reserved(1)).times_out().asks(&["refund_payment", "release_stock 1"]);
    assert_eq!(story.saga.cancel_reason(), Some(PAYMENT_TIMED_OUT));
    // The refund is under way, so a payment that comes late needs no other.
    let story = story.on(paid()).is(Compensating).asks(&[]).ignores(paid()).ignores(declined());
    story.on(released(1)).on(In::PaymentRefunded).on(In::OrderCancelled).is(Cancelled).ignores(paid());
}

#[test]
fn a_customer_cancels_at_any_time() {
    Story::of_lines(1).on(In::CancelRequested).is(Compensating).asks(&["release_stock 1"]);
    let undo = ["refund_payment", "release_stock 1"];
    Story::of_lines(1).on(reserved(1)).on(In::CancelRequested).asks(&undo).ignores(In::CancelRequested);
    Story::paid().on(In::CancelRequested).asks(&undo).ignores(committed(1)).ignores(In::OrderConfirmed);
    let story = Story::completed().on(In::CancelRequested).is(Compensating).asks(&undo);
    assert_eq!((story.saga.ended_at(), story.saga.cancel_reason()), (None, Some(CANCELLED_BY_CUSTOMER)));
    let story = story.on(released(1)).on(In::PaymentRefunded).asks(&["cancel_order"]).on(In::OrderCancelled);
    story.is(Cancelled).ignores(In::CancelRequested);
}

#[test]
fn what_was_done_after_all_is_undone_even_when_the_order_is_cancelled() {
    let story = Story::of_lines(1).on(reserved(1)).on(declined()).on(released(1)).on(In::OrderCancelled).is(Cancelled);
    let story = story.on(paid()).is(Compensating).asks(&["refund_payment"]).ignores(paid());
    // The order is cancelled already: it is not told again.
    let story = story.on(In::PaymentRefunded).is(Cancelled).asks(&[]);
    assert_eq!(story.saga.cancel_reason(), Some("card declined"));

    let story = Story::compensating().on(released(1)).gets_stuck().on(skip()).is(Cancelling).asks(&["cancel_order"]);
    let story = story.on(paid()).is(Compensating).asks(&["refund_payment"]).on(In::OrderCancelled).is(Compensating);
    story.on(In::PaymentRefunded).is(Cancelled);
}

#[test]
fn a_step_that_must_succeed_is_asked_for_again_with_the_same_id_and_growing_waits() {
    let mut story = Story::paid().on(In::OrderConfirmed);
    let mut attempts = Vec::new();
    while story.saga.state() == Completing {
        attempts.push((story.now - start()).num_seconds());
        story = story.times_out();
    }
    assert_eq!(attempts, [0, 10, 30, 70, 130, 190, 250, 310]);
    let commits = story.events.iter().filter_map(|event| match event {
        Event::CommandIssued { command_id, step: StepId::CommitStock(_), attempt, .. } => Some((*attempt, *command_id)),
        _ => None,
    });
    let id = command_id(OrderId(Uuid::from_u128(100)), StepId::CommitStock(product(1)), Direction::Forward);
    assert_eq!(commits.collect::<Vec<_>>(), (1..=8).map(|attempt| (attempt, id)).collect::<Vec<_>>());

    let story = story.is(Stuck);
    assert_eq!((story.saga.deadline(), story.saga.stuck().count()), (None, 1));
    story.on(committed(1)).is(Completed);
}

#[test]
fn a_refund_that_fails_is_tried_again_later_and_gets_stuck_in_the_end() {
    let mut story = Story::compensating().on(released(1));
    for _ in 1..8 {
        story = story.on(refund_failed()).is(Compensating).asks(&[]).ignores(refund_failed());
        story = story.times_out().asks(&["refund_payment"]);
    }
    let story = story.on(refund_failed()).is(Stuck).ignores(refund_failed()).ignores(In::CancelRequested);
    assert_eq!(story.saga.stuck().next().and_then(|step| step.reason.as_deref()), Some("provider away"));
    story.on(In::PaymentRefunded).is(Cancelling).asks(&["cancel_order"]);
}

#[test]
fn an_operator_settles_what_is_stuck() {
    let stuck = Story::paid().on(In::OrderConfirmed).gets_stuck();
    let story = stuck.clone().on(retry()).is(Completing).asks(&["commit_stock 1"]);
    assert_eq!(story.saga.steps().iter().filter(|step| step.status == Status::Waiting && step.attempt == 1).count(), 1);
    stuck.clone().on(skip()).is(Completed);
    let story = stuck.on(cancel()).is(Compensating).asks(&["refund_payment", "release_stock 1"]);
    assert_eq!(story.saga.cancel_reason(), Some("cancelled by an operator: wrong price"));
    let acts =
        story.events.iter().filter(|event| matches!(event, Event::OperatorCancelled { actor, .. } if actor == "ops"));
    assert_eq!(acts.count(), 1);

    let stuck = Story::compensating().gets_stuck();
    assert_eq!(stuck.clone().try_on(cancel()).err(), Some(Error::NotCancellable(Compensating)));
    let story = stuck.on(retry()).is(Compensating).asks(&["refund_payment", "release_stock 1"]).gets_stuck();
    story.on(skip()).is(Cancelling).gets_stuck().on(skip()).is(Cancelled);
}

#[test]
fn an_operator_is_told_what_cannot_be_done() {
    for act in [retry(), skip(), cancel()] {
        assert_eq!(Story::default().try_on(act).err(), Some(Error::NotStarted));
    }
    assert_eq!(Story::of_lines(1).try_on(retry()).err(), Some(Error::NotStuck(Reserving)));
    assert_eq!(Story::completed().try_on(skip()).err(), Some(Error::NotStuck(Completed)));
    assert_eq!(Story::completed().try_on(cancel()).err(), Some(Error::NotCancellable(Completed)));
    assert_eq!(Story::cancelled().try_on(cancel()).err(), Some(Error::NotCancellable(Cancelled)));
}

#[test]
fn a_timer_that_fires_early_or_for_what_is_over_changes_nothing() {
    let mut story = Story::of_lines(1).ignores(In::Timeout);
    story.now += chrono::TimeDelta::seconds(9);
    // The reservation's timer was due at 10 s; the charge has one of its own.
    let mut story = story.ignores(In::Timeout).on(reserved(1)).is(Charging);
    story.now += chrono::TimeDelta::seconds(1);
    story.ignores(In::Timeout).is(Charging);
    Story::completed().ignores(In::Timeout);
    Story::cancelled().ignores(In::Timeout);
}

#[test]
fn lines_of_one_product_are_reserved_together() {
    let mut twice = order(&[2, 3]);
    twice.lines[1].product_id = product(1);
    let story = Story::default().on(created(twice.clone())).asks(&["reserve_stock 1"]);
    assert_eq!(story.saga.order().unwrap().lines[0].quantity.get(), 5);
    assert_eq!(story.on(created(twice.clone())).last, []);

    twice.lines[1].quantity = Quantity::try_from(i64::from(Quantity::MAX)).unwrap();
    for impossible in [twice, order(&[])] {
        let story = Story::default().on(created(impossible)).is(Cancelling).asks(&["cancel_order"]);
        assert_eq!(story.saga.cancel_reason(), Some(NOTHING_ORDERED));
    }
}

#[test]
fn a_saga_keeps_to_the_version_that_it_began_with() {
    let started = |version| Event::SagaStarted { at: start(), definition_version: version, order: order(&[1]) };
    let issued = Event::CommandIssued {
        at: start(),
        command_id: Uuid::nil(),
        step: StepId::ReserveStock(product(1)),
        direction: Direction::Forward,
        attempt: 1,
        due: start(),
        command: Command::ReserveStock { product_id: product(1), quantity: Quantity::try_from(1).unwrap() },
    };
    for (version, charged_until_s) in [(CURRENT_VERSION, 30), (IMPATIENT.version, 3)] {
        let saga: OrderFulfilment = fold([started(version), issued.clone()]);
        let story = Story { saga, ..Story::default() }.on(reserved(1)).is(Charging);
        assert_eq!(story.saga.deadline(), Some(start() + chrono::TimeDelta::seconds(charged_until_s)));
    }
    let saga: OrderFulfilment = fold([started(77), issued]);
    let story = Story { saga, ..Story::default() };
    assert_eq!(story.try_on(reserved(1)).err(), Some(Error::UnknownDefinition(77)));
}

#[test]
fn a_first_event_without_a_version_is_of_the_first() {
    let started = Event::SagaStarted { at: start(), definition_version: 77, order: order(&[1]) };
    let mut stored = serde_json::to_value(started).unwrap();
    stored["SagaStarted"].as_object_mut().unwrap().remove("definition_version");
    let saga: OrderFulfilment = fold([serde_json::from_value(stored).unwrap()]);
    assert_eq!(saga.definition_version(), 1);
}

#[test]
fn stored_events_read_back_as_they_were() {
    let stuck = Story::compensating().on(refund_failed()).gets_stuck().on(retry()).gets_stuck().on(skip());
    let held = Story::paid().on(pause()).on(committed(1)).on(resume()).on(restart(CommandKind::ConfirmOrder));
    let whole = [stuck, Story::completed(), Story::cancelled(), Story::paid().on(cancel()), held];
    let events: Vec<_> = whole.into_iter().flat_map(|story| story.events).collect();
    let mut types: Vec<_> = events.iter().map(DomainEvent::event_type).collect();
    for event in &events {
        let stored = serde_json::to_value(event).unwrap();
        assert_eq!(stored.as_object().map(serde_json::Map::len), Some(1), "{stored}");
        assert_eq!(&serde_json::from_value::<Event>(stored).unwrap(), event);
    }
    types.sort();
    types.dedup();
    assert_eq!(types.len(), 16, "{types:?}");
    let saga = fold::<OrderFulfilment>(Story::cancelled().events);
    assert_eq!(serde_json::from_str::<OrderFulfilment>(&serde_json::to_string(&saga).unwrap()).unwrap(), saga);
}
