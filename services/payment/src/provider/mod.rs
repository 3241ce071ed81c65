//! Payment providers: who takes and gives back the money.

use async_trait::async_trait;
use domain::PaymentMethod;
use domain::payment::TransactionId;
use kernel::{Live, Money, PaymentId};
use psp::protocol::{Operation, Status};

mod http;
mod simulated;

pub use http::{HttpProvider, HttpSettings};
pub use psp::bank::{Behaviour, Chaos};
pub use simulated::SimulatedProvider;

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

impl Outcome {
    /// As the provider's book has it.
    ///
    /// # Errors
    /// It says that money moved, and not by which transaction.
    pub(crate) fn of(operation: Operation) -> Result<Self, Error> {
        match (operation.status, operation.transaction_id) {
            (Status::Succeeded, Some(id)) => Ok(Self::Done { transaction_id: TransactionId(id) }),
            (Status::Succeeded, None) => Err(Error::Confused("it succeeded without a transaction")),
            (Status::Failed, _) => Ok(Self::Refused { reason: operation.reason.unwrap_or_default() }),
        }
    }
}

/// A result that the provider tells without having been asked just now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Notice {
    /// The idempotency key of the request.
    pub(crate) key: String,
    /// The payment, as the provider has it.
    pub(crate) payment_id: PaymentId,
    /// How much.
    pub(crate) amount: Money,
    /// How it ended.
    pub(crate) outcome: Outcome,
}

impl Notice {
    /// The notice of an operation.
    ///
    /// # Errors
    /// The operation makes no sense.
    pub(crate) fn of(operation: Operation) -> Result<Self, Error> {
        let currency = operation.currency.parse().map_err(|_| Error::Confused("its currency is not known"))?;
        Ok(Self {
            key: operation.key.clone(),
            payment_id: PaymentId(operation.reference),
            amount: Money::new(operation.amount_minor, currency),
            outcome: Outcome::of(operation)?,
        })
    }
}

/// The result is not known: the money may have moved or not. Ask by key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It cannot be reached, or says that it cannot now.
    #[error("the provider is unavailable: {0}")]
    Unavailable(String),
    /// It failed too often of late: it is not asked for a while.
    #[error("the provider is left alone for a while: it failed too often")]
    Resting,
    /// It did not answer in time.
    #[error("the provider did not answer in time")]
    Timeout,
    /// It answered with a status that is no result.
    #[error("the provider answered with status {0}")]
    Failed(u16),
    /// It answered what cannot be.
    #[error("the provider's answer makes no sense: {0}")]
    Confused(&'static str),
}

impl Error {
    /// The word for it in metrics.
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Self::Unavailable(_) => "unavailable",
            Self::Resting => "resting",
            Self::Timeout => "timeout",
            Self::Failed(_) => "failed",
            Self::Confused(_) => "confused",
        }
    }
}

/// Takes and gives back money, idempotent by key.
#[async_trait]
pub trait Provider: Send + Sync + 'static {
    /// What metrics call it.
    fn name(&self) -> &'static str;

    /// Charges, or answers how the request of this key ended.
    async fn charge(&self, live: Live, request: &ChargeRequest) -> Result<Outcome, Error>;

    /// Pays back, or answers how the request of this key ended.
    async fn refund(&self, live: Live, request: &RefundRequest) -> Result<Outcome, Error>;

    /// How the request of this key ended; `None` if none has arrived so far.
    async fn find(&self, key: &str) -> Result<Option<Outcome>, Error>;
}
