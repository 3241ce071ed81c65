use super::first;
use crate::audit::facts::{Fact, Facts};
use crate::audit::findings::Findings;
use crate::audit::snapshot::Snapshot;
use crate::audit::walk::Subject;
use chrono::{DateTime, Utc};
use domain::payment::{Charge, Event, Payment, Stage};
use event_store::RecordedEvent;
use kernel::{Currency, Money};
use psp::protocol::{Kind, Operation, Status};
use serde::{Deserialize, Serialize};
use sqlx::FromRow;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use uuid::Uuid;

/// Payments that are looked for in one query.
const IDS_AT_ONCE: usize = 10_000;

/// What moved for an order, in its currency.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(in crate::audit) struct PaymentFacts {
    pub(in crate::audit) id: Uuid,
    pub(in crate::audit) currency: Currency,
    /// Captured − refunded, as the payment's events have it.
    pub(in crate::audit) net_minor: i64,
    /// The same in the provider's book.
    pub(in crate::audit) ledger_minor: i64,
}

/// The provider's own book, as far as it is behind HTTP: whatever a payment was found for is taken out.
pub(in crate::audit) struct Book {
    by_payment: Mutex<HashMap<Uuid, Vec<Entry>>>,
    /// Transactions that stand there more than once.
    twice: Vec<String>,
    /// The moment of the payments that are looked at; the book may have newer entries.
    at: DateTime<Utc>,
}

pub(in crate::audit) struct Payments {
    facts: Facts,
    book: Arc<Book>,
    /// What stands in the payment service's own book.
    ledger: HashMap<Uuid, Vec<Entry>>,
    /// Of the stream that is walked through.
    order: Option<Uuid>,
}

#[derive(FromRow)]
pub(in crate::audit) struct Row {
    payment_id: Uuid,
    order_id: Uuid,
    user_id: Option<Uuid>,
    status: String,
    amount_minor: i64,
    currency: Option<String>,
    payment_method: Option<String>,
    transaction_id: Option<String>,
    refunded_minor: i64,
    sequence: i64,
}

#[derive(FromRow)]
struct Entry {
    key: String,
    payment_id: Uuid,
    amount_minor: i64,
    currency: String,
    outcome: String,
    transaction_id: Option<String>,
    created_at: DateTime<Utc>,
}

impl Subject for Payments {
    type Aggregate = Payment;
    type Row = Row;

    const TABLE: &'static str = "payments";
    const KEY: &'static str = "payment_id";
    const ONCE: &'static [&'static str] =
        &["charge_requested", "payment_captured", "payment_declined", "payment_voided", "payment_refunded"];

    fn key(row: &Row) -> Uuid {
        row.payment_id
    }

    fn sequence(row: &Row) -> i64 {
        row.sequence
    }

    fn difference(&self, row: &Row, state: &Payment) -> Option<&'static str> {
        let (charge, stage) = match state {
            Payment::Unasked => return Some("payment_id"),
            Payment::Voided { .. } => {
                return first([("order_id", Some(row.order_id) == self.order), ("status", row.status == "voided")]);
            }
            Payment::Asked { charge, stage } => (charge, stage),
        };
        let refunded = if matches!(stage, Stage::Refunded { .. }) { charge.amount.minor } else { 0 };
        first([
            ("order_id", row.order_id == charge.order_id.0),
            ("user_id", row.user_id == Some(charge.user_id.0)),
            ("status", row.status == status(stage)),
            ("amount_minor", row.amount_minor == charge.amount.minor),
            ("currency", row.currency.as_deref() == Some(charge.amount.currency.code())),
            ("payment_method", row.payment_method.as_deref() == Some(charge.payment_method.as_str())),
            ("transaction_id", row.transaction_id.as_deref() == captured_by(stage)),
            ("refunded_minor", row.refunded_minor == refunded),
        ])
    }

    async fn prepare(
        &mut self,
        snapshot: &mut Snapshot,
        ids: &[Uuid],
        _page: &[RecordedEvent],
        _findings: &mut Findings,
    ) -> anyhow::Result<()> {
        let query = "SELECT key, payment_id, amount_minor, currency, outcome, transaction_id, created_at
                       FROM provider_ledger
                      WHERE payment_id = ANY($1)";
        for entry in snapshot.rows::<Entry>(query, ids).await? {
            self.ledger.entry(entry.payment_id).or_default().push(entry);
        }
        Ok(())
    }

    fn event(&mut self, _id: Uuid, _before: &Payment, event: &Event, _findings: &mut Findings) {
        if let Event::ChargeRequested { order_id, .. } | Event::PaymentVoided { order_id, .. } = event {
            self.order.get_or_insert(order_id.0);
        }
    }

    fn end(&mut self, id: Uuid, _sequence: u64, state: Payment, findings: &mut Findings) {
        let mut entries = self.ledger.remove(&id).unwrap_or_default();
        entries.extend(self.book.take(id));
        let order = self.order.take();
        findings.checks.charged_once.checked(1);
        let charges = entries.iter().filter(|entry| entry.outcome == "captured").count();
        if charges > 1 {
            findings.checks.charged_once.violated(|| format!("payment {id}: charged {charges} times by the provider"));
        }
        findings.checks.money.checked(1);
        // Of a payment that went on meanwhile nothing can be said.
        let settled = entries.iter().all(|entry| entry.created_at <= self.book.at);
        if settled && let Some(how) = contradiction(&state, &entries) {
            findings.checks.money.violated(|| format!("payment {id}: {how}"));
        }
        let net_minor = net_minor(&state);
        let ledger_minor = entries.iter().map(Entry::moved_minor).sum();
        let facts = PaymentFacts {
            id,
            currency: currency(&state, &entries),
            net_minor,
            ledger_minor: if settled { ledger_minor } else { net_minor },
        };
        let Some(order) = order else { return };
        self.facts.put(order, Fact::Payment(facts));
    }
}

