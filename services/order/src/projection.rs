//! The read model `orders`, and how far it has come.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use domain::order::{Event, Order, OrderStatus, Placed};
use event_store::{Cursor, RecordedEvent, is_current};
use kernel::OrderId;
use parking_lot::Mutex;
use runtime::projection::{Passed, ReadModel};
use runtime::{Projection, ProjectionHandle};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::ended::Ended;
use crate::publish::order_id;
use crate::read_model::OrderList;
use crate::waiters::Waiters;

/// Whoever wants to read what was just written waits so long at most.
const CAUGHT_UP_WITHIN: Duration = Duration::from_millis(50);

const INSERT: &str = "
INSERT INTO orders (id, user_id, status, lines, total_minor, currency, address_id, payment_method, cancel_reason,
                    cancel_requested, created_at, updated_at, sequence)
SELECT n.id, n.user_id, n.status, n.lines::json, n.total_minor, n.currency, n.address_id, n.payment_method,
       n.cancel_reason, n.cancel_requested, n.created_at, n.updated_at, n.sequence
  FROM UNNEST($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::bigint[], $6::text[], $7::uuid[], $8::text[],
              $9::text[], $10::boolean[], $11::timestamptz[], $12::timestamptz[], $13::bigint[])
    AS n(id, user_id, status, lines, total_minor, currency, address_id, payment_method, cancel_reason, cancel_requested,
         created_at, updated_at, sequence)
    ON CONFLICT (id) DO UPDATE
   SET (user_id, status, lines, total_minor, currency, address_id, payment_method, cancel_reason, cancel_requested,
        created_at, updated_at, sequence)
     = (EXCLUDED.user_id, EXCLUDED.status, EXCLUDED.lines, EXCLUDED.total_minor, EXCLUDED.currency,
        EXCLUDED.address_id, EXCLUDED.payment_method, EXCLUDED.cancel_reason, EXCLUDED.cancel_requested,
        EXCLUDED.created_at, EXCLUDED.updated_at, EXCLUDED.sequence)";

const UPDATE: &str = "
UPDATE orders AS o
   SET status = COALESCE(n.status, o.status),
       cancel_reason = COALESCE(n.cancel_reason, o.cancel_reason),
       cancel_requested = o.cancel_requested OR n.cancel_requested,
       updated_at = n.updated_at,
       sequence = n.sequence
  FROM UNNEST($1::uuid[], $2::text[], $3::text[], $4::boolean[], $5::timestamptz[], $6::bigint[])
    AS n(id, status, cancel_reason, cancel_requested, updated_at, sequence)
 WHERE o.id = n.id";

/// Keeps a row an order; wakes those who wait for what it has written.
pub(crate) struct OrderRows {
    waiters: Arc<Waiters>,
    ended: Arc<Ended>,
}

impl OrderRows {
    pub fn new(waiters: Arc<Waiters>, ended: Arc<Ended>) -> Self {
        Self { waiters, ended }
    }
}

/// The list of orders as the service keeps it, for whoever keeps one without a service: nobody waits for its rows.
pub fn projection() -> Arc<dyn Projection> {
    Arc::new(OrderRows::new(Arc::default(), Arc::default()))
}

#[async_trait]
impl Projection for OrderRows {
    fn name(&self) -> &'static str {
        "orders"
    }

    /// Whoever placed an order waits for its row.
    fn pace(&self) -> Duration {
        Duration::ZERO
    }

    fn model(&self) -> Option<Arc<dyn ReadModel>> {
        Some(Arc::new(OrderList))
    }

    fn reads(&self, event: &RecordedEvent) -> bool {
        event.aggregate_type == Order::TYPE
    }

    async fn apply(&self, connection: &mut PgConnection, events: &[RecordedEvent]) -> anyhow::Result<()> {
        let (placed, changed, passed) = Rows::of(events)?;
        if !placed.is_empty() {
            insert(connection, &placed).await?;
        }
        if !changed.is_empty() {
            update(connection, &changed).await?;
        }
        passed.write(connection, "orders", "id", "sequence").await?;
        Ok(())
    }

    fn committed(&self, events: &[RecordedEvent]) {
        // Before anybody is woken who would look.
        self.ended.changed(events.iter().filter_map(|event| order_id(event).ok()));
        self.waiters
            .happened(events.iter().filter_map(|event| Some((order_id(event).ok()?, event.sequence, ends(event)))));
    }
}

/// Whether an order ends with it. One of an earlier form may be called otherwise.
fn ends(recorded: &RecordedEvent) -> bool {
    if is_current::<Order>(&recorded.event_type, &recorded.event_version) {
        return ["order_confirmed", "order_cancelled"].contains(&&*recorded.event_type);
    }
    let ends = |event| matches!(event, Event::OrderConfirmed { .. } | Event::OrderCancelled { .. });
    recorded.decode_all::<Order>().is_ok_and(|mut events| events.any(ends))
}

/// What a page of events means to one row.
enum Rows {
    /// The order was placed in this page: the whole row.
    New(Box<Placed>),
    /// It was placed earlier.
    Changed(Change),
}

#[derive(Default)]
struct Change {
    status: Option<OrderStatus>,
    cancel_reason: Option<String>,
    cancel_requested: bool,
    updated_at: DateTime<Utc>,
}

type New = (Box<Placed>, i64);
type Changed = (OrderId, Change, i64);

