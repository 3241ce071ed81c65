//! The read model of payments as it is made from the events alone: by the same fold that follows them.

use cqrs_es::Aggregate;
use domain::payment::Payment;
use event_store::Stored;
use runtime::projection::{self, Fold, Jsonb, ReadModel, Table};
use uuid::Uuid;

use crate::projection::{Place, folded};
use crate::queries::Row;

static PAYMENTS: Table = Table {
    name: "payments",
    version: 1,
    columns: &[
        "payment_id",
        "order_id",
        "user_id",
        "status",
        "amount_minor",
        "currency",
        "payment_method",
        "transaction_id",
        "refunded_minor",
        "attempt",
        "reason",
        "refunds",
        "requested_at",
        "updated_at",
        "sequence",
    ],
    kinds: &[Payment::TYPE],
    channel: None,
};

/// A row a payment.
#[derive(Debug)]
pub struct PaymentList;

impl ReadModel for PaymentList {
    fn table(&self) -> &'static Table {
        &PAYMENTS
    }

    fn begin(&self) -> Box<dyn Fold> {
        Box::new(Folded(None))
    }
}

struct Folded(Option<Row>);

impl Fold for Folded {
    fn take(&mut self, event: &Stored<'_>) -> anyhow::Result<()> {
        let id: Uuid = event.aggregate_id.parse()?;
        let place = Place { recorded_at: event.recorded_at, sequence: i64::try_from(event.sequence)? };
        self.0 = folded(self.0.take(), id, event.decode_all::<Payment>()?, place);
        Ok(())
    }

    fn row(&self, cells: &mut projection::Row<'_>) -> anyhow::Result<()> {
        let Some(row) = &self.0 else { return Ok(()) };
        cells
            .put(row.payment_id)
            .put(row.order_id)
            .put(row.user_id)
            .put(row.status.as_str())
            .put(row.amount_minor)
            .put(row.currency.as_deref())
            .put(row.payment_method.as_deref())
            .put(row.transaction_id.as_deref())
            .put(row.refunded_minor)
            .put(row.attempt)
            .put(row.reason.as_deref())
            .put(Jsonb(&serde_json::to_string(&row.refunds.0)?))
            .put(row.requested_at)
            .put(row.updated_at)
            .put(row.sequence);
        Ok(())
    }
}
