//! Order fulfilment: reserve each line, charge, then sell the lines and confirm; or undo it all and cancel.
//!
//! ```text
//! reserve stock, per line   compensatable   undone by release stock
//! charge payment            pivot           taken back by refund payment
//! commit stock, per line    retriable
//! confirm order             retriable
//! cancel order              retriable       ends a saga that was undone
//! ```
//!
//! A step whose answer is missing is *in doubt* and is undone like one that was done: the undo follows it on the same
//! key, so the service sees both in this order, and answers the undo of nothing with nothing. This is why an answer
//! that comes late needs no undo of its own, unless none was asked for or an operator skipped it.

mod cause;
mod drawing;
mod messages;

use std::fmt;

use chrono::{DateTime, Utc};
use kernel::Idempotent;
use serde::{Deserialize, Serialize};

pub use super::plan::Patience;
pub(crate) use cause::{CAUSES, cause};
pub use drawing::mermaid;
pub use messages::{Command, Direction, Error, Event, Input, InputKind, Line, Order, StepId, Trigger, command_id};

use super::plan::{Compensatable, Pivot, Plan, Retriable};

// ---------------------------------------------------------------------------------------------------------------------
// Parameters
// ---------------------------------------------------------------------------------------------------------------------

/// The parameters of one version. A saga keeps to the version that it began with, so a version that was ever released
/// is never changed or removed while sagas of it are in flight: a new one is added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Definition {
    /// Its number, as stored in [`Event::SagaStarted`].
    pub version: u32,
    /// For the reservation of a line.
    pub reserve: Patience,
    /// For the charge.
    pub charge: Patience,
    /// For what must succeed in the end: commits, confirmation, undo, cancellation.
    pub retriable: Patience,
}

const DEFINITIONS: &[Definition] = &[
    Definition {
        version: 1,
        reserve: Patience::once(10),
        charge: Patience::once(30),
        retriable: Patience { wait_s: 10, wait_s_max: 60, attempts_max: 8 },
    },
    #[cfg(test)]
    tests::IMPATIENT,
];

/// The version with which new sagas begin.
pub const CURRENT_VERSION: u32 = 1;

impl Definition {
    /// The definition of this version, if this program has it.
    pub fn of_version(version: u32) -> Option<&'static Self> {
        DEFINITIONS.iter().find(|definition| definition.version == version)
    }

    fn patience(&self, step: StepId, direction: Direction) -> Patience {
        match (step, direction) {
            (StepId::ReserveStock(_), Direction::Forward) => self.reserve,
            (StepId::ChargePayment, Direction::Forward) => self.charge,
            _ => self.retriable,
        }
    }
}

const CANCELLED_BY_CUSTOMER: &str = "cancelled by the customer";
const RESERVATION_TIMED_OUT: &str = "the stock reservation timed out";
const PAYMENT_TIMED_OUT: &str = "the payment timed out";
const NOTHING_ORDERED: &str = "the order has no lines, or more of a product than can be ordered";
const OPERATOR: &str = "cancelled by an operator";
const DONE_LATE: &str = "was done late";
const NO_ANSWER: &str = "no answer";

// ---------------------------------------------------------------------------------------------------------------------
// States
// ---------------------------------------------------------------------------------------------------------------------

/// Where a saga is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum State {
    /// No order yet.
    #[default]
    NotStarted,
    /// Waiting for the lines' stock.
    Reserving,
    /// Waiting for the money.
    Charging,
    /// Paid: selling the lines and confirming the order.
    Completing,
    /// The order is fulfilled.
    Completed,
    /// Undoing what was done or may have been.
    Compensating,
    /// All is undone: cancelling the order.
    Cancelling,
    /// The order is cancelled.
    Cancelled,
    /// A step that must succeed did not, in all its attempts; other steps go on.
    Stuck,
}

use State::{Cancelled, Cancelling, Charging, Compensating, Completed, Completing, NotStarted, Reserving, Stuck};
use Trigger::{
    CancelRequested, OperatorCancel, OperatorRetry, OperatorSkip, OrderCancelled, OrderConfirmed, OrderCreated,
    PaymentFailed, PaymentRefunded, PaymentSucceeded, RefundFailed, StockCommitted, StockRejected, StockReleased,
    StockReserved, Timeout,
};

