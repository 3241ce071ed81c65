//! What the stores say of each order, put aside until all of it is there.

use super::spill::Spill;
use super::subjects::{OrderFacts, PaymentFacts, SagaFacts, Share};
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use uuid::Uuid;

/// What one store says of an order.
#[derive(Serialize, Deserialize)]
pub(super) enum Fact {
    Order(OrderFacts),
    Saga(SagaFacts),
    Payment(PaymentFacts),
    Share(Share),
}

/// Where facts go.
#[derive(Clone)]
pub(super) struct Facts {
    aside: Arc<Spill>,
    /// Those of other orders are of no interest.
    only: Option<Arc<HashSet<Uuid>>>,
}

impl Facts {
    /// Of all orders, or of some.
    pub(super) fn new(only: Option<Arc<HashSet<Uuid>>>) -> Self {
        Self { aside: Arc::new(Spill::new()), only }
    }

    /// Puts one aside.
    pub(super) fn put(&self, order: Uuid, fact: Fact) {
        if self.only.as_ref().is_some_and(|only| !only.contains(&order)) {
            return;
        }
        // Plain data: it always has a form.
        if let Ok(mut line) = serde_json::to_vec(&(order, fact)) {
            line.push(b'\n');
            self.aside.put(&order, &line);
        }
    }

    /// The books of a part of the orders.
    ///
    /// # Errors
    /// When something could not be put aside.
    pub(super) fn part(&self, number: usize) -> anyhow::Result<Part> {
        let mut part = Part::default();
        let lines = self.aside.part(number)?;
        for line in serde_json::Deserializer::from_slice(&lines).into_iter() {
            let (order, fact): (Uuid, Fact) = line?;
            match fact {
                Fact::Order(order_facts) => drop(part.orders.insert(order, order_facts)),
                Fact::Saga(saga) => drop(part.sagas.insert(order, saga)),
                Fact::Share(share) => part.shares.entry(order).or_default().push(share),
                Fact::Payment(payment) => {
                    let id = payment.id;
                    if let Some(other) = part.payments.insert(order, payment) {
                        part.paid_twice.push((order, other.id, id));
                    }
                }
            }
        }
        Ok(part)
    }
}

/// What the four stores say of some orders, by order.
#[derive(Default)]
pub(super) struct Part {
    pub(super) orders: HashMap<Uuid, OrderFacts>,
    pub(super) sagas: HashMap<Uuid, SagaFacts>,
    pub(super) payments: HashMap<Uuid, PaymentFacts>,
    pub(super) shares: HashMap<Uuid, Vec<Share>>,
    /// Orders with two payments.
    pub(super) paid_twice: Vec<(Uuid, Uuid, Uuid)>,
}
