//! What goes into the saga and what comes out of it.

use std::fmt;

use chrono::{DateTime, Utc};
use kernel::{Money, OrderId, ProductId, Quantity, UserId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Command, CommandKind};

/// So many of a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Line {
    /// Which.
    pub product_id: ProductId,
    /// How many.
    pub quantity: Quantity,
}

/// The order as the saga needs it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Order {
    /// Also the saga's id.
    pub order_id: OrderId,
    /// Who ordered.
    pub user_id: UserId,
    /// What; each product once.
    pub lines: Vec<Line>,
    /// What is charged.
    pub total: Money,
    /// The token that is charged.
    pub payment_method: String,
}

/// Something that happened, and when the saga was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// The time at which it is handled.
    pub at: DateTime<Utc>,
    /// What it is.
    pub kind: InputKind,
}

/// A message of a service, the saga's own timer, or an operator's act.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs, reason = "the fields are those of the published messages")]
pub enum InputKind {
    /// Begins the saga.
    OrderCreated { order_id: OrderId, user_id: UserId, lines: Vec<Line>, total: Money, payment_method: String },
    /// A line is kept for the order.
    StockReserved { product_id: ProductId },
    /// A line cannot be kept for the order.
    StockRejected { product_id: ProductId, reason: String },
    /// A line is sold.
    StockCommitted { product_id: ProductId },
    /// Whatever the order did to this stock is undone.
    StockReleased { product_id: ProductId },
    /// The customer paid.
    PaymentSucceeded { transaction_id: String },
    /// The customer's payment was refused.
    PaymentFailed { reason: String },
    /// The customer has the money back, or never paid and no longer can.
    PaymentRefunded,
    /// The money could not be given back.
    RefundFailed { reason: String },
    /// The order is confirmed.
    OrderConfirmed,
    /// The order is cancelled.
    OrderCancelled,
    /// The customer wants no order any more.
    CancelRequested,
    /// The timer that was set for [`super::OrderFulfilment::deadline`]. One that comes early changes nothing.
    Timeout,
    /// Ask again for what is stuck, with all attempts anew.
    OperatorRetry { actor: String, reason: Option<String> },
    /// Take what is stuck as done.
    OperatorSkip { actor: String, reason: String },
    /// Undo a saga that goes forward.
    OperatorCancel { actor: String, reason: String },
    /// Ask for nothing and wait for nothing, until it is resumed.
    OperatorPause { actor: String, reason: String },
    /// Go on, with what came meanwhile.
    OperatorResume { actor: String, reason: String },
    /// Ask again for this and for what comes behind it, as far as it is not known to be done.
    OperatorRestart { actor: String, reason: String, from: CommandKind },
}

/// The kind of an input, without its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "they are described at `InputKind`")]
pub enum Trigger {
    OrderCreated,
    StockReserved,
    StockRejected,
    StockCommitted,
    StockReleased,
    PaymentSucceeded,
    PaymentFailed,
    PaymentRefunded,
    RefundFailed,
    OrderConfirmed,
    OrderCancelled,
    CancelRequested,
    Timeout,
    OperatorRetry,
    OperatorSkip,
    OperatorCancel,
    OperatorPause,
    OperatorResume,
    OperatorRestart,
}

impl Trigger {
    /// Whether an operator brings it about.
    pub fn is_operators(self) -> bool {
        matches!(
            self,
            Self::OperatorRetry
                | Self::OperatorSkip
                | Self::OperatorCancel
                | Self::OperatorPause
                | Self::OperatorResume
                | Self::OperatorRestart
        )
    }

    /// The name of the published message, or of the timer or act.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OrderCreated => "order_created",
            Self::StockReserved => "stock_reserved",
            Self::StockRejected => "stock_rejected",
            Self::StockCommitted => "stock_committed",
            Self::StockReleased => "stock_released",
            Self::PaymentSucceeded => "payment_success",
            Self::PaymentFailed => "payment_failed",
            Self::PaymentRefunded => "payment_refunded",
            Self::RefundFailed => "refund_failed",
            Self::OrderConfirmed => "order_confirmed",
            Self::OrderCancelled => "order_cancelled",
            Self::CancelRequested => "order_cancel_requested",
            Self::Timeout => "timeout",
            Self::OperatorRetry => "operator_retry",
            Self::OperatorSkip => "operator_skip",
            Self::OperatorCancel => "operator_cancel",
            Self::OperatorPause => "operator_pause",
            Self::OperatorResume => "operator_resume",
            Self::OperatorRestart => "operator_restart",
        }
    }
}

impl InputKind {
    /// Its kind alone.
    pub fn trigger(&self) -> Trigger {
        match self {
            Self::OrderCreated { .. } => Trigger::OrderCreated,
            Self::StockReserved { .. } => Trigger::StockReserved,
            Self::StockRejected { .. } => Trigger::StockRejected,
            Self::StockCommitted { .. } => Trigger::StockCommitted,
            Self::StockReleased { .. } => Trigger::StockReleased,
            Self::PaymentSucceeded { .. } => Trigger::PaymentSucceeded,
            Self::PaymentFailed { .. } => Trigger::PaymentFailed,
            Self::PaymentRefunded => Trigger::PaymentRefunded,
            Self::RefundFailed { .. } => Trigger::RefundFailed,
            Self::OrderConfirmed => Trigger::OrderConfirmed,
            Self::OrderCancelled => Trigger::OrderCancelled,
            Self::CancelRequested => Trigger::CancelRequested,
            Self::Timeout => Trigger::Timeout,
            Self::OperatorRetry { .. } => Trigger::OperatorRetry,
            Self::OperatorSkip { .. } => Trigger::OperatorSkip,
            Self::OperatorCancel { .. } => Trigger::OperatorCancel,
            Self::OperatorPause { .. } => Trigger::OperatorPause,
            Self::OperatorResume { .. } => Trigger::OperatorResume,
            Self::OperatorRestart { .. } => Trigger::OperatorRestart,
        }
    }
}