/// What matters in which state, and where it may lead. An input without a row here changes nothing, and an operator's
/// act without one is refused.
const TRANSITIONS: &[(State, Trigger, &[State])] = &[
    (NotStarted, OrderCreated, &[Reserving, Cancelling]),
    //
    (Reserving, StockReserved, &[Reserving, Charging]),
    (Reserving, StockRejected, &[Compensating, Cancelling]),
    (Reserving, Timeout, &[Compensating]),
    (Reserving, CancelRequested, &[Compensating]),
    (Reserving, OperatorCancel, &[Compensating]),
    //
    (Charging, PaymentSucceeded, &[Completing]),
    (Charging, PaymentFailed, &[Compensating]),
    (Charging, Timeout, &[Compensating]),
    (Charging, CancelRequested, &[Compensating]),
    (Charging, OperatorCancel, &[Compensating]),
    //
    (Completing, StockCommitted, &[Completing, Completed]),
    (Completing, OrderConfirmed, &[Completing, Completed]),
    (Completing, Timeout, &[Completing, Stuck]),
    (Completing, CancelRequested, &[Compensating]),
    (Completing, OperatorCancel, &[Compensating]),
    //
    (Completed, CancelRequested, &[Compensating]),
    //
    (Compensating, StockReleased, &[Compensating, Cancelling, Cancelled]),
    (Compensating, PaymentRefunded, &[Compensating, Cancelling, Cancelled]),
    (Compensating, RefundFailed, &[Compensating, Stuck]),
    (Compensating, Timeout, &[Compensating, Stuck]),
    (Compensating, OrderCancelled, &[Compensating]),
    // Late: done after all, so the undo is asked for if it was not.
    (Compensating, StockReserved, &[Compensating]),
    (Compensating, PaymentSucceeded, &[Compensating]),
    //
    (Cancelling, OrderCancelled, &[Cancelled]),
    (Cancelling, Timeout, &[Cancelling, Stuck]),
    (Cancelling, StockReserved, &[Compensating]),
    (Cancelling, PaymentSucceeded, &[Compensating]),
    //
    (Cancelled, StockReserved, &[Compensating]),
    (Cancelled, PaymentSucceeded, &[Compensating]),
    //
    (Stuck, StockCommitted, &[Stuck, Completed]),
    (Stuck, OrderConfirmed, &[Stuck, Completed]),
    (Stuck, StockReleased, &[Stuck, Compensating, Cancelling, Cancelled]),
    (Stuck, PaymentRefunded, &[Stuck, Compensating, Cancelling, Cancelled]),
    (Stuck, RefundFailed, &[Stuck]),
    (Stuck, OrderCancelled, &[Stuck, Cancelled]),
    (Stuck, StockReserved, &[Stuck, Compensating]),
    (Stuck, PaymentSucceeded, &[Stuck, Compensating]),
    (Stuck, Timeout, &[Stuck]),
    (Stuck, CancelRequested, &[Compensating]),
    (Stuck, OperatorRetry, &[Completing, Compensating, Cancelling]),
    (Stuck, OperatorSkip, &[Completed, Compensating, Cancelling, Cancelled]),
    (Stuck, OperatorCancel, &[Compensating]),
];

impl State {
    /// Its name in tables, drawings and interfaces.
    pub fn as_str(self) -> &'static str {
        match self {
            NotStarted => "not_started",
            Reserving => "reserving",
            Charging => "charging",
            Completing => "completing",
            Completed => "completed",
            Compensating => "compensating",
            Cancelling => "cancelling",
            Cancelled => "cancelled",
            Stuck => "stuck",
        }
    }

    /// Whether the saga is over, unless the customer cancels or a late answer reopens it.
    pub fn is_over(self) -> bool {
        matches!(self, Completed | Cancelled)
    }

    fn heeds(self, trigger: Trigger) -> bool {
        TRANSITIONS.iter().any(|(from, on, _)| (*from, *on) == (self, trigger))
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// Steps
// ---------------------------------------------------------------------------------------------------------------------

/// How far a step is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Status {
    /// Asked for, no answer yet.
    Waiting,
    /// Done, or undone.
    Done,
    /// Refused; with a due time, asked for again then.
    Failed,
    /// No answer was had, and none is waited for: it may have been done.
    InDoubt,
    /// All attempts are used up.
    Stuck,
    /// An operator took it as done.
    Skipped,
}

/// A step that was asked for, in one direction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Which.
    pub id: StepId,
    /// Whether it is done or undone.
    pub direction: Direction,
    /// What was asked.
    pub command: Command,
    /// How far it is.
    pub status: Status,
    /// How often it was asked for since it was last begun.
    pub attempt: u32,
    /// When it was first asked for since then.
    #[serde(default)]
    pub asked_at: Option<DateTime<Utc>>,
    /// When it is asked for again or given up.
    pub due: Option<DateTime<Utc>>,
    /// What went wrong last.
    pub reason: Option<String>,
}

