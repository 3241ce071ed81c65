//! The read model of sagas: each row is the fold of its stream up to the checkpoint.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use cqrs_es::Aggregate;
use event_store::{EventStore, PgStore, RecordedEvent, StreamId};
use runtime::Projection;
use runtime::projection::ReadModel;
use sqlx::PgConnection;
use tokio::sync::Mutex;

use crate::inspect::Saga;
use crate::read_model::SagaList;
use crate::saga::order_fulfilment::OrderFulfilment;

/// Sagas kept in memory so that a page need not load them; all are forgotten when there are more.
const STATES_MAX: usize = 20_000;

type States = HashMap<String, (OrderFulfilment, u64)>;

/// Follows the orchestrator's store.
pub(crate) struct Sagas {
    store: Arc<PgStore>,
    states: Mutex<States>,
}

impl Sagas {
    pub(crate) fn new(store: Arc<PgStore>) -> Self {
        Self { store, states: Mutex::new(States::new()) }
    }

    /// The state before `sequence`: remembered, or loaded.
    async fn before(&self, states: &mut States, id: &str, sequence: u64) -> anyhow::Result<OrderFulfilment> {
        if let Some((saga, at)) = states.remove(id)
            && at + 1 == sequence
        {
            return Ok(saga);
        }
        let mut saga = OrderFulfilment::default();
        if sequence > 1 {
            let stream = (StreamId::of::<OrderFulfilment>(id), 0);
            let events = self.store.load(&[stream]).await?.pop().unwrap_or_default();
            for event in events.iter().take_while(|event| event.sequence < sequence) {
                event.decode_all::<OrderFulfilment>()?.for_each(|event| saga.apply(event));
            }
        }
        Ok(saga)
    }
}

#[async_trait]
impl Projection for Sagas {
    fn name(&self) -> &'static str {
        "sagas"
    }

    fn model(&self) -> Option<Arc<dyn ReadModel>> {
        Some(Arc::new(SagaList))
    }

    fn reads(&self, event: &RecordedEvent) -> bool {
        event.aggregate_type == OrderFulfilment::TYPE
    }

    async fn apply(&self, connection: &mut PgConnection, events: &[RecordedEvent]) -> anyhow::Result<()> {
        let mut states = self.states.lock().await;
        if states.len() > STATES_MAX {
            states.clear();
        }
        let mut rows: HashMap<&str, Row> = HashMap::new();
        for event in events {
            let id = event.aggregate_id.as_str();
            let mut saga = self.before(&mut states, id, event.sequence).await?;
            event.decode_all::<OrderFulfilment>()?.for_each(|event| saga.apply(event));
            if let Some(row) = Row::of(&saga, event) {
                rows.insert(id, row);
            }
            states.insert(id.to_owned(), (saga, event.sequence));
        }
        // A saga that is over rarely goes on.
        states.retain(|_, (saga, _)| !saga.state().is_over());
        write(connection, rows.into_values().collect()).await
    }
}

struct Row {
    saga: Saga,
    sequence: i64,
}

impl Row {
    fn of(saga: &OrderFulfilment, last: &RecordedEvent) -> Option<Self> {
        let sequence = i64::try_from(last.sequence).unwrap_or(i64::MAX);
        Some(Self { saga: Saga::of(saga, last.recorded_at)?, sequence })
    }
}

async fn write(connection: &mut PgConnection, rows: Vec<Row>) -> anyhow::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    macro_rules! column {
        ($field:ident) => {
            rows.iter().map(|row| row.saga.$field.clone()).collect::<Vec<_>>()
        };
    }
    sqlx::query(
        "INSERT INTO sagas (order_id, user_id, state, stuck, reason, total_minor, currency, definition, deadline,
                            started_at, updated_at, ended_at, sequence)
         SELECT * FROM UNNEST($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::text[],
                              $8::int[], $9::timestamptz[], $10::timestamptz[], $11::timestamptz[], $12::timestamptz[],
                              $13::bigint[])
         ON CONFLICT (order_id) DO UPDATE
            SET state = EXCLUDED.state, stuck = EXCLUDED.stuck, reason = EXCLUDED.reason, deadline = EXCLUDED.deadline,
                updated_at = EXCLUDED.updated_at, ended_at = EXCLUDED.ended_at, sequence = EXCLUDED.sequence",
    )
    .bind(column!(order_id))
    .bind(column!(user_id))
    .bind(column!(state))
    .bind(column!(stuck))
    .bind(column!(reason))
    .bind(column!(total_minor))
    .bind(column!(currency))
    .bind(column!(definition))
    .bind(column!(deadline))
    .bind(column!(started_at))
    .bind(column!(updated_at))
    .bind(column!(ended_at))
    .bind(rows.iter().map(|row| row.sequence).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}
