//! REST: payments listed and shown, and the provider's webhooks. What is to be paid, and paid back, is the saga's
//! affair: an order that is cancelled is refunded.

use std::time::Duration;

use kernel::{Currency, Money, OrderId, PaymentId, UserId};
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::{Object, OpenApi, Tags};
use sqlx::PgPool;
use uuid::Uuid;
use web::auth::{Bearer, Identity};
use web::{Amount, Problem, Timestamp};

use crate::queries::{self, RefundRow, RefundStatus, Row, Status};

mod webhooks;

pub(crate) use webhooks::{WebhookApi, Webhooks};

pub(crate) const TITLE: &str = "Sagashop payments";

const LIMIT_DEFAULT: u32 = 50;

#[derive(Tags)]
enum Tag {
    /// What was charged for orders, and paid back. An order is paid and refunded by the saga: cancel the order to have its
    /// money paid back.
    Payments,
    /// For the payment provider.
    Webhooks,
}

/// The payment API.
#[derive(Clone)]
pub(crate) struct Api {
    pool: PgPool,
}

/// A payment.
#[derive(Object)]
struct Payment {
    /// Its id; one an order.
    id: Uuid,
    /// What is paid.
    order_id: Uuid,
    /// Who pays. Absent while a refund was asked for and no charge.
    #[oai(skip_serializing_if_is_none)]
    user_id: Option<Uuid>,
    /// How much.
    amount: Amount,
    /// Its currency. Absent as `user_id`.
    #[oai(skip_serializing_if_is_none)]
    currency: Option<String>,
    /// `pending`, `success`, `failed`, `voided` (a refund came before the charge), `refunding`, `refunded` or
    /// `refund_failed`.
    status: String,
    /// How much was paid back.
    refunded: Amount,
    /// The provider's number of the charge.
    #[oai(skip_serializing_if_is_none)]
    transaction_id: Option<String>,
    /// Why it failed or was paid back.
    #[oai(skip_serializing_if_is_none)]
    reason: Option<String>,
    /// Every time that the provider was asked to pay it back; the last one holds.
    refunds: Vec<Refund>,
    /// When it was first asked for.
    created_at: Timestamp,
    /// Its last event.
    updated_at: Timestamp,
}

/// A refund.
#[derive(Object)]
struct Refund {
    /// The how manieth it is of its payment, from 1 on.
    attempt: u32,
    /// How much.
    amount: Amount,
    /// `pending`, `succeeded` or `failed`.
    status: String,
    /// Why the money is paid back.
    reason: String,
    /// Why the provider would not.
    #[oai(skip_serializing_if_is_none)]
    failure: Option<String>,
    /// The provider's number of the refund.
    #[oai(skip_serializing_if_is_none)]
    transaction_id: Option<String>,
    /// When it was asked for.
    created_at: Timestamp,
    /// When it ended.
    #[oai(skip_serializing_if_is_none)]
    ended_at: Option<Timestamp>,
}

#[OpenApi]
impl Api {
    /// Lists payments, the newest first
    ///
    /// One's own; administrators see all. With `order_id`, the one of that order.
    #[oai(path = "/payments", method = "get", tag = "Tag::Payments", operation_id = "listPayments")]
    async fn list(
        &self,
        caller: Bearer,
        /// Only the one for this order.
        order_id: Query<Option<Uuid>>,
        /// At most so many.
        #[oai(default = "limit_default", validator(minimum(value = "1"), maximum(value = "500")))]
        limit: Query<u32>,
    ) -> Result<Json<Vec<Payment>>, Problem> {
        let user = (!caller.0.is_admin()).then_some(caller.0.user_id);
        let rows = queries::list(&self.pool, user, order_id.0.map(OrderId), i64::from(limit.0)).await;
        Ok(Json(rows.map_err(unavailable)?.into_iter().map(payment).collect()))
    }

    /// Shows a payment with its refunds
    ///
    /// To whom it belongs and to administrators; for others there is none.
    #[oai(path = "/payments/:id", method = "get", tag = "Tag::Payments", operation_id = "getPayment")]
    async fn show(
        &self,
        caller: Bearer,
        /// The payment's id.
        id: Path<Uuid>,
    ) -> Result<Json<Payment>, Problem> {
        let row = queries::find(&self.pool, PaymentId(id.0)).await.map_err(unavailable)?;
        let row = row.filter(|row| may_see(&caller.0, row)).ok_or_else(not_found)?;
        Ok(Json(payment(row)))
    }
}

impl Api {
    pub(crate) fn new(pool: PgPool) -> Self {
        Self { pool }
    }
}

fn may_see(caller: &Identity, row: &Row) -> bool {
    row.user_id.map_or(caller.is_admin(), |owner| caller.may_see(UserId(owner)))
}

fn limit_default() -> u32 {
    LIMIT_DEFAULT
}

fn payment(row: Row) -> Payment {
    let currency = row.currency.as_deref().and_then(|code| code.parse().ok()).unwrap_or(Currency::EUR);
    Payment {
        id: row.payment_id,
        order_id: row.order_id,
        user_id: row.user_id,
        amount: Money::new(row.amount_minor, currency).into(),
        currency: row.currency,
        status: word(row.status).to_owned(),
        refunded: Money::new(row.refunded_minor, currency).into(),
        transaction_id: row.transaction_id,
        reason: row.reason,
        refunds: row.refunds.0.into_iter().map(|row| refund(row, currency)).collect(),
        created_at: row.requested_at.into(),
        updated_at: row.updated_at.into(),
    }
}

fn refund(row: RefundRow, currency: Currency) -> Refund {
    let status = match row.status {
        RefundStatus::Requested => "pending",
        RefundStatus::Succeeded => "succeeded",
        RefundStatus::Failed => "failed",
    };
    Refund {
        attempt: row.attempt,
        amount: Money::new(row.amount_minor, currency).into(),
        status: status.to_owned(),
        reason: row.reason,
        failure: row.failure,
        transaction_id: row.transaction_id,
        created_at: row.requested_at.into(),
        ended_at: row.ended_at.map(Into::into),
    }
}

/// A caller sees how far it has come, not what is asked of whom.
fn word(status: Status) -> &'static str {
    match status {
        Status::ChargeRequested => "pending",
        Status::RefundRequested => "refunding",
        other => other.as_str(),
    }
}

fn not_found() -> Problem {
    Problem::not_found("There is no such payment")
}

fn unavailable(error: impl std::fmt::Display) -> Problem {
    tracing::warn!(%error, "the read model did not answer");
    Problem::unavailable("Payments cannot be looked up at present", Duration::from_secs(1))
}