/// A step of the saga. A line's steps carry its product.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum StepId {
    /// Keep a line for the order (compensatable).
    ReserveStock(ProductId),
    /// Take the money (pivot).
    ChargePayment,
    /// Sell a line (retriable).
    CommitStock(ProductId),
    /// Tell the order that it is confirmed (retriable).
    ConfirmOrder,
    /// Tell the order that it is cancelled (retriable).
    CancelOrder,
}

impl fmt::Display for StepId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ReserveStock(product) => write!(f, "reserve_stock:{product}"),
            Self::ChargePayment => f.write_str("charge_payment"),
            Self::CommitStock(product) => write!(f, "commit_stock:{product}"),
            Self::ConfirmOrder => f.write_str("confirm_order"),
            Self::CancelOrder => f.write_str("cancel_order"),
        }
    }
}

/// Whether a step is done or undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Direction {
    /// Done.
    Forward,
    /// Undone.
    Undo,
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Forward => "forward",
            Self::Undo => "undo",
        })
    }
}

/// The id of the command that does or undoes a step: the same at each attempt, so that a service does it once.
pub fn command_id(order: OrderId, step: StepId, direction: Direction) -> Uuid {
    Uuid::new_v5(&order.0, format!("{step}/{direction}").as_bytes())
}

/// What the saga records. `at` is the time of the input that it follows from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs, reason = "fields that several events share are described at the first")]
pub enum Event {
    /// An order is to be fulfilled, by this version of the definition to the end.
    SagaStarted {
        at: DateTime<Utc>,
        /// One that does not say it began on the first.
        #[serde(default = "first_version")]
        definition_version: u32,
        order: Order,
    },
    /// A service is told to do something; `due` is when an answer is missed.
    CommandIssued {
        at: DateTime<Utc>,
        command_id: Uuid,
        step: StepId,
        direction: Direction,
        /// 1 at first; then the same command again.
        attempt: u32,
        due: DateTime<Utc>,
        command: Command,
    },
    /// A step was done or undone.
    StepSucceeded {
        at: DateTime<Utc>,
        step: StepId,
        direction: Direction,
        /// What the service calls it: a payment's transaction id.
        reference: Option<String>,
    },
    /// A step was refused. With `retry_at` it is asked for again then.
    StepFailed {
        at: DateTime<Utc>,
        step: StepId,
        direction: Direction,
        reason: String,
        retry_at: Option<DateTime<Utc>>,
    },
    /// No answer came in time: the step may have been done.
    StepTimedOut { at: DateTime<Utc>, step: StepId, direction: Direction, attempt: u32 },
    /// All that was done, or may have been, is being undone.
    CompensationStarted { at: DateTime<Utc>, reason: String },
    /// All attempts are used up; an operator decides.
    SagaStuck { at: DateTime<Utc>, step: StepId, direction: Direction, reason: String },
    /// The order is fulfilled.
    SagaCompleted { at: DateTime<Utc> },
    /// The order is cancelled and all of it undone.
    SagaCancelled { at: DateTime<Utc>, reason: String },
    /// An operator had what was stuck asked for again.
    OperatorRetried {
        at: DateTime<Utc>,
        actor: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// An operator took what was stuck as done.
    OperatorSkipped { at: DateTime<Utc>, actor: String, reason: String },
    /// An operator had the saga undone.
    OperatorCancelled { at: DateTime<Utc>, actor: String, reason: String },
    /// An operator had the saga stand still.
    OperatorPaused { at: DateTime<Utc>, actor: String, reason: String },
    /// A message came while the saga stood still: it is handled when the saga goes on.
    InputKept { at: DateTime<Utc>, input: InputKind },
    /// An operator had the saga go on.
    OperatorResumed { at: DateTime<Utc>, actor: String, reason: String },
    /// An operator had this asked for again, and what comes behind it.
    OperatorRestarted { at: DateTime<Utc>, actor: String, reason: String, from: CommandKind },
}

fn first_version() -> u32 {
    1
}

impl Event {
    /// The name under which it is stored.
    pub fn event_type(&self) -> &'static str {
        match self {
            Self::SagaStarted { .. } => "saga_started",
            Self::CommandIssued { .. } => "command_issued",
            Self::StepSucceeded { .. } => "step_succeeded",
            Self::StepFailed { .. } => "step_failed",
            Self::StepTimedOut { .. } => "step_timed_out",
            Self::CompensationStarted { .. } => "compensation_started",
            Self::SagaStuck { .. } => "saga_stuck",
            Self::SagaCompleted { .. } => "saga_completed",
            Self::SagaCancelled { .. } => "saga_cancelled",
            Self::OperatorRetried { .. } => "operator_retried",
            Self::OperatorSkipped { .. } => "operator_skipped",
            Self::OperatorCancelled { .. } => "operator_cancelled",
            Self::OperatorPaused { .. } => "operator_paused",
            Self::InputKept { .. } => "input_kept",
            Self::OperatorResumed { .. } => "operator_resumed",
            Self::OperatorRestarted { .. } => "operator_restarted",
        }
    }

    /// The version of its stored form.
    pub fn event_version(&self) -> &'static str {
        "1"
    }
}
