//! The read model of sagas as it is made from the events alone.

use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use event_store::Stored;
use runtime::projection::{Fold, ReadModel, Row, Table};

use crate::inspect::Saga;
use crate::saga::order_fulfilment::OrderFulfilment;

static SAGAS: Table = Table {
    name: "sagas",
    version: 1,
    columns: &[
        "order_id",
        "user_id",
        "state",
        "stuck",
        "reason",
        "total_minor",
        "currency",
        "definition",
        "deadline",
        "started_at",
        "updated_at",
        "ended_at",
        "sequence",
    ],
    kinds: &[OrderFulfilment::TYPE],
    channel: None,
};

/// A row a saga.
#[derive(Debug)]
pub struct SagaList;

impl ReadModel for SagaList {
    fn table(&self) -> &'static Table {
        &SAGAS
    }

    fn begin(&self) -> Box<dyn Fold> {
        Box::new(Folded::default())
    }
}

#[derive(Default)]
struct Folded {
    saga: OrderFulfilment,
    recorded_at: DateTime<Utc>,
    sequence: i64,
}

impl Fold for Folded {
    fn take(&mut self, event: &Stored<'_>) -> anyhow::Result<()> {
        (self.recorded_at, self.sequence) = (event.recorded_at, i64::try_from(event.sequence)?);
        event.decode_all::<OrderFulfilment>()?.for_each(|event| self.saga.apply(event));
        Ok(())
    }

    fn row(&self, row: &mut Row<'_>) -> anyhow::Result<()> {
        let Some(saga) = Saga::of(&self.saga, self.recorded_at) else { return Ok(()) };
        row.put(saga.order_id)
            .put(saga.user_id)
            .put(saga.state.as_str())
            .put(saga.stuck.as_deref())
            .put(saga.reason.as_deref())
            .put(saga.total_minor)
            .put(saga.currency.as_str())
            .put(saga.definition)
            .put(saga.deadline)
            .put(saga.started_at)
            .put(saga.updated_at)
            .put(saga.ended_at)
            .put(self.sequence);
        Ok(())
    }
}
