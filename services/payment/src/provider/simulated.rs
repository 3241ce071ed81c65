//! A provider inside the service: it moves no money and keeps its book in a table.

use async_trait::async_trait;
use domain::payment::TransactionId;
use kernel::Live;
use psp::bank::{Bank, Behaviour, Charge, Refund, Trouble};
use psp::protocol::Operation;
use sqlx::PgPool;
use tokio::sync::mpsc;

use super::{ChargeRequest, Error, Notice, Outcome, Provider, RefundRequest};

/// The provider. What its tokens do: [`psp::bank`].
pub struct SimulatedProvider {
    bank: Bank,
    notices: Option<mpsc::Sender<Notice>>,
}

impl SimulatedProvider {
    /// A provider whose book is in this database, migrated by [`crate::MIGRATOR`].
    pub fn new(pool: PgPool, behaviour: Behaviour) -> Self {
        Self { bank: Bank::new(pool, behaviour), notices: None }
    }

    /// Tells results that it is to tell twice here too.
    #[must_use]
    pub(crate) fn telling(mut self, notices: mpsc::Sender<Notice>) -> Self {
        self.notices = Some(notices);
        self
    }

    fn tell_again(&self, operation: &Operation) {
        if let Some(notices) = &self.notices
            && self.bank.answers_twice(&operation.key)
            && let Ok(notice) = Notice::of(operation.clone())
        {
            // What finds no place is not told twice.
            let _ = notices.try_send(notice);
        }
    }
}

#[async_trait]
impl Provider for SimulatedProvider {
    fn name(&self) -> &'static str {
        "simulated"
    }

    async fn charge(&self, _: Live, request: &ChargeRequest) -> Result<Outcome, Error> {
        let charge = Charge {
            key: request.key.clone(),
            reference: request.payment_id.0,
            amount: request.amount,
            payment_method: request.payment_method.as_str().to_owned(),
        };
        let operation = self.bank.charge(&charge).await?;
        self.tell_again(&operation);
        Outcome::of(operation)
    }

    async fn refund(&self, _: Live, request: &RefundRequest) -> Result<Outcome, Error> {
        let TransactionId(charge) = request.charge.clone();
        let refund =
            Refund { key: request.key.clone(), reference: request.payment_id.0, amount: request.amount, charge };
        let operation = self.bank.refund(&refund).await?;
        self.tell_again(&operation);
        Outcome::of(operation)
    }

    async fn find(&self, key: &str) -> Result<Option<Outcome>, Error> {
        self.bank.find(key).await?.map(Outcome::of).transpose()
    }
}

impl From<Trouble> for Error {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Failed => Self::Failed(500),
            Trouble::Reused => Self::Failed(422),
            Trouble::Busy | Trouble::Away(_) => Self::Unavailable(trouble.to_string()),
        }
    }
}