impl Step {
    fn is_settled(&self) -> bool {
        matches!(self.status, Status::Done | Status::Skipped)
    }
}

/// What is to be done for an order. The reason goes to those who are told that it is undone.
fn plan(order: &Order, reason: &str) -> Plan<StepId, Command> {
    let reason = reason.to_owned();
    let Order { user_id, total: amount, payment_method, lines, .. } = order.clone();
    let reserve = |&Line { product_id, quantity }: &Line| Compensatable {
        id: StepId::ReserveStock(product_id),
        forward: Command::ReserveStock { product_id, quantity },
        undo: Command::ReleaseStock { product_id },
    };
    let commit = |&Line { product_id, .. }: &Line| Retriable {
        id: StepId::CommitStock(product_id),
        forward: Command::CommitStock { product_id },
    };
    let confirm = Retriable { id: StepId::ConfirmOrder, forward: Command::ConfirmOrder };
    Plan {
        compensatable: lines.iter().map(reserve).collect(),
        pivot: Pivot {
            id: StepId::ChargePayment,
            forward: Command::ChargePayment { user_id, amount, payment_method },
            takes_back: Command::RefundPayment { reason: reason.clone() },
        },
        retriable: lines.iter().map(commit).chain([confirm]).collect(),
        ending: Retriable { id: StepId::CancelOrder, forward: Command::CancelOrder { reason } },
    }
}

/// Each product once; `None` if there is nothing, or more than a quantity can be.
fn merged(lines: &[Line]) -> Option<Vec<Line>> {
    let mut merged = Vec::<Line>::with_capacity(lines.len());
    for line in lines {
        match merged.iter_mut().find(|other| other.product_id == line.product_id) {
            Some(other) => other.quantity = other.quantity.checked_add(line.quantity)?,
            None => merged.push(*line),
        }
    }
    (!merged.is_empty()).then_some(merged)
}

// ---------------------------------------------------------------------------------------------------------------------
// Definition
// ---------------------------------------------------------------------------------------------------------------------

/// The saga of one order; its id is the order's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderFulfilment {
    definition_version: u32,
    order: Option<Order>,
    /// The state without regard to what is stuck.
    lane: State,
    steps: Vec<Step>,
    cancel_reason: Option<String>,
    started_at: Option<DateTime<Utc>>,
    ended_at: Option<DateTime<Utc>>,
}

kernel::aggregate!(OrderFulfilment, "order_fulfilment", Input, Event, Error);

impl OrderFulfilment {
    /// Where it is.
    pub fn state(&self) -> State {
        if self.stuck().next().is_some() { Stuck } else { self.lane }
    }

    /// When [`InputKind::Timeout`] is to be given, if anything is waited for.
    pub fn deadline(&self) -> Option<DateTime<Utc>> {
        self.steps.iter().filter_map(|step| step.due).min()
    }

    /// The order, once there is one.
    pub fn order(&self) -> Option<&Order> {
        self.order.as_ref()
    }

    /// All that was asked for, in the order in which it first was.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// What is stuck.
    pub fn stuck(&self) -> impl Iterator<Item = &Step> {
        self.steps.iter().filter(|step| step.status == Status::Stuck)
    }

    /// Why it is being undone, or was.
    pub fn cancel_reason(&self) -> Option<&str> {
        self.cancel_reason.as_deref()
    }

    /// The version of the definition that it runs on.
    pub fn definition_version(&self) -> u32 {
        self.definition_version
    }

    /// When it began.
    pub fn started_at(&self) -> Option<DateTime<Utc>> {
        self.started_at
    }

    /// When it completed or was cancelled, if it is over.
    pub fn ended_at(&self) -> Option<DateTime<Utc>> {
        self.ended_at
    }

    fn step(&self, id: StepId, direction: Direction) -> Option<&Step> {
        self.steps.iter().find(|step| (step.id, step.direction) == (id, direction))
    }

    fn step_mut(&mut self, id: StepId, direction: Direction) -> Option<&mut Step> {
        self.steps.iter_mut().find(|step| (step.id, step.direction) == (id, direction))
    }

    fn is_settled(&self, id: StepId, direction: Direction) -> bool {
        self.step(id, direction).is_some_and(Step::is_settled)
    }