impl Payments {
    pub(in crate::audit) fn new(facts: Facts, book: Arc<Book>) -> Self {
        Self { facts, book, ledger: HashMap::new(), order: None }
    }
}

impl Book {
    /// One beside which payments are looked at as they were at this moment, which was before it was read.
    pub(in crate::audit) fn new(operations: Vec<Operation>, at: DateTime<Utc>) -> Self {
        let (mut by_payment, mut twice) = (HashMap::<Uuid, Vec<Entry>>::new(), Vec::new());
        let mut transactions = HashSet::new();
        for operation in operations {
            if let Some(transaction) = &operation.transaction_id
                && !transactions.insert(transaction.clone())
            {
                twice.push(format!("transaction {transaction}"));
            }
            by_payment.entry(operation.reference).or_default().push(operation.into());
        }
        Self { by_payment: Mutex::new(by_payment), twice, at }
    }

    fn take(&self, payment: Uuid) -> Vec<Entry> {
        self.by_payment.lock().unwrap_or_else(PoisonError::into_inner).remove(&payment).unwrap_or_default()
    }

    /// What the provider has in its book that nobody asked for.
    pub(in crate::audit) async fn unasked(
        &self,
        snapshot: &mut Snapshot,
        findings: &mut Findings,
    ) -> anyhow::Result<()> {
        let left = std::mem::take(&mut *self.by_payment.lock().unwrap_or_else(PoisonError::into_inner));
        let ids: Vec<Uuid> = left.keys().copied().collect();
        let query = "SELECT id FROM UNNEST($1) AS id
                      WHERE NOT EXISTS (SELECT FROM events e WHERE e.aggregate_type = 'payment' AND e.aggregate_id = id::text)";
        for ids in ids.chunks(IDS_AT_ONCE) {
            let unasked: Vec<Uuid> = sqlx::query_scalar(query).bind(ids).fetch_all(snapshot.connection()).await?;
            let entries = unasked.iter().filter_map(|id| left.get(id)).flatten();
            for Entry { key, outcome, amount_minor, currency, .. } in
                entries.filter(|entry| entry.created_at <= self.at)
            {
                findings.checks.money.violated(|| {
                    format!("the provider's {key}: {outcome} {amount_minor} {currency} without a payment")
                });
            }
        }
        let entries: Vec<(String, i64)> = sqlx::query_as(
            "SELECT l.key || ': ' || l.outcome || ' ' || l.amount_minor || ' ' || l.currency, count(*) OVER ()
               FROM provider_ledger l
              WHERE NOT EXISTS (SELECT FROM events e
                                 WHERE e.aggregate_type = 'payment' AND e.aggregate_id = l.payment_id::text)
              ORDER BY 1 LIMIT 20",
        )
        .fetch_all(snapshot.connection())
        .await?;
        let count = entries.first().map_or(0, |(_, count)| u64::try_from(*count).unwrap_or(0));
        findings.checks.money.violated_by(
            count,
            entries.into_iter().map(|(what, _)| format!("the provider's {what} without a payment")),
        );
        // The table's own key sees to the first of these, as long as it is there.
        let twice: Vec<String> = sqlx::query_scalar(
            "SELECT 'key ' || key FROM provider_ledger GROUP BY key HAVING count(*) > 1
              UNION ALL
             SELECT 'transaction ' || transaction_id FROM provider_ledger
              WHERE transaction_id IS NOT NULL GROUP BY transaction_id HAVING count(*) > 1",
        )
        .fetch_all(snapshot.connection())
        .await?;
        let twice: Vec<&String> = twice.iter().chain(&self.twice).collect();
        let count = u64::try_from(twice.len())?;
        findings
            .checks
            .charged_once
            .violated_by(count, twice.into_iter().map(|what| format!("the provider's {what} is there again")));
        Ok(())
    }
}

