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
mod command;
mod drawing;
mod error;
mod messages;
mod operator;
mod turn;

use std::fmt;

use chrono::{DateTime, Utc};
use kernel::Idempotent;
use serde::{Deserialize, Serialize};

pub use super::plan::Patience;
pub(crate) use cause::{CAUSES, cause};
pub use command::{Command, CommandKind};
pub use drawing::mermaid;
pub use error::Error;
pub use messages::{Direction, Event, Input, InputKind, Line, Order, StepId, Trigger, command_id};

use super::plan::{Compensatable, Pivot, Plan, Retriable};
use turn::Turn;

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
    /// All versions that this program can finish, the oldest first.
    pub fn all() -> &'static [Self] {
        DEFINITIONS
    }

    /// The definition of this version, if this program has it.
    pub fn of_version(version: u32) -> Option<&'static Self> {
        DEFINITIONS.iter().find(|definition| definition.version == version)
    }

    /// With a step, or with its undo.
    pub fn patience(&self, step: StepId, direction: Direction) -> Patience {
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
    /// An operator has it stand still: it asks for nothing, and keeps what comes.
    Paused,
}

use State::{
    Cancelled, Cancelling, Charging, Compensating, Completed, Completing, NotStarted, Paused, Reserving, Stuck,
};
use Trigger::{
    CancelRequested, OperatorCancel, OperatorPause, OperatorRestart, OperatorResume, OperatorRetry, OperatorSkip,
    OrderCancelled, OrderConfirmed, OrderCreated, PaymentFailed, PaymentRefunded, PaymentSucceeded, RefundFailed,
    StockCommitted, StockRejected, StockReleased, StockReserved, Timeout,
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
    (Reserving, OperatorRestart, &[Reserving]),
    (Reserving, OperatorPause, &[Paused]),
    //
    (Charging, PaymentSucceeded, &[Completing]),
    (Charging, PaymentFailed, &[Compensating]),
    (Charging, Timeout, &[Compensating]),
    (Charging, CancelRequested, &[Compensating]),
    (Charging, OperatorCancel, &[Compensating]),
    (Charging, OperatorRestart, &[Charging]),
    (Charging, OperatorPause, &[Paused]),
    //
    (Completing, StockCommitted, &[Completing, Completed]),
    (Completing, OrderConfirmed, &[Completing, Completed]),
    (Completing, Timeout, &[Completing, Stuck]),
    (Completing, CancelRequested, &[Compensating]),
    (Completing, OperatorCancel, &[Compensating]),
    (Completing, OperatorRestart, &[Completing]),
    (Completing, OperatorPause, &[Paused]),
    //
    (Completed, CancelRequested, &[Compensating]),
    (Completed, OperatorRestart, &[Completing]),
    //
    (Compensating, StockReleased, &[Compensating, Cancelling, Cancelled]),
    (Compensating, PaymentRefunded, &[Compensating, Cancelling, Cancelled]),
    (Compensating, RefundFailed, &[Compensating, Stuck]),
    (Compensating, Timeout, &[Compensating, Stuck]),
    (Compensating, OrderCancelled, &[Compensating]),
    // Late: done after all, so the undo is asked for if it was not.
    (Compensating, StockReserved, &[Compensating]),
    (Compensating, PaymentSucceeded, &[Compensating]),
    (Compensating, OperatorRestart, &[Compensating]),
    (Compensating, OperatorPause, &[Paused]),
    //
    (Cancelling, OrderCancelled, &[Cancelled]),
    (Cancelling, Timeout, &[Cancelling, Stuck]),
    (Cancelling, StockReserved, &[Compensating]),
    (Cancelling, PaymentSucceeded, &[Compensating]),
    (Cancelling, OperatorRestart, &[Compensating, Cancelling]),
    (Cancelling, OperatorPause, &[Paused]),
    //
    (Cancelled, StockReserved, &[Compensating]),
    (Cancelled, PaymentSucceeded, &[Compensating]),
    (Cancelled, OperatorRestart, &[Compensating, Cancelling]),
    //
    // Another step may wait again after a restart.
    (Stuck, StockCommitted, &[Stuck, Completing, Completed]),
    (Stuck, OrderConfirmed, &[Stuck, Completing, Completed]),
    (Stuck, StockReleased, &[Stuck, Compensating, Cancelling, Cancelled]),
    (Stuck, PaymentRefunded, &[Stuck, Compensating, Cancelling, Cancelled]),
    (Stuck, RefundFailed, &[Stuck]),
    (Stuck, OrderCancelled, &[Stuck, Cancelled]),
    (Stuck, StockReserved, &[Stuck, Compensating]),
    (Stuck, PaymentSucceeded, &[Stuck, Compensating]),
    (Stuck, Timeout, &[Stuck]),
    (Stuck, CancelRequested, &[Compensating]),
    (Stuck, OperatorRetry, &[Completing, Compensating, Cancelling]),
    (Stuck, OperatorSkip, &[Completing, Completed, Compensating, Cancelling, Cancelled]),
    (Stuck, OperatorCancel, &[Compensating]),
    (Stuck, OperatorRestart, &[Stuck, Completing, Compensating, Cancelling]),
    (Stuck, OperatorPause, &[Paused]),
    //
    // What comes is kept, until the saga goes on with all of it.
    (Paused, StockReserved, &[Paused]),
    (Paused, StockRejected, &[Paused]),
    (Paused, StockCommitted, &[Paused]),
    (Paused, StockReleased, &[Paused]),
    (Paused, PaymentSucceeded, &[Paused]),
    (Paused, PaymentFailed, &[Paused]),
    (Paused, PaymentRefunded, &[Paused]),
    (Paused, RefundFailed, &[Paused]),
    (Paused, OrderConfirmed, &[Paused]),
    (Paused, OrderCancelled, &[Paused]),
    (Paused, CancelRequested, &[Paused]),
    (Paused, OperatorResume, &[Reserving, Charging, Completing, Completed, Compensating, Cancelling, Cancelled, Stuck]),
];

