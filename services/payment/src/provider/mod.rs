//! Payment providers: who takes and gives back the money.

use async_trait::async_trait;
use domain::PaymentMethod;
use domain::payment::TransactionId;
use kernel::{Money, PaymentId};

mod simulated;

pub use simulated::{Behaviour, SimulatedProvider};

/// What a provider is asked to take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChargeRequest {
    /// The same at each sending: however often it comes, it is charged once.
    pub key: String,
    /// For the provider's books.
    pub payment_id: PaymentId,
    /// How much.
    pub amount: Money,
    /// From which card or account.
    pub payment_method: PaymentMethod,
}

/// What a provider is asked to give back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefundRequest {
    /// The same at each sending: however often it comes, it is paid back once.
    pub key: String,
    /// For the provider's books.
    pub payment_id: PaymentId,
    /// How much.
    pub amount: Money,
    /// The charge that is undone.
    pub charge: TransactionId,
}

/// How a request ended. It never changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The money moved.
    Done {
        /// The provider's number.
        transaction_id: TransactionId,
    },
    /// It did not, and this request will never move it.
    Refused {
        /// Why.
        reason: String,
    },
}

/// The result is not known: the money may have moved or not. Ask by key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It cannot be reached.
    #[error("the provider is unavailable: {0}")]
    Unavailable(String),
    /// It did not answer in time.
    #[error("the provider did not answer in time")]
    Timeout,
    /// It answered that something went wrong at its side.
    #[error("the provider failed with status {0}")]
    Failed(u16),
}

/// Takes and gives back money, idempotent by key.
#[async_trait]
pub trait Provider: Send + Sync + 'static {
    /// Charges, or answers how the request of this key ended.
    async fn charge(&self, request: &ChargeRequest) -> Result<Outcome, Error>;

    /// Pays back, or answers how the request of this key ended.
    async fn refund(&self, request: &RefundRequest) -> Result<Outcome, Error>;

    /// How the request of this key ended; `None` if none has arrived so far.
    async fn find(&self, key: &str) -> Result<Option<Outcome>, Error>;
}
