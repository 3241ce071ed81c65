//! All messages, for those who describe or check them.

use schemars::Schema;
use serde_json::Value;

use crate::{Published, commands, order, payment, product, saga, user};

/// One message type.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// Its name: `ce_type`.
    pub name: &'static str,
    /// Its topic.
    pub topic: &'static str,
    /// The field that is its record's key.
    pub key: &'static str,
    /// The version of its form.
    pub version: u32,
    /// Its JSON Schema.
    pub schema: fn() -> Schema,
    /// Reads a message of this type and writes it again: what a consumer understood of it.
    pub understood: fn(&Value) -> serde_json::Result<Value>,
}

impl Entry {
    const fn of<M: Published>() -> Self {
        Self {
            name: M::TYPE,
            topic: M::TOPIC,
            key: M::KEY,
            version: M::VERSION,
            schema: || schemars::schema_for!(M),
            understood: |json| M::from_json(json.to_string().as_bytes()).and_then(serde_json::to_value),
        }
    }

    /// The entry of a type, if there is such a type.
    pub fn named(name: &str) -> Option<&'static Self> {
        CATALOGUE.iter().find(|entry| entry.name == name)
    }
}

/// Every message type, topic by topic.
pub const CATALOGUE: &[Entry] = &[
    Entry::of::<order::OrderCreated>(),
    Entry::of::<order::OrderCancelRequested>(),
    Entry::of::<order::OrderConfirmed>(),
    Entry::of::<order::OrderCancelled>(),
    Entry::of::<product::ProductCreated>(),
    Entry::of::<product::ProductUpdated>(),
    Entry::of::<product::ProductDeleted>(),
    Entry::of::<product::StockChanged>(),
    Entry::of::<product::StockReserved>(),
    Entry::of::<product::StockRejected>(),
    Entry::of::<product::StockReleased>(),
    Entry::of::<product::StockCommitted>(),
    Entry::of::<payment::PaymentSuccess>(),
    Entry::of::<payment::PaymentFailed>(),
    Entry::of::<payment::PaymentRefunded>(),
    Entry::of::<payment::RefundFailed>(),
    Entry::of::<user::UserRegistered>(),
    Entry::of::<user::UserLocked>(),
    Entry::of::<user::UserUnlocked>(),
    Entry::of::<user::UserDeleted>(),
    Entry::of::<saga::SagaStarted>(),
    Entry::of::<saga::SagaCompleted>(),
    Entry::of::<saga::SagaCancelled>(),
    Entry::of::<saga::SagaStuck>(),
    Entry::of::<commands::ReserveStock>(),
    Entry::of::<commands::ReleaseStock>(),
    Entry::of::<commands::CommitStock>(),
    Entry::of::<commands::ChargePayment>(),
    Entry::of::<commands::RefundPayment>(),
    Entry::of::<commands::ConfirmOrder>(),
    Entry::of::<commands::CancelOrder>(),
];
