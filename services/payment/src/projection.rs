//! The read model of payments: each row is the fold of its stream up to the checkpoint.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use domain::payment::{Event, Payment};
use event_store::{Decoded, RecordedEvent};
use kernel::{Money, OrderId};
use runtime::Projection;
use runtime::projection::ReadModel;
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use crate::queries::{self, RefundRow, RefundStatus, Row, Status};
use crate::read_model::PaymentList;

/// Follows the payments.
pub(crate) struct Payments;

#[async_trait]
impl Projection for Payments {
    fn name(&self) -> &'static str {
        "payments"
    }

    fn model(&self) -> Option<Arc<dyn ReadModel>> {
        Some(Arc::new(PaymentList))
    }

    fn reads(&self, event: &RecordedEvent) -> bool {
        event.aggregate_type == Payment::TYPE
    }

    async fn apply(&self, connection: &mut PgConnection, events: &[RecordedEvent]) -> anyhow::Result<()> {
        let mut rows = known(connection, events).await?;
        for recorded in events {
            let id: Uuid = recorded.aggregate_id.parse()?;
            let place = Place { recorded_at: recorded.recorded_at, sequence: i64::try_from(recorded.sequence)? };
            let means = recorded.decode_all::<Payment>()?;
            if let Some(row) = folded(rows.remove(&id), id, means, place) {
                rows.insert(id, row);
            }
        }
        write(connection, rows.into_values().collect()).await
    }
}

/// The rows of streams that do not begin in this page.
async fn known(connection: &mut PgConnection, events: &[RecordedEvent]) -> anyhow::Result<HashMap<Uuid, Row>> {
    let begun: HashMap<&str, u64> =
        events.iter().rev().map(|event| (event.aggregate_id.as_str(), event.sequence)).collect();
    let older = begun.into_iter().filter(|(_, first)| *first > 1);
    let ids = older.map(|(id, _)| id.parse()).collect::<Result<Vec<Uuid>, _>>()?;
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = queries::find_many(connection, &ids).await?;
    Ok(rows.into_iter().map(|row| (row.payment_id, row)).collect())
}

/// When an event was recorded, and where it stands in its stream.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub(crate) recorded_at: DateTime<Utc>,
    pub(crate) sequence: i64,
}

/// The row after what was recorded at this place. It stands behind that even if it means nothing.
pub(crate) fn folded(row: Option<Row>, payment_id: Uuid, events: Decoded<Event>, place: Place) -> Option<Row> {
    let after =
        |row: Option<Row>, event: Event| Some(fold(row.or_else(|| new_row(payment_id, &event, place))?, event, place));
    let mut row = events.fold(row, after)?;
    row.sequence = place.sequence;
    Some(row)
}

/// The row that a stream's first event begins.
fn new_row(payment_id: Uuid, event: &Event, place: Place) -> Option<Row> {
    let (Event::ChargeRequested { order_id: OrderId(order_id), .. }
    | Event::PaymentVoided { order_id: OrderId(order_id), .. }) = event
    else {
        return None;
    };
    Some(Row {
        payment_id,
        order_id: *order_id,
        user_id: None,
        status: Status::Voided,
        amount_minor: 0,
        currency: None,
        payment_method: None,
        transaction_id: None,
        refunded_minor: 0,
        attempt: 0,
        reason: None,
        refunds: Json(Vec::new()),
        requested_at: place.recorded_at,
        updated_at: place.recorded_at,
        sequence: 0,
    })
}