impl State {
    /// Those of a saga that has begun.
    pub const ALL: [Self; 9] =
        [Reserving, Charging, Completing, Completed, Compensating, Cancelling, Cancelled, Stuck, Paused];

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
            Paused => "paused",
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

    fn is_done(&self) -> bool {
        self.status == Status::Done
    }

    /// All attempts are used up.
    pub fn is_stuck(&self) -> bool {
        self.status == Status::Stuck
    }

    /// The saga waits for it, or is stuck at it.
    pub fn is_open(&self) -> bool {
        match self.status {
            Status::Waiting | Status::Stuck => true,
            Status::Failed => self.due.is_some(),
            Status::Done | Status::InDoubt | Status::Skipped => false,
        }
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
    /// Since when it stands still.
    #[serde(default)]
    paused_at: Option<DateTime<Utc>>,
    /// What came while it stands still, each message once.
    #[serde(default)]
    kept: Vec<InputKind>,
}

kernel::aggregate!(OrderFulfilment, "order_fulfilment", Input, Event, Error);

impl OrderFulfilment {
    /// Where it is.
    pub fn state(&self) -> State {
        match self.paused_at {
            Some(_) => Paused,
            None if self.stuck().next().is_some() => Stuck,
            None => self.lane,
        }
    }

    /// When [`InputKind::Timeout`] is to be given, if anything is waited for. While it stands still nothing is; what was due
    /// meanwhile is due at once when it goes on.
    pub fn deadline(&self) -> Option<DateTime<Utc>> {
        if self.paused_at.is_some() { None } else { self.steps.iter().filter_map(|step| step.due).min() }
    }

    /// Since when it stands still.
    pub fn paused_at(&self) -> Option<DateTime<Utc>> {
        self.paused_at
    }

    /// What came while it stands still.
    pub fn kept(&self) -> &[InputKind] {
        &self.kept
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
        self.steps.iter().filter(|step| step.is_stuck())
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

    /// Whether it is being undone, or was.
    pub fn goes_back(&self) -> bool {
        matches!(self.lane, Compensating | Cancelling | Cancelled)
    }

    fn decide_command(&self, input: Input) -> Result<Idempotent<Vec<Event>>, Error> {
        self.decide_by(CURRENT_VERSION, input)
    }

    /// What it decides, where a saga that has not begun begins on this version of the definition.
    ///
    /// # Errors
    /// The input is refused, or there is no such version.
    pub fn decide_by(&self, begins_on: u32, input: Input) -> Result<Idempotent<Vec<Event>>, Error> {
        let Input { at, kind } = input;
        let state = self.state();
        if !state.heeds(kind.trigger()) {
            return operator::refusal(state, kind.trigger()).map_or(Ok(Idempotent::AlreadyDone), Err);
        }
        let version = if state == NotStarted { begins_on } else { self.definition_version };
        let definition = Definition::of_version(version).ok_or(Error::UnknownDefinition(version))?;
        let events = Turn::of(self, definition, at).events(kind)?;
        Ok(if events.is_empty() { Idempotent::AlreadyDone } else { Idempotent::Executed(events) })
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
            Event::OperatorPaused { at, .. } => self.paused_at = Some(at),
            Event::InputKept { input, .. } => self.kept.push(input),
            Event::OperatorResumed { .. } => {
                self.paused_at = None;
                self.kept.clear();
            }
            Event::OperatorRestarted { from, .. } => {
                self.ended_at = None;
                // What comes in a later stage waits until it is asked for again.
                let later = self.steps.iter_mut().filter(|step| step.command.kind().stage() > from.stage());
                for step in later.filter(|step| !step.is_done() && step.command.kind().goes_back() == from.goes_back())
                {
                    (step.status, step.due) = (Status::InDoubt, None);
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

// ---------------------------------------------------------------------------------------------------------------------
// Tests
// ---------------------------------------------------------------------------------------------------------------------

#[cfg(test)]
mod tests;
