//! The bank's book: one entry a key, whoever comes first.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use kernel::Money;
use runtime::{GivenUp, Grouped};
use sqlx::PgPool;
use uuid::Uuid;

use super::{Outcome, Trouble};
use crate::protocol::{Kind, Operation, Status};

/// An entry to be made.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) kind: Kind,
    pub(super) reference: Uuid,
    pub(super) amount: Money,
    pub(super) outcome: Outcome,
    /// Where the money comes from: a token, or the charge that is undone.
    pub(super) source: String,
    /// Answers about it that will fail.
    pub(super) trouble: i16,
}

impl Entry {
    fn kind(&self) -> &'static str {
        match self.kind {
            Kind::Charge => "charge",
            Kind::Refund => "refund",
        }
    }

    fn outcome(&self) -> &'static str {
        match (self.kind, self.outcome.status()) {
            (Kind::Charge, Status::Succeeded) => "captured",
            (Kind::Charge, Status::Failed) => "declined",
            (Kind::Refund, Status::Succeeded) => "refunded",
            (Kind::Refund, Status::Failed) => "refused",
        }
    }

    fn transaction_id(&self) -> Option<&str> {
        match &self.outcome {
            Outcome::Done { transaction_id } => Some(transaction_id),
            Outcome::Refused { .. } => None,
        }
    }

    fn reason(&self) -> Option<&str> {
        match &self.outcome {
            Outcome::Done { .. } => None,
            Outcome::Refused { reason } => Some(reason),
        }
    }

    /// Whether the row under its key stands for the same request.
    pub(super) fn is_of(&self, row: &Row) -> bool {
        (row.kind.as_str(), row.payment_id, row.amount_minor, row.currency.as_str())
            == (self.kind(), self.reference, self.amount.minor, self.amount.currency.code())
            && row.source.as_ref().is_none_or(|source| *source == self.source)
    }
}

/// What stands under a key.
#[derive(Debug, Clone)]
pub(super) struct Entered {
    pub(super) row: Row,
    /// It was entered now.
    pub(super) is_new: bool,
}

/// A row of the book, named as its columns.
#[derive(Debug, Clone, sqlx::FromRow)]
pub(super) struct Row {
    key: String,
    kind: String,
    payment_id: Uuid,
    amount_minor: i64,
    currency: String,
    transaction_id: Option<String>,
    reason: Option<String>,
    source: Option<String>,
    pub(super) trouble: i16,
    created_at: DateTime<Utc>,
}

macro_rules! columns {
    ($before:literal, $after:literal) => {
        concat!(
            $before,
            " key, kind, payment_id, amount_minor, currency, transaction_id, reason, source, trouble, created_at ",
            $after
        )
    };
}

const INSERT: &str = columns!(
    "INSERT INTO provider_ledger (key, kind, payment_id, amount_minor, currency, outcome, transaction_id, reason,
                                  source, trouble)
     SELECT * FROM UNNEST($1::text[], $2::text[], $3::uuid[], $4::bigint[], $5::text[], $6::text[], $7::text[],
                          $8::text[], $9::text[], $10::smallint[])
     ON CONFLICT (key) DO NOTHING
     RETURNING",
    ""
);

impl Row {
    pub(super) fn operation(self) -> Result<Operation, Trouble> {
        let kind = match self.kind.as_str() {
            "charge" => Kind::Charge,
            "refund" => Kind::Refund,
            other => return Err(Trouble::Away(format!("{other:?} is no kind of entry"))),
        };
        Ok(Operation {
            kind,
            key: self.key,
            reference: self.payment_id,
            amount_minor: self.amount_minor,
            currency: self.currency,
            status: if self.transaction_id.is_some() { Status::Succeeded } else { Status::Failed },
            transaction_id: self.transaction_id,
            reason: self.reason,
            created_at: self.created_at,
        })
    }
}

/// The book. Charges entered at once share one INSERT.
pub(super) struct Ledger {
    pool: PgPool,
    entries: Grouped<Entry, Result<Entered, Trouble>>,
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
    pub(super) async fn enter(&self, entry: Entry) -> Result<Entered, Trouble> {
        self.entries.call(entry).await.map_err(|GivenUp| away(&GivenUp))?
    }

    /// Makes the entry of a refund unless its key has one: refused where the charge is not there, or so much is not
    /// left of it.
    pub(super) async fn pay_back(&self, refund: &Entry, refused: Outcome) -> Result<Row, Trouble> {
        self.try_pay_back(refund, refused).await.map_err(|error| away(&error))
    }