    fn goes_back(&self) -> bool {
        matches!(self.lane, Compensating | Cancelling | Cancelled)
    }

    fn decide_command(&self, input: Input) -> Result<Idempotent<Vec<Event>>, Error> {
        let Input { at, kind } = input;
        let state = self.state();
        if !state.heeds(kind.trigger()) {
            return match kind.trigger() {
                OperatorRetry | OperatorSkip | OperatorCancel if state == NotStarted => Err(Error::NotStarted),
                OperatorRetry | OperatorSkip => Err(Error::NotStuck(state)),
                OperatorCancel => Err(Error::NotCancellable(state)),
                _ => Ok(Idempotent::AlreadyDone),
            };
        }
        let version = if state == NotStarted { CURRENT_VERSION } else { self.definition_version };
        let definition = Definition::of_version(version).ok_or(Error::UnknownDefinition(version))?;
        let mut turn = Turn { at, definition, saga: self.clone(), events: Vec::new() };
        turn.take(kind)?;
        Ok(if turn.events.is_empty() { Idempotent::AlreadyDone } else { Idempotent::Executed(turn.events) })
    }

    fn fold_event(&mut self, event: Event) {
        match event {
            Event::SagaStarted { at, definition_version, order } => {
                (self.definition_version, self.order, self.lane) = (definition_version, Some(order), Reserving);
                self.started_at = Some(at);
            }
            Event::CommandIssued { at, step: id, direction, attempt, due, command, .. } => {
                let before = self.step(id, direction).filter(|_| attempt > 1);
                let asked_at = before.and_then(|step| step.asked_at).or(Some(at));
                self.lane = match (id, direction) {
                    (_, Direction::Undo) => Compensating,
                    (StepId::ReserveStock(_), _) => Reserving,
                    (StepId::ChargePayment, _) => Charging,
                    (StepId::CommitStock(_) | StepId::ConfirmOrder, _) => Completing,
                    (StepId::CancelOrder, _) => Cancelling,
                };
                self.steps_upsert(Step {
                    id,
                    direction,
                    command,
                    status: Status::Waiting,
                    attempt,
                    asked_at,
                    due: Some(due),
                    reason: None,
                });
            }
            Event::StepSucceeded { step, direction, .. } => self.mark(step, direction, Status::Done, None, None),
            Event::StepFailed { step, direction, reason, retry_at, .. } => {
                self.mark(step, direction, Status::Failed, retry_at, Some(reason));
            }
            Event::StepTimedOut { step, direction, .. } => {
                self.mark(step, direction, Status::InDoubt, None, Some(NO_ANSWER.to_owned()));
            }
            Event::SagaStuck { step, direction, reason, .. } => {
                self.mark(step, direction, Status::Stuck, None, Some(reason));
            }
            Event::CompensationStarted { reason, .. } => {
                self.lane = Compensating;
                self.ended_at = None;
                self.cancel_reason.get_or_insert(reason);
                let forward = self.steps.iter_mut().filter(|step| step.direction == Direction::Forward);
                for step in forward.filter(|step| matches!(step.status, Status::Waiting | Status::Stuck)) {
                    (step.status, step.due) = (Status::InDoubt, None);
                }
            }
            Event::SagaCompleted { at } => (self.lane, self.ended_at) = (Completed, Some(at)),
            Event::SagaCancelled { at, .. } => (self.lane, self.ended_at) = (Cancelled, Some(at)),
            Event::OperatorSkipped { .. } => {
                for step in self.steps.iter_mut().filter(|step| step.status == Status::Stuck) {
                    step.status = Status::Skipped;
                }
            }
            // What follows from these is recorded beside them.
            Event::OperatorRetried { .. } | Event::OperatorCancelled { .. } => {}
        }
    }

    fn steps_upsert(&mut self, step: Step) {
        match self.step_mut(step.id, step.direction) {
            Some(known) => *known = step,
            None => self.steps.push(step),
        }
    }

    fn mark(
        &mut self,
        id: StepId,
        direction: Direction,
        status: Status,
        due: Option<DateTime<Utc>>,
        why: Option<String>,
    ) {
        if let Some(step) = self.step_mut(id, direction) {
            (step.status, step.due, step.reason) = (status, due, why);
        }
    }
}

/// The handling of one input: each event is folded in as it is recorded, so what follows decides on what was.
struct Turn {
    at: DateTime<Utc>,
    definition: &'static Definition,
    saga: OrderFulfilment,
    events: Vec<Event>,
}