fn fold(row: Row, event: Event, place: Place) -> Row {
    let row = Row { updated_at: place.recorded_at, sequence: place.sequence, ..row };
    let asked = |row: Row, user: Uuid, Money { minor, currency }: Money| Row {
        user_id: Some(user),
        amount_minor: minor,
        currency: Some(currency.code().to_owned()),
        ..row
    };
    match event {
        Event::ChargeRequested { user_id, amount, payment_method, .. } => Row {
            status: Status::ChargeRequested,
            payment_method: Some(payment_method.to_string()),
            ..asked(row, user_id.0, amount)
        },
        Event::ChargeRefused { user_id, amount, .. } => asked(row, user_id.0, amount),
        Event::PaymentCaptured { transaction_id, .. } => {
            Row { status: Status::Success, transaction_id: Some(transaction_id.0), ..row }
        }
        Event::PaymentDeclined { reason, .. } => {
            Row { status: Status::Failed, reason: Some(reason.to_string()), ..row }
        }
        // A refund of what was declined, or a wish for one, leaves it declined.
        Event::PaymentVoided { .. } if row.status == Status::Failed => row,
        Event::PaymentVoided { reason, .. } => Row { status: Status::Voided, reason: Some(reason.to_string()), ..row },
        Event::RefundDeferred { .. } | Event::PaymentRefunded { transaction_id: None, .. } => row,
        Event::RefundRequested { attempt, amount, reason, .. } => {
            let refund = RefundRow {
                attempt,
                amount_minor: amount.minor,
                status: RefundStatus::Requested,
                reason: reason.to_string(),
                failure: None,
                transaction_id: None,
                requested_at: place.recorded_at,
                ended_at: None,
            };
            Row {
                status: Status::RefundRequested,
                attempt: i32::try_from(attempt).unwrap_or(i32::MAX),
                reason: Some(reason.to_string()),
                refunds: Json(row.refunds.0.iter().cloned().chain([refund]).collect()),
                ..row
            }
        }
        Event::PaymentRefunded { amount, transaction_id: Some(id), .. } => {
            let refunds = ended(row.refunds, place, |refund| RefundRow {
                status: RefundStatus::Succeeded,
                transaction_id: Some(id.0),
                failure: None,
                ..refund
            });
            Row { status: Status::Refunded, refunded_minor: amount.minor, refunds, ..row }
        }
        Event::RefundFailed { reason, .. } => {
            let failure = Some(reason.to_string());
            let refunds = ended(row.refunds, place, |refund| RefundRow {
                status: RefundStatus::Failed,
                failure: failure.clone(),
                ..refund
            });
            Row { status: Status::RefundFailed, reason: failure.clone(), refunds, ..row }
        }
    }
}

/// The last of the refunds has ended.
fn ended(
    mut refunds: Json<Vec<RefundRow>>,
    place: Place,
    how: impl FnOnce(RefundRow) -> RefundRow,
) -> Json<Vec<RefundRow>> {
    if let Some(last) = refunds.0.pop() {
        refunds.0.push(RefundRow { ended_at: Some(place.recorded_at), ..how(last) });
    }
    refunds
}

async fn write(connection: &mut PgConnection, rows: Vec<Row>) -> anyhow::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    macro_rules! column {
        ($field:ident) => {
            rows.iter().map(|row| row.$field.clone()).collect::<Vec<_>>()
        };
    }
    sqlx::query(
        "INSERT INTO payments (payment_id, order_id, user_id, status, amount_minor, currency, payment_method,
                               transaction_id, refunded_minor, attempt, reason, refunds, requested_at, updated_at,
                               sequence)
         SELECT * FROM UNNEST($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::bigint[], $6::text[], $7::text[],
                              $8::text[], $9::bigint[], $10::int[], $11::text[], $12::jsonb[], $13::timestamptz[],
                              $14::timestamptz[], $15::bigint[])
         ON CONFLICT (payment_id) DO UPDATE
            SET user_id = EXCLUDED.user_id, status = EXCLUDED.status, amount_minor = EXCLUDED.amount_minor,
                currency = EXCLUDED.currency, payment_method = EXCLUDED.payment_method,
                transaction_id = EXCLUDED.transaction_id, refunded_minor = EXCLUDED.refunded_minor,
                attempt = EXCLUDED.attempt, reason = EXCLUDED.reason, refunds = EXCLUDED.refunds, updated_at = EXCLUDED.updated_at,
                sequence = EXCLUDED.sequence",
    )
    .bind(column!(payment_id))
    .bind(column!(order_id))
    .bind(column!(user_id))
    .bind(rows.iter().map(|row| row.status.as_str()).collect::<Vec<_>>())
    .bind(column!(amount_minor))
    .bind(column!(currency))
    .bind(column!(payment_method))
    .bind(column!(transaction_id))
    .bind(column!(refunded_minor))
    .bind(column!(attempt))
    .bind(column!(reason))
    .bind(column!(refunds))
    .bind(column!(requested_at))
    .bind(column!(updated_at))
    .bind(column!(sequence))
    .execute(connection)
    .await?;
    Ok(())
}
