//! A provider that moves no money and keeps its book in a table.
//!
//! Its tokens: `tok_declined` and `tok_insufficient_funds` are declined; `tok_timeout` is charged
//! and the reply lost; `tok_flaky` is charged and the first reply is a status 500; any other is
//! charged. The success rate applies to all that are charged.

use std::time::Duration;

use async_trait::async_trait;
use domain::payment::TransactionId;
use sqlx::PgPool;
use uuid::Uuid;

use super::{ChargeRequest, Error, Outcome, Provider, RefundRequest};

mod ledger;

use ledger::{Entry, Kind, Ledger};

const CARD_DECLINED: &str = "card_declined";
const INSUFFICIENT_FUNDS: &str = "insufficient_funds";
const NOTHING_TO_REFUND: &str = "nothing_to_refund";

/// How the simulated provider behaves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Behaviour {
    /// The share of charges that it accepts, 0 to 1; a key is always accepted or never.
    pub success_rate: f64,
    /// How long it takes to answer.
    pub latency: Duration,
    /// When the reply to a `tok_timeout` comes after all.
    pub lost_reply_after: Duration,
}

/// The provider.
pub struct SimulatedProvider {
    ledger: Ledger,
    behaviour: Behaviour,
}

impl SimulatedProvider {
    /// A provider whose book is in this database, migrated by [`crate::MIGRATOR`].
    pub fn new(pool: PgPool, behaviour: Behaviour) -> Self {
        Self { ledger: Ledger::new(pool), behaviour }
    }

    fn decide(&self, request: &ChargeRequest) -> Outcome {
        match request.payment_method.as_str() {
            "tok_declined" => refused(CARD_DECLINED),
            "tok_insufficient_funds" => refused(INSUFFICIENT_FUNDS),
            _ if share(&request.key) >= self.behaviour.success_rate => refused(CARD_DECLINED),
            _ => done(&request.key),
        }
    }

    /// After the entry: what is asked happens even if nobody waits for the reply.
    async fn take_time(&self) {
        if !self.behaviour.latency.is_zero() {
            tokio::time::sleep(self.behaviour.latency).await;
        }
    }
}

#[async_trait]
impl Provider for SimulatedProvider {
    async fn charge(&self, request: &ChargeRequest) -> Result<Outcome, Error> {
        let entry = Entry {
            key: request.key.clone(),
            kind: Kind::Charge,
            payment_id: request.payment_id,
            amount: request.amount,
            outcome: self.decide(request),
        };
        let entered = self.ledger.enter(entry).await?;
        self.take_time().await;
        match request.payment_method.as_str() {
            "tok_timeout" => tokio::time::sleep(self.behaviour.lost_reply_after).await,
            "tok_flaky" if entered.is_new => return Err(Error::Failed(500)),
            _ => {}
        }
        Ok(entered.outcome)
    }

    async fn refund(&self, request: &RefundRequest) -> Result<Outcome, Error> {
        if let Some(outcome) = self.find(&request.key).await? {
            return Ok(outcome);
        }
        let covered = self.ledger.balance_minor(request.payment_id).await? >= request.amount.minor;
        let entry = Entry {
            key: request.key.clone(),
            kind: Kind::Refund,
            payment_id: request.payment_id,
            amount: request.amount,
            outcome: if covered { done(&request.key) } else { refused(NOTHING_TO_REFUND) },
        };
        let entered = self.ledger.enter(entry).await?;
        self.take_time().await;
        Ok(entered.outcome)
    }

    async fn find(&self, key: &str) -> Result<Option<Outcome>, Error> {
        self.ledger.find(key).await
    }
}

fn refused(reason: &str) -> Outcome {
    Outcome::Refused { reason: reason.to_owned() }
}

/// The number is made from the key: the same at each try.
fn done(key: &str) -> Outcome {
    let number = hash(key).simple();
    Outcome::Done { transaction_id: TransactionId(format!("TXN-{number}")) }
}

/// Where in 0..1 the key falls, evenly spread.
fn share(key: &str) -> f64 {
    let [a, b, c, d, ..] = hash(key).into_bytes();
    f64::from(u32::from_be_bytes([a, b, c, d])) / (f64::from(u32::MAX) + 1.0)
}

fn hash(key: &str) -> Uuid {
    Uuid::new_v5(&Uuid::NAMESPACE_OID, key.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_spread_evenly_and_always_fall_alike() {
        let accepted = (0..10_000).filter(|n| share(&format!("{n}/charge")) < 0.8).count();
        assert!((7_800..8_200).contains(&accepted), "{accepted}");
        assert_eq!(share("1/charge").to_bits(), share("1/charge").to_bits());
    }

    #[test]
    fn the_extremes_are_all_and_none() {
        assert!((0..10_000).map(|n| share(&n.to_string())).all(|share| (0.0..1.0).contains(&share)));
    }
}