impl Turn {
    fn take(&mut self, kind: InputKind) -> Result<(), Error> {
        use Direction::{Forward, Undo};
        let at = self.at;
        match kind {
            InputKind::OrderCreated { order_id, user_id, lines, total, payment_method } => {
                self.begin(Order { order_id, user_id, lines, total, payment_method });
            }
            InputKind::StockReserved { product_id } => self.succeed(StepId::ReserveStock(product_id), Forward, None),
            InputKind::StockCommitted { product_id } => self.succeed(StepId::CommitStock(product_id), Forward, None),
            InputKind::StockReleased { product_id } => self.succeed(StepId::ReserveStock(product_id), Undo, None),
            InputKind::PaymentSucceeded { transaction_id } => {
                self.succeed(StepId::ChargePayment, Forward, Some(transaction_id));
            }
            InputKind::PaymentRefunded => self.succeed(StepId::ChargePayment, Undo, None),
            InputKind::OrderConfirmed => self.succeed(StepId::ConfirmOrder, Forward, None),
            InputKind::OrderCancelled => self.succeed(StepId::CancelOrder, Forward, None),
            InputKind::StockRejected { product_id, reason } => {
                self.fail(StepId::ReserveStock(product_id), Forward, reason);
            }
            InputKind::PaymentFailed { reason } => self.fail(StepId::ChargePayment, Forward, reason),
            InputKind::RefundFailed { reason } => self.fail(StepId::ChargePayment, Undo, reason),
            InputKind::Timeout => self.time_out(),
            InputKind::CancelRequested if self.saga.goes_back() => {}
            InputKind::CancelRequested => self.compensate(CANCELLED_BY_CUSTOMER),
            InputKind::OperatorRetry { actor } => {
                let stuck: Vec<_> = self.saga.stuck().cloned().collect();
                self.record(Event::OperatorRetried { at, actor });
                for step in stuck {
                    self.issue(step.id, step.direction, 1, step.command);
                }
            }
            InputKind::OperatorSkip { actor, reason } => {
                self.record(Event::OperatorSkipped { at, actor, reason });
                self.advance();
            }
            InputKind::OperatorCancel { .. } if self.saga.goes_back() => {
                return Err(Error::NotCancellable(self.saga.lane));
            }
            InputKind::OperatorCancel { actor, reason } => {
                let told = format!("{OPERATOR}: {reason}");
                self.record(Event::OperatorCancelled { at, actor, reason });
                self.compensate(&told);
            }
        }
        Ok(())
    }

    fn begin(&mut self, order: Order) {
        let lines = merged(&order.lines);
        let possible = lines.is_some();
        let order = Order { lines: lines.unwrap_or_default(), ..order };
        self.record(Event::SagaStarted { at: self.at, definition_version: self.definition.version, order });
        if !possible {
            return self.compensate(NOTHING_ORDERED);
        }
        for step in self.plan().compensatable {
            self.issue(step.id, Direction::Forward, 1, step.forward);
        }
    }

    /// A step was done or undone; if that was waited for, the saga goes on.
    fn succeed(&mut self, id: StepId, direction: Direction, reference: Option<String>) {
        let Some(step) = self.saga.step(id, direction) else { return };
        if step.is_settled() {
            return;
        }
        let done = Event::StepSucceeded { at: self.at, step: id, direction, reference };
        if direction == Direction::Forward && self.saga.goes_back() && id != StepId::CancelOrder {
            return self.succeed_late(id, done);
        }
        self.record(done);
        self.advance();
    }

    /// A step was done after all, while the saga undoes its steps.
    fn succeed_late(&mut self, id: StepId, done: Event) {
        let Some((_, undo)) = self.plan().undos().find(|(step, _)| *step == id) else { return };
        match self.saga.step(id, Direction::Undo).map(|step| step.status) {
            Some(Status::Done) => {}
            Some(Status::Waiting | Status::Failed | Status::InDoubt | Status::Stuck) => self.record(done),
            None | Some(Status::Skipped) => {
                self.record(done);
                if self.saga.lane != Compensating {
                    self.record(Event::CompensationStarted { at: self.at, reason: format!("{id} {DONE_LATE}") });
                }
                self.issue(id, Direction::Undo, 1, undo);
            }
        }
    }

