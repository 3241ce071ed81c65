//! Queries on the read model.

use std::time::Duration;

use chrono::{DateTime, Utc};
use event_store::Cursor;
use kernel::{OrderId, PaymentId, UserId};
use serde::{Deserialize, Serialize};
use sqlx::types::Json;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

/// How far a payment has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    ChargeRequested,
    Success,
    Failed,
    Voided,
    RefundRequested,
    Refunded,
    RefundFailed,
}

impl Status {
    const ALL: [Self; 7] = [
        Self::ChargeRequested,
        Self::Success,
        Self::Failed,
        Self::Voided,
        Self::RefundRequested,
        Self::Refunded,
        Self::RefundFailed,
    ];

    /// As the column has it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::ChargeRequested => "charge_requested",
            Self::Success => "success",
            Self::Failed => "failed",
            Self::Voided => "voided",
            Self::RefundRequested => "refund_requested",
            Self::Refunded => "refunded",
            Self::RefundFailed => "refund_failed",
        }
    }
}

/// A text in the column that is no status.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no status of a payment")]
pub(crate) struct UnknownStatus(String);

impl TryFrom<String> for Status {
    type Error = UnknownStatus;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::ALL.into_iter().find(|status| status.as_str() == text).ok_or(UnknownStatus(text))
    }
}

/// A row of the read model, named as its columns.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct Row {
    pub(crate) payment_id: Uuid,
    pub(crate) order_id: Uuid,
    pub(crate) user_id: Option<Uuid>,
    #[sqlx(try_from = "String")]
    pub(crate) status: Status,
    pub(crate) amount_minor: i64,
    pub(crate) currency: Option<String>,
    pub(crate) payment_method: Option<String>,
    pub(crate) transaction_id: Option<String>,
    pub(crate) refunded_minor: i64,
    pub(crate) attempt: i32,
    pub(crate) reason: Option<String>,
    pub(crate) refunds: Json<Vec<RefundRow>>,
    pub(crate) requested_at: DateTime<Utc>,
    pub(crate) updated_at: DateTime<Utc>,
    pub(crate) sequence: i64,
}

/// A refund in the column `refunds`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RefundRow {
    pub(crate) attempt: u32,
    pub(crate) amount_minor: i64,
    pub(crate) status: RefundStatus,
    pub(crate) reason: String,
    pub(crate) failure: Option<String>,
    pub(crate) transaction_id: Option<String>,
    pub(crate) requested_at: DateTime<Utc>,
    pub(crate) ended_at: Option<DateTime<Utc>>,
}

/// How far a refund has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RefundStatus {
    Requested,
    Succeeded,
    Failed,
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT payment_id, order_id, user_id, status, amount_minor, currency, payment_method, transaction_id,
                    refunded_minor, attempt, reason, refunds, requested_at, updated_at, sequence
               FROM payments ",
            $rest
        )
    };
}

/// One payment.
pub(crate) async fn find(pool: &PgPool, id: PaymentId) -> Result<Option<Row>, sqlx::Error> {
    sqlx::query_as(select!("WHERE payment_id = $1")).bind(id.0).fetch_optional(pool).await
}

/// Those of these payments that have a row.
pub(crate) async fn find_many(connection: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<Row>, sqlx::Error> {
    sqlx::query_as(select!("WHERE payment_id = ANY($1)")).bind(ids).fetch_all(connection).await
}

/// Payments, the newest first; of one user and for one order if given.
pub(crate) async fn list(
    pool: &PgPool,
    user: Option<UserId>,
    order: Option<OrderId>,
    limit: i64,
) -> Result<Vec<Row>, sqlx::Error> {
    if let Some(order) = order {
        let row = find(pool, PaymentId::of_order(order)).await?;
        return Ok(row.into_iter().filter(|row| user.is_none_or(|user| row.user_id == Some(user.0))).collect());
    }
    match user {
        Some(user) => {
            sqlx::query_as(select!("WHERE user_id = $1 ORDER BY requested_at DESC LIMIT $2"))
                .bind(user.0)
                .bind(limit)
                .fetch_all(pool)
                .await
        }
        None => sqlx::query_as(select!("ORDER BY requested_at DESC LIMIT $1")).bind(limit).fetch_all(pool).await,
    }
}

/// Payments of which the provider was asked something longer ago than `after` and that have no
/// result, the oldest first.
pub(crate) async fn unanswered(pool: &PgPool, after: Duration, limit: i64) -> Result<Vec<PaymentId>, sqlx::Error> {
    let ids: Vec<Uuid> = sqlx::query_scalar(
        "SELECT payment_id FROM payments
          WHERE status IN ('charge_requested', 'refund_requested')
            AND updated_at <= now() - make_interval(secs => $1)
          ORDER BY updated_at LIMIT $2",
    )
    .bind(after.as_secs_f64())
    .bind(limit)
    .fetch_all(pool)
    .await?;
    Ok(ids.into_iter().map(PaymentId).collect())
}

/// Where the last event that is committed stands.
pub(crate) async fn head(pool: &PgPool) -> Result<Cursor, sqlx::Error> {
    let last: Option<(String, i64)> = sqlx::query_as(
        "SELECT transaction_id::text, position FROM events ORDER BY events.transaction_id DESC, position DESC LIMIT 1",
    )
    .fetch_optional(pool)
    .await?;
    Ok(last.map_or_else(Cursor::default, |(transaction, position)| Cursor {
        transaction_id: transaction.parse().unwrap_or(0),
        position,
    }))
}
