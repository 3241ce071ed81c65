//! What services are told to do.

use std::fmt;

use kernel::{Money, ProductId, Quantity, UserId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a service is told to do for the order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs, reason = "the fields are those of the published commands")]
pub enum Command {
    /// Keep so many for the order.
    ReserveStock { product_id: ProductId, quantity: Quantity },
    /// Undo whatever the order did to this stock.
    ReleaseStock { product_id: ProductId },
    /// Sell what was kept.
    CommitStock { product_id: ProductId },
    /// Take the money.
    ChargePayment { user_id: UserId, amount: Money, payment_method: String },
    /// Void the charge, or give the money back.
    RefundPayment { reason: String },
    /// The order is confirmed.
    ConfirmOrder,
    /// The order is cancelled.
    CancelOrder { reason: String },
}

impl Command {
    /// Its kind alone.
    pub fn kind(&self) -> CommandKind {
        match self {
            Self::ReserveStock { .. } => CommandKind::ReserveStock,
            Self::ChargePayment { .. } => CommandKind::ChargePayment,
            Self::CommitStock { .. } => CommandKind::CommitStock,
            Self::ConfirmOrder => CommandKind::ConfirmOrder,
            Self::RefundPayment { .. } => CommandKind::RefundPayment,
            Self::ReleaseStock { .. } => CommandKind::ReleaseStock,
            Self::CancelOrder { .. } => CommandKind::CancelOrder,
        }
    }

    /// The name of the published command.
    pub fn as_str(&self) -> &'static str {
        self.kind().as_str()
    }
}

/// A command without its data: the name by which operators call a step and its undo. In the order in which a saga comes
/// to them: on its way, then on its way back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs, reason = "they are described at `Command`")]
pub enum CommandKind {
    ReserveStock,
    ChargePayment,
    CommitStock,
    ConfirmOrder,
    RefundPayment,
    ReleaseStock,
    CancelOrder,
}

impl CommandKind {
    /// All of them, in their order.
    pub const ALL: [Self; 7] = [
        Self::ReserveStock,
        Self::ChargePayment,
        Self::CommitStock,
        Self::ConfirmOrder,
        Self::RefundPayment,
        Self::ReleaseStock,
        Self::CancelOrder,
    ];

    /// The name of the published command.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ReserveStock => "reserve_stock",
            Self::ChargePayment => "charge_payment",
            Self::CommitStock => "commit_stock",
            Self::ConfirmOrder => "confirm_order",
            Self::RefundPayment => "refund_payment",
            Self::ReleaseStock => "release_stock",
            Self::CancelOrder => "cancel_order",
        }
    }

    /// Whether it is on the way back of a saga that is undone.
    pub fn goes_back(self) -> bool {
        self >= Self::RefundPayment
    }

    /// What is asked for at once is one stage; a stage is asked for when the one before it is done.
    pub(super) fn stage(self) -> u8 {
        match self {
            Self::ReserveStock => 0,
            Self::ChargePayment => 1,
            Self::CommitStock | Self::ConfirmOrder => 2,
            Self::RefundPayment | Self::ReleaseStock => 3,
            Self::CancelOrder => 4,
        }
    }
}

impl fmt::Display for CommandKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
