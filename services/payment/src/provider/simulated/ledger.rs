//! The simulated provider's book: one entry a key, whoever comes first.

use std::collections::HashMap;

use domain::payment::TransactionId;
use kernel::{Money, PaymentId};
use sqlx::PgPool;

use super::{Error, Outcome};
use crate::grouped::{GivenUp, Grouped};

/// What an entry is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Charge,
    Refund,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Charge => "charge",
            Self::Refund => "refund",
        }
    }
}

/// An entry to be made.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) kind: Kind,
    pub(super) payment_id: PaymentId,
    pub(super) amount: Money,
    pub(super) outcome: Outcome,
}

impl Entry {
    fn outcome(&self) -> &'static str {
        match (self.kind, &self.outcome) {
            (Kind::Charge, Outcome::Done { .. }) => "captured",
            (Kind::Charge, Outcome::Refused { .. }) => "declined",
            (Kind::Refund, Outcome::Done { .. }) => "refunded",
            (Kind::Refund, Outcome::Refused { .. }) => "refused",
        }
    }

    fn transaction_id(&self) -> Option<&str> {
        match &self.outcome {
            Outcome::Done { transaction_id } => Some(&transaction_id.0),
            Outcome::Refused { .. } => None,
        }
    }

    fn reason(&self) -> Option<&str> {
        match &self.outcome {
            Outcome::Done { .. } => None,
            Outcome::Refused { reason } => Some(reason),
        }
    }
}

/// What stands under a key.
#[derive(Debug, Clone)]
pub(super) struct Entered {
    pub(super) outcome: Outcome,
    /// It was entered now.
    pub(super) is_new: bool,
}

/// The book. Entries made at once share one INSERT.
pub(super) struct Ledger {
    pool: PgPool,
    entries: Grouped<Entry, Result<Entered, Error>>,
}

#[derive(sqlx::FromRow)]
struct Row {
    key: String,
    transaction_id: Option<String>,
    reason: Option<String>,
}

impl Row {
    fn outcome(self) -> Outcome {
        match self.transaction_id {
            Some(id) => Outcome::Done { transaction_id: TransactionId(id) },
            None => Outcome::Refused { reason: self.reason.unwrap_or_default() },
        }
    }
}

impl Ledger {
    pub(super) fn new(pool: PgPool) -> Self {
        let entries = Grouped::start({
            let pool = pool.clone();
            move |group: Vec<Entry>| {
                let pool = pool.clone();
                async move { enter_all(&pool, group).await }
            }
        });
        Self { pool, entries }
    }

    /// Makes the entry unless its key has one, and answers what stands under the key.
    pub(super) async fn enter(&self, entry: Entry) -> Result<Entered, Error> {
        self.entries.call(entry).await.map_err(|GivenUp| unavailable(&GivenUp))?
    }

    /// What stands under the key.
    pub(super) async fn find(&self, key: &str) -> Result<Option<Outcome>, Error> {
        let row: Option<Row> = sqlx::query_as("SELECT key, transaction_id, reason FROM provider_ledger WHERE key = $1")
            .bind(key)
            .fetch_optional(&self.pool)
            .await
            .map_err(|error| unavailable(&error))?;
        Ok(row.map(Row::outcome))
    }

    /// What was taken and not given back.
    pub(super) async fn balance_minor(&self, payment_id: PaymentId) -> Result<i64, Error> {
        sqlx::query_scalar(
            "SELECT COALESCE(sum(CASE outcome WHEN 'captured' THEN amount_minor WHEN 'refunded' THEN -amount_minor END), 0)::bigint
               FROM provider_ledger WHERE payment_id = $1",
        )
        .bind(payment_id.0)
        .fetch_one(&self.pool)
        .await
        .map_err(|error| unavailable(&error))
    }
}

async fn enter_all(pool: &PgPool, mut group: Vec<Entry>) -> Vec<Result<Entered, Error>> {
    let keys: Vec<String> = group.iter().map(|entry| entry.key.clone()).collect();
    // In one order everywhere: two groups with the same keys wait for each other, and never in a ring.
    group.sort_by(|a, b| a.key.cmp(&b.key));
    match standing(pool, &group).await {
        Ok(mut standing) => keys
            .iter()
            .map(|key| {
                let entered = standing.get(key).cloned().ok_or_else(|| Error::Unavailable("no entry".to_owned()));
                // A key that came twice is new to one of its callers alone.
                if let Some(entered) = standing.get_mut(key) {
                    entered.is_new = false;
                }
                entered
            })
            .collect(),
        Err(error) => keys.iter().map(|_| Err(unavailable(&error))).collect(),
    }
}

/// Enters what is not there yet; by key, what stands then.
async fn standing(pool: &PgPool, group: &[Entry]) -> Result<HashMap<String, Entered>, sqlx::Error> {
    let mut standing: HashMap<String, Entered> = insert(pool, group)
        .await?
        .into_iter()
        .map(|row| (row.key.clone(), Entered { outcome: row.outcome(), is_new: true }))
        .collect();
    let others: Vec<&str> = group.iter().map(|e| e.key.as_str()).filter(|key| !standing.contains_key(*key)).collect();
    if !others.is_empty() {
        let rows: Vec<Row> =
            sqlx::query_as("SELECT key, transaction_id, reason FROM provider_ledger WHERE key = ANY($1)")
                .bind(&others)
                .fetch_all(pool)
                .await?;
        standing
            .extend(rows.into_iter().map(|row| (row.key.clone(), Entered { outcome: row.outcome(), is_new: false })));
    }
    Ok(standing)
}

async fn insert(pool: &PgPool, group: &[Entry]) -> Result<Vec<Row>, sqlx::Error> {
    sqlx::query_as(
        "INSERT INTO provider_ledger (key, kind, payment_id, amount_minor, currency, outcome, transaction_id, reason)
         SELECT * FROM UNNEST($1::text[], $2::text[], $3::uuid[], $4::bigint[], $5::text[], $6::text[], $7::text[],
                              $8::text[])
         ON CONFLICT (key) DO NOTHING
         RETURNING key, transaction_id, reason",
    )
    .bind(group.iter().map(|e| e.key.as_str()).collect::<Vec<_>>())
    .bind(group.iter().map(|e| e.kind.as_str()).collect::<Vec<_>>())
    .bind(group.iter().map(|e| e.payment_id.0).collect::<Vec<_>>())
    .bind(group.iter().map(|e| e.amount.minor).collect::<Vec<_>>())
    .bind(group.iter().map(|e| e.amount.currency.code()).collect::<Vec<_>>())
    .bind(group.iter().map(Entry::outcome).collect::<Vec<_>>())
    .bind(group.iter().map(Entry::transaction_id).collect::<Vec<_>>())
    .bind(group.iter().map(Entry::reason).collect::<Vec<_>>())
    .fetch_all(pool)
    .await
}

fn unavailable(error: &impl std::fmt::Display) -> Error {
    Error::Unavailable(error.to_string())
}