    async fn try_pay_back(&self, refund: &Entry, refused: Outcome) -> Result<Row, sqlx::Error> {
        let mut transaction = self.pool.begin().await?;
        // Two refunds of one charge at once must not both see what is left for one.
        sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended($1::text, 0))")
            .bind(refund.reference)
            .execute(&mut *transaction)
            .await?;
        let standing: Option<Row> = sqlx::query_as(columns!("SELECT", "FROM provider_ledger WHERE key = $1"))
            .bind(&refund.key)
            .fetch_optional(&mut *transaction)
            .await?;
        if let Some(row) = standing {
            return Ok(row);
        }
        let left: i64 = sqlx::query_scalar(
            "SELECT COALESCE(sum(CASE WHEN outcome = 'captured' AND transaction_id = $2 THEN amount_minor
                                      WHEN outcome = 'refunded' THEN -amount_minor END), 0)::bigint
               FROM provider_ledger WHERE payment_id = $1 AND currency = $3",
        )
        .bind(refund.reference)
        .bind(&refund.source)
        .bind(refund.amount.currency.code())
        .fetch_one(&mut *transaction)
        .await?;
        let outcome = if left >= refund.amount.minor { refund.outcome.clone() } else { refused };
        let entry = Entry { outcome, ..refund.clone() };
        let mut rows = insert(&mut *transaction, &[entry]).await?;
        transaction.commit().await?;
        rows.pop().ok_or(sqlx::Error::RowNotFound)
    }

    /// What stands under the key.
    pub(super) async fn find(&self, key: &str) -> Result<Option<Row>, Trouble> {
        sqlx::query_as(columns!("SELECT", "FROM provider_ledger WHERE key = $1"))
            .bind(key)
            .fetch_optional(&self.pool)
            .await
            .map_err(|error| away(&error))
    }

    /// One answer about the key fails, and one less will; false if none will any more.
    pub(super) async fn wears_off(&self, key: &str) -> Result<bool, Trouble> {
        let failed = sqlx::query("UPDATE provider_ledger SET trouble = trouble - 1 WHERE key = $1 AND trouble > 0")
            .bind(key)
            .execute(&self.pool)
            .await
            .map_err(|error| away(&error))?;
        Ok(failed.rows_affected() == 1)
    }

    pub(super) async fn list(&self, after: &str, limit: i64) -> Result<Vec<Row>, Trouble> {
        sqlx::query_as(columns!("SELECT", "FROM provider_ledger WHERE key > $1 ORDER BY key LIMIT $2"))
            .bind(after)
            .bind(limit)
            .fetch_all(&self.pool)
            .await
            .map_err(|error| away(&error))
    }
}

async fn enter_all(pool: &PgPool, mut group: Vec<Entry>) -> Vec<Result<Entered, Trouble>> {
    let keys: Vec<String> = group.iter().map(|entry| entry.key.clone()).collect();
    // In one order everywhere: two groups with the same keys wait for each other, and never in a ring.
    group.sort_by(|a, b| a.key.cmp(&b.key));
    match standing(pool, &group).await {
        Ok(mut standing) => keys
            .iter()
            .map(|key| {
                let entered = standing.get(key).cloned().ok_or_else(|| Trouble::Away("no entry".to_owned()));
                // A key that came twice is new to one of its callers alone.
                if let Some(entered) = standing.get_mut(key) {
                    entered.is_new = false;
                }
                entered
            })
            .collect(),
        Err(error) => keys.iter().map(|_| Err(away(&error))).collect(),
    }
}

/// Enters what is not there yet; by key, what stands then.
async fn standing(pool: &PgPool, group: &[Entry]) -> Result<HashMap<String, Entered>, sqlx::Error> {
    let mut standing: HashMap<String, Entered> =
        insert(pool, group).await?.into_iter().map(|row| (row.key.clone(), Entered { row, is_new: true })).collect();
    let others: Vec<&str> = group.iter().map(|e| e.key.as_str()).filter(|key| !standing.contains_key(*key)).collect();
    if !others.is_empty() {
        let rows: Vec<Row> = sqlx::query_as(columns!("SELECT", "FROM provider_ledger WHERE key = ANY($1)"))
            .bind(&others)
            .fetch_all(pool)
            .await?;
        standing.extend(rows.into_iter().map(|row| (row.key.clone(), Entered { row, is_new: false })));
    }
    Ok(standing)
}

async fn insert(executor: impl sqlx::PgExecutor<'_>, group: &[Entry]) -> Result<Vec<Row>, sqlx::Error> {
    sqlx::query_as(INSERT)
        .bind(group.iter().map(|e| e.key.as_str()).collect::<Vec<_>>())
        .bind(group.iter().map(Entry::kind).collect::<Vec<_>>())
        .bind(group.iter().map(|e| e.reference).collect::<Vec<_>>())
        .bind(group.iter().map(|e| e.amount.minor).collect::<Vec<_>>())
        .bind(group.iter().map(|e| e.amount.currency.code()).collect::<Vec<_>>())
        .bind(group.iter().map(Entry::outcome).collect::<Vec<_>>())
        .bind(group.iter().map(Entry::transaction_id).collect::<Vec<_>>())
        .bind(group.iter().map(Entry::reason).collect::<Vec<_>>())
        .bind(group.iter().map(|e| e.source.as_str()).collect::<Vec<_>>())
        .bind(group.iter().map(|e| e.trouble).collect::<Vec<_>>())
        .fetch_all(executor)
        .await
}

fn away(error: &impl std::fmt::Display) -> Trouble {
    Trouble::Away(error.to_string())
}
