//! The domain's words as the API's document has them.

use domain::notification;
use poem_openapi::Enum;

/// What is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(remote = "notification::Kind", rename_all = "snake_case")]
pub(super) enum Kind {
    UserRegistered,
    OrderCreated,
    OrderConfirmed,
    OrderCancelled,
    PaymentSuccess,
    PaymentFailed,
    PaymentRefunded,
}

/// The way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(remote = "notification::Channel", rename_all = "snake_case")]
pub(super) enum Channel {
    Log,
    Email,
    Webhook,
}

/// Where a notification stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(remote = "notification::Status", rename_all = "snake_case")]
pub(super) enum Status {
    /// It is to be sent.
    Queued,
    /// An attempt failed; there will be another.
    Retrying,
    /// It was sent.
    Sent,
    /// It was not, and will not be unless somebody asks for it.
    Failed,
    /// It was not to be sent after all.
    Skipped,
}