    /// A step was refused: forward, the saga turns back; an undo is asked for again.
    fn fail(&mut self, id: StepId, direction: Direction, reason: String) {
        let Some(step) = self.saga.step(id, direction).filter(|step| step.status == Status::Waiting) else { return };
        let patience = self.definition.patience(id, direction);
        let again = direction == Direction::Undo && step.attempt < patience.attempts_max;
        let retry_at = again.then(|| self.at + patience.wait(step.attempt));
        self.record(Event::StepFailed { at: self.at, step: id, direction, reason: reason.clone(), retry_at });
        match direction {
            Direction::Forward => self.compensate(&reason),
            Direction::Undo if retry_at.is_none() => {
                self.record(Event::SagaStuck { at: self.at, step: id, direction, reason });
            }
            Direction::Undo => {}
        }
    }

    /// Asks again for all that is due; what is not asked for again turns the saga back or is stuck.
    fn time_out(&mut self) {
        let at = self.at;
        let mut given_up = None;
        let due: Vec<_> =
            self.saga.steps.iter().filter(|step| step.due.is_some_and(|due| due <= at)).cloned().collect();
        for Step { id, direction, status, attempt, command, .. } in due {
            if status == Status::Waiting {
                self.record(Event::StepTimedOut { at, step: id, direction, attempt });
            }
            match (id, direction) {
                _ if attempt < self.definition.patience(id, direction).attempts_max => {
                    self.issue(id, direction, attempt + 1, command);
                }
                (StepId::ReserveStock(_), Direction::Forward) => given_up = Some(RESERVATION_TIMED_OUT),
                (StepId::ChargePayment, Direction::Forward) => given_up = Some(PAYMENT_TIMED_OUT),
                _ => self.record(Event::SagaStuck { at, step: id, direction, reason: NO_ANSWER.to_owned() }),
            }
        }
        if let Some(reason) = given_up {
            self.compensate(reason);
        }
    }

    /// Turns back: undoes all that was done or may have been, last step first.
    fn compensate(&mut self, reason: &str) {
        self.record(Event::CompensationStarted { at: self.at, reason: reason.to_owned() });
        for (id, undo) in self.plan().undos() {
            if self.saga.step(id, Direction::Forward).is_some_and(|step| step.status != Status::Failed) {
                self.issue(id, Direction::Undo, 1, undo);
            }
        }
        self.advance();
    }

    /// Goes on to the next state when this one's steps are settled.
    fn advance(&mut self) {
        use Direction::Forward;
        let (at, plan, saga) = (self.at, self.plan(), &self.saga);
        match saga.lane {
            Reserving if plan.compensatable.iter().all(|step| saga.is_settled(step.id, Forward)) => {
                self.issue(plan.pivot.id, Forward, 1, plan.pivot.forward);
            }
            Charging if saga.is_settled(plan.pivot.id, Forward) => {
                for step in plan.retriable {
                    self.issue(step.id, Forward, 1, step.forward);
                }
            }
            Completing if plan.retriable.iter().all(|step| saga.is_settled(step.id, Forward)) => {
                self.record(Event::SagaCompleted { at });
            }
            Compensating if saga.steps.iter().all(|step| step.direction == Forward || step.is_settled()) => {
                // A saga that was reopened may have cancelled its order before.
                if saga.is_settled(plan.ending.id, Forward) {
                    self.end_cancelled();
                } else {
                    self.issue(plan.ending.id, Forward, 1, plan.ending.forward);
                }
            }
            Cancelling if saga.is_settled(plan.ending.id, Forward) => self.end_cancelled(),
            _ => {}
        }
    }

    fn end_cancelled(&mut self) {
        let reason = self.saga.cancel_reason.clone().unwrap_or_default();
        self.record(Event::SagaCancelled { at: self.at, reason });
    }

    fn plan(&self) -> Plan<StepId, Command> {
        // A turn has an order: only `begin` runs without one, and records it first.
        let order = self.saga.order.as_ref().expect("a saga that was started has its order");
        plan(order, self.saga.cancel_reason.as_deref().unwrap_or_default())
    }

    fn issue(&mut self, step: StepId, direction: Direction, attempt: u32, command: Command) {
        let Some(order) = &self.saga.order else { return };
        self.record(Event::CommandIssued {
            at: self.at,
            command_id: command_id(order.order_id, step, direction),
            step,
            direction,
            attempt,
            due: self.at + self.definition.patience(step, direction).wait(attempt),
            command,
        });
    }

    fn record(&mut self, event: Event) {
        self.saga.fold_event(event.clone());
        self.events.push(event);
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// Tests
// ---------------------------------------------------------------------------------------------------------------------

#[cfg(test)]
mod tests;