impl From<Operation> for Entry {
    fn from(operation: Operation) -> Self {
        let outcome = match (operation.kind, operation.status) {
            (Kind::Charge, Status::Succeeded) => "captured",
            (Kind::Charge, Status::Failed) => "declined",
            (Kind::Refund, Status::Succeeded) => "refunded",
            (Kind::Refund, Status::Failed) => "refused",
        };
        Self {
            key: operation.key,
            payment_id: operation.reference,
            amount_minor: operation.amount_minor,
            currency: operation.currency,
            outcome: outcome.to_owned(),
            transaction_id: operation.transaction_id,
            created_at: operation.created_at,
        }
    }
}

impl Entry {
    fn moved_minor(&self) -> i64 {
        match self.outcome.as_str() {
            "captured" => self.amount_minor,
            "refunded" => -self.amount_minor,
            _ => 0,
        }
    }

    fn is_of(&self, charge: &Charge) -> bool {
        (self.amount_minor, self.currency.as_str()) == (charge.amount.minor, charge.amount.currency.code())
    }
}

/// What the provider's book has otherwise than the payment. The provider is asked before its answer is recorded, so
/// while it is asked either may be.
fn contradiction(state: &Payment, entries: &[Entry]) -> Option<String> {
    let done = |outcome: &str| entries.iter().find(|entry| entry.outcome == outcome);
    let (captured, refunded) = (done("captured"), done("refunded"));
    let Payment::Asked { charge, stage } = state else {
        return captured.or(refunded).map(|entry| format!("never asked for, and {} has {}", entry.key, entry.outcome));
    };
    if let Some(entry) = [captured, refunded].into_iter().flatten().find(|entry| !entry.is_of(charge)) {
        let Entry { key, amount_minor, currency, .. } = entry;
        return Some(format!("{}, and {key} has {amount_minor} minor units of {currency}", charge.amount));
    }
    let told = captured_by(stage);
    match (told, captured) {
        (Some(_), None) => return Some("captured, and not by the provider".to_owned()),
        (Some(told), Some(entry)) if entry.transaction_id.as_deref() != Some(told) => {
            return Some(format!("captured by {told}, and {} has another transaction", entry.key));
        }
        (None, Some(entry)) if !matches!(stage, Stage::InFlight { .. }) => {
            return Some(format!("{}, and {} is captured", status(stage), entry.key));
        }
        _ => {}
    }
    match (stage, refunded) {
        (Stage::Refunded { .. }, None) => Some("refunded, and not by the provider".to_owned()),
        (Stage::Refunded { .. } | Stage::Refunding { .. }, _) | (_, None) => None,
        (_, Some(entry)) => Some(format!("{}, and {} is refunded", status(stage), entry.key)),
    }
}

fn net_minor(state: &Payment) -> i64 {
    match state {
        Payment::Asked { charge, stage } => match stage {
            Stage::Captured { .. } | Stage::Refunding { .. } | Stage::RefundFailed { .. } => charge.amount.minor,
            Stage::InFlight { .. } | Stage::Declined | Stage::Void | Stage::Refunded { .. } => 0,
        },
        Payment::Unasked | Payment::Voided { .. } => 0,
    }
}

fn currency(state: &Payment, entries: &[Entry]) -> Currency {
    match state {
        Payment::Asked { charge: Charge { amount: Money { currency, .. }, .. }, .. } => *currency,
        _ => entries.first().and_then(|entry| entry.currency.parse().ok()).unwrap_or(Currency::EUR),
    }
}

fn captured_by(stage: &Stage) -> Option<&str> {
    match stage {
        Stage::InFlight { .. } | Stage::Declined | Stage::Void => None,
        Stage::Captured { transaction_id }
        | Stage::Refunding { transaction_id, .. }
        | Stage::RefundFailed { transaction_id, .. }
        | Stage::Refunded { transaction_id, .. } => Some(&transaction_id.0),
    }
}

/// As the read model calls it.
fn status(stage: &Stage) -> &'static str {
    match stage {
        Stage::InFlight { .. } => "charge_requested",
        // A refund of what was declined leaves it declined.
        Stage::Declined | Stage::Void => "failed",
        Stage::Captured { .. } => "success",
        Stage::Refunding { .. } => "refund_requested",
        Stage::RefundFailed { .. } => "refund_failed",
        Stage::Refunded { .. } => "refunded",
    }
}
