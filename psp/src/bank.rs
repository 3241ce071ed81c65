//! A bank that moves no money: it keeps a book, and behaves as badly as it is told to.
//!
//! Its tokens: `tok_declined` and `tok_insufficient_funds` are declined; `tok_timeout` is charged and the reply comes
//! later than anybody waits; `tok_flaky` is charged and the first answers about it are failures; any other is charged.
//! The success rate applies to all that are charged.

use kernel::Money;
use sqlx::PgPool;
use uuid::Uuid;

mod behaviour;
mod ledger;

pub use behaviour::{Behaviour, Chaos};

use ledger::{Entry, Ledger};

use crate::protocol::{Kind, Operation, Status};

const CARD_DECLINED: &str = "card_declined";
const INSUFFICIENT_FUNDS: &str = "insufficient_funds";
/// A refund of more than is there, or of a charge that is not.
const NOTHING_TO_REFUND: &str = "nothing_to_refund";
/// Answers about a `tok_flaky` that fail after the first, which fails too.
const FLAKY_FAILURES: i16 = 2;

/// The bank. Its book is the table `provider_ledger`.
pub struct Bank {
    ledger: Ledger,
    behaviour: Behaviour,
}

/// What is to be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charge {
    /// The idempotency key.
    pub key: String,
    /// What the caller calls it.
    pub reference: Uuid,
    /// How much.
    pub amount: Money,
    /// From which card or account: a token.
    pub payment_method: String,
}

/// What is to be given back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refund {
    /// The idempotency key.
    pub key: String,
    /// As of the charge.
    pub reference: Uuid,
    /// How much.
    pub amount: Money,
    /// The charge's transaction.
    pub charge: String,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// Something failed inside; whatever was asked may have happened.
    #[error("something went wrong here")]
    Failed,
    /// Not now.
    #[error("not at present")]
    Busy,
    /// The key was used for something else.
    #[error("this idempotency key was used for another request")]
    Reused,
    /// The book cannot be reached.
    #[error("the book cannot be reached: {0}")]
    Away(String),
}

impl Bank {
    /// A bank with its book in this database.
    pub fn new(pool: PgPool, behaviour: Behaviour) -> Self {
        Self { ledger: Ledger::new(pool), behaviour }
    }

    /// Charges, or says how the charge of this key ended. What is asked happens even if nobody waits for the answer.
    ///
    /// # Errors
    /// The result is not known to the caller then.
    pub async fn charge(&self, charge: &Charge) -> Result<Operation, Trouble> {
        let flaky = charge.payment_method == "tok_flaky";
        let entry = Entry {
            key: charge.key.clone(),
            kind: Kind::Charge,
            reference: charge.reference,
            amount: charge.amount,
            outcome: self.decide(charge),
            source: charge.payment_method.clone(),
            trouble: if flaky { FLAKY_FAILURES } else { 0 },
        };
        let entered = self.ledger.enter(entry.clone()).await?;
        if !entry.is_of(&entered.row) {
            return Err(Trouble::Reused);
        }
        if flaky && entered.is_new {
            self.behaviour.take_time(&charge.key).await;
            return Err(Trouble::Failed);
        }
        match charge.payment_method.as_str() {
            "tok_timeout" => tokio::time::sleep(self.behaviour.lost_reply_after).await,
            _ => self.behaviour.take_time(&charge.key).await,
        }
        entered.row.operation()
    }

    /// Pays back, or says how the refund of this key ended. Never more is paid back than was taken.
    ///
    /// # Errors
    /// As [`Bank::charge`].
    pub async fn refund(&self, refund: &Refund) -> Result<Operation, Trouble> {
        let entry = Entry {
            key: refund.key.clone(),
            kind: Kind::Refund,
            reference: refund.reference,
            amount: refund.amount,
            outcome: done(&refund.key),
            source: refund.charge.clone(),
            trouble: 0,
        };
        let row = self.ledger.pay_back(&entry, refused(NOTHING_TO_REFUND)).await?;
        if !entry.is_of(&row) {
            return Err(Trouble::Reused);
        }
        self.behaviour.take_time(&refund.key).await;
        row.operation()
    }

    /// How the request of this key ended; nothing if none has arrived so far.
    ///
    /// # Errors
    /// It is not known then.
    pub async fn find(&self, key: &str) -> Result<Option<Operation>, Trouble> {
        let Some(row) = self.ledger.find(key).await? else { return Ok(None) };
        if row.trouble > 0 && self.ledger.wears_off(key).await? {
            return Err(Trouble::Busy);
        }
        row.operation().map(Some)
    }

    /// What is booked under the key, without any of the bad manners of [`Bank::find`].
    ///
    /// # Errors
    /// The book cannot be reached.
    pub async fn entry(&self, key: &str) -> Result<Option<Operation>, Trouble> {
        self.ledger.find(key).await?.map(ledger::Row::operation).transpose()
    }

    /// Operations with keys beyond `after`, in the order of their keys.
    ///
    /// # Errors
    /// The book cannot be reached.
    pub async fn list(&self, after: &str, limit: u32) -> Result<Vec<Operation>, Trouble> {
        self.ledger.list(after, i64::from(limit)).await?.into_iter().map(ledger::Row::operation).collect()
    }

    /// Whether the answer about this key is to be given twice.
    pub fn answers_twice(&self, key: &str) -> bool {
        self.behaviour.answers_twice(key)
    }

    fn decide(&self, charge: &Charge) -> Outcome {
        match declined(&charge.payment_method) {
            Some(reason) => refused(reason),
            None if self.behaviour.declines(&charge.key) => refused(CARD_DECLINED),
            None => done(&charge.key),
        }
    }
}

/// Why a charge to this token is declined, if it always is.
pub fn declined(payment_method: &str) -> Option<&'static str> {
    match payment_method {
        "tok_declined" => Some(CARD_DECLINED),
        "tok_insufficient_funds" => Some(INSUFFICIENT_FUNDS),
        _ => None,
    }
}

/// The number of the transaction under this key: the same at each try.
pub fn transaction_of(key: &str) -> String {
    format!("TXN-{}", Uuid::new_v5(&Uuid::NAMESPACE_OID, key.as_bytes()).simple())
}

/// How a request ended.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Outcome {
    Done { transaction_id: String },
    Refused { reason: String },
}

impl Outcome {
    fn status(&self) -> Status {
        match self {
            Self::Done { .. } => Status::Succeeded,
            Self::Refused { .. } => Status::Failed,
        }
    }
}

fn refused(reason: &str) -> Outcome {
    Outcome::Refused { reason: reason.to_owned() }
}

fn done(key: &str) -> Outcome {
    Outcome::Done { transaction_id: transaction_of(key) }
}