impl Rows {
    /// The rows to insert and those to change, each order once, with the sequence of its last event; and what was passed.
    fn of(events: &[RecordedEvent]) -> anyhow::Result<(Vec<New>, Vec<Changed>, Passed)> {
        let mut passed = Passed::default();
        let mut rows = HashMap::<OrderId, (Self, i64)>::new();
        for recorded in events {
            let (order_id, sequence) = (order_id(recorded)?, i64::try_from(recorded.sequence)?);
            let means = recorded.decode_all::<Order>()?;
            if means.len() == 0 {
                passed.note(order_id.0, sequence);
                continue;
            }
            let (row, last) = rows.entry(order_id).or_insert_with(|| (Self::Changed(Change::default()), 0));
            *last = sequence;
            means.for_each(|event| row.fold(event));
        }
        let (mut placed, mut changed) = (Vec::new(), Vec::new());
        for (order_id, (row, sequence)) in rows {
            match row {
                Self::New(order) => placed.push((order, sequence)),
                Self::Changed(change) => changed.push((order_id, change, sequence)),
            }
        }
        Ok((placed, changed, passed))
    }

    fn fold(&mut self, event: Event) {
        let new = matches!(event, Event::OrderPlaced { .. });
        match self {
            Self::Changed(change) if !new => change.fold(event),
            row => {
                let mut order = match row {
                    Self::New(order) => Order::Placed((**order).clone()),
                    Self::Changed(_) => Order::Unknown,
                };
                order.apply(event);
                if let Order::Placed(order) = order {
                    *row = Self::New(Box::new(order));
                }
            }
        }
    }
}

impl Change {
    fn fold(&mut self, event: Event) {
        self.updated_at = match event {
            Event::CancellationRequested { at, .. } => {
                self.cancel_requested = true;
                at
            }
            Event::OrderConfirmed { at, .. } => {
                self.status = Some(OrderStatus::Confirmed);
                at
            }
            Event::OrderCancelled { reason, at, .. } => {
                self.status = Some(OrderStatus::Cancelled);
                self.cancel_reason = Some(reason.to_string());
                at
            }
            Event::OrderPlaced { at, .. } => at,
        };
    }
}

async fn insert(connection: &mut PgConnection, rows: &[New]) -> anyhow::Result<()> {
    let column = |of: fn(&Placed) -> &str| rows.iter().map(|(order, _)| of(order)).collect::<Vec<_>>();
    let lines = rows.iter().map(|(order, _)| serde_json::to_string(&order.lines)).collect::<Result<Vec<_>, _>>()?;
    let reasons = rows.iter().map(|(order, _)| order.cancel_reason.as_ref().map(|reason| reason.as_str()));
    sqlx::query(INSERT)
        .bind(rows.iter().map(|(order, _)| order.order_id.0).collect::<Vec<Uuid>>())
        .bind(rows.iter().map(|(order, _)| order.user_id.0).collect::<Vec<Uuid>>())
        .bind(column(|order| order.status.as_str()))
        .bind(lines)
        .bind(rows.iter().map(|(order, _)| order.total.minor).collect::<Vec<i64>>())
        .bind(column(|order| order.total.currency.code()))
        .bind(rows.iter().map(|(order, _)| order.address_id.map(|address| address.0)).collect::<Vec<Option<Uuid>>>())
        .bind(column(|order| order.payment_method.as_str()))
        .bind(reasons.collect::<Vec<Option<&str>>>())
        .bind(rows.iter().map(|(order, _)| order.cancellation_requested).collect::<Vec<bool>>())
        .bind(rows.iter().map(|(order, _)| order.placed_at).collect::<Vec<_>>())
        .bind(rows.iter().map(|(order, _)| order.updated_at).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, sequence)| *sequence).collect::<Vec<i64>>())
        .execute(connection)
        .await?;
    Ok(())
}

async fn update(connection: &mut PgConnection, rows: &[Changed]) -> anyhow::Result<()> {
    let statuses = rows.iter().map(|(_, change, _)| change.status.map(OrderStatus::as_str));
    let updated = sqlx::query(UPDATE)
        .bind(rows.iter().map(|(order, _, _)| order.0).collect::<Vec<Uuid>>())
        .bind(statuses.collect::<Vec<Option<&str>>>())
        .bind(rows.iter().map(|(_, change, _)| change.cancel_reason.as_deref()).collect::<Vec<Option<&str>>>())
        .bind(rows.iter().map(|(_, change, _)| change.cancel_requested).collect::<Vec<bool>>())
        .bind(rows.iter().map(|(_, change, _)| change.updated_at).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, _, sequence)| *sequence).collect::<Vec<i64>>())
        .execute(connection)
        .await?;
    ensure!(
        updated.rows_affected() == rows.len() as u64,
        "{} orders have changed and {} of them have a row",
        rows.len(),
        updated.rows_affected()
    );
    Ok(())
}

/// What this process has written and how far the read model has come: read your own writes.
pub(crate) struct Progress {
    rows: ProjectionHandle,
    written: Mutex<Cursor>,
}

impl Progress {
    pub fn new(rows: ProjectionHandle) -> Self {
        Self { rows, written: Mutex::default() }
    }

    /// Something was written.
    pub fn wrote(&self, at: Cursor) {
        let mut written = self.written.lock();
        *written = at.max(*written);
    }

    /// Waits until the read model has all that this process has written by now, for a short while at most.
    pub async fn caught_up(&self) {
        let written = *self.written.lock();
        self.rows.wait_for(written, CAUGHT_UP_WITHIN).await;
    }
}
