//! Reading orders.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use domain::Reason;
use domain::order::{Event, Order, OrderLine, OrderStatus, Placed};
use event_store::{EventStore, PgStore, StreamId};
use kernel::{Money, OrderId, UserId};
use runtime::Commands;
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use sqlx::{FromRow, PgPool, Row};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use web::auth::Identity;

use crate::error::Error;
use crate::projection::Progress;
use crate::waiters::Waiters;

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, user_id, status, lines, total_minor, currency, payment_method, cancel_reason, \
             cancel_requested, created_at, updated_at FROM orders ",
            $rest
        )
    };
}

/// Answers questions about orders.
pub(crate) struct Queries {
    pool: PgPool,
    store: Arc<PgStore>,
    commands: Commands,
    progress: Arc<Progress>,
    waiters: Arc<Waiters>,
    shutdown: CancellationToken,
}

/// Which of a user's orders, the newest first.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Page {
    /// Only those that stand so.
    pub status: Option<OrderStatus>,
    /// Those older than this one.
    pub after: Option<OrderId>,
    /// At most so many.
    pub limit: u32,
}

/// One thing that happened to an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Happening {
    pub sequence: u64,
    pub at: DateTime<Utc>,
    pub event: String,
    /// In plain words.
    pub text: String,
    /// Who did it.
    pub actor: String,
}

impl Queries {
    pub fn new(
        pool: PgPool,
        store: Arc<PgStore>,
        commands: Commands,
        progress: Arc<Progress>,
        waiters: Arc<Waiters>,
        shutdown: CancellationToken,
    ) -> Self {
        Self { pool, store, commands, progress, waiters, shutdown }
    }

    /// An order that the caller may see. One that the read model does not know yet is read from its events: whoever
    /// was told that an order was placed finds it.
    pub async fn order(&self, id: OrderId, caller: &Identity) -> Result<Placed, Error> {
        let row: Option<OrderRow> =
            sqlx::query_as(select!("WHERE id = $1")).bind(id.0).fetch_optional(&self.pool).await?;
        let order = match row {
            Some(row) => Some(row.0),
            None => match self.commands.load::<Order>(&id.to_string()).await?.0 {
                Order::Placed(order) => Some(order),
                Order::Unknown => None,
            },
        };
        order.filter(|order| caller.may_see(order.user_id)).ok_or_else(Error::no_such_order)
    }

    /// As [`Queries::order`], as soon as the order has ended, or as it stands when the wait is over.
    pub async fn order_once_ended(&self, id: OrderId, caller: &Identity, wait: Duration) -> Result<Placed, Error> {
        // Before the look: an end in between is not missed.
        let waiter = self.waiters.register(id);
        let order = self.order(id, caller).await?;
        let Some(waiter) = waiter.filter(|_| order.status == OrderStatus::Pending && !wait.is_zero()) else {
            return Ok(order);
        };
        tokio::select! {
            () = waiter.ended() => {}
            () = tokio::time::sleep(wait) => {}
            () = self.shutdown.cancelled() => {}
        }
        self.order(id, caller).await
    }

    /// A page of the user's orders, the newest first, and whether there are more.
    pub async fn orders_of(&self, user: UserId, page: Page) -> Result<(Vec<Placed>, bool), Error> {
        self.progress.caught_up().await;
        let rows: Vec<OrderRow> = sqlx::query_as(select!(
            "WHERE user_id = $1 AND id < $2 AND ($3::text IS NULL OR status = $3) ORDER BY id DESC LIMIT $4"
        ))
        .bind(user.0)
        .bind(page.after.map_or(Uuid::max(), |order| order.0))
        .bind(page.status.map(OrderStatus::as_str))
        .bind(i64::from(page.limit) + 1)
        .fetch_all(&self.pool)
        .await?;
        let more = rows.len() > page.limit as usize;
        Ok((rows.into_iter().take(page.limit as usize).map(|row| row.0).collect(), more))
    }

    /// What happened to an order that the caller may see, from its events.
    pub async fn history(&self, id: OrderId, caller: &Identity) -> Result<Vec<Happening>, Error> {
        let stream = (StreamId::of::<Order>(id.to_string()), 0);
        let recorded = self.store.load(&[stream]).await?.pop().unwrap_or_default();
        let mut happenings = Vec::with_capacity(recorded.len());
        for recorded in recorded {
            let event = recorded.decode::<Order>()?;
            if let Event::OrderPlaced { user_id, .. } = &event
                && !caller.may_see(*user_id)
            {
                return Err(Error::no_such_order());
            }
            let (at, text) = in_words(&event);
            happenings.push(Happening {
                sequence: recorded.sequence,
                at,
                event: recorded.event_type,
                text,
                actor: recorded.metadata.actor,
            });
        }
        if happenings.is_empty() { Err(Error::no_such_order()) } else { Ok(happenings) }
    }
}

fn in_words(event: &Event) -> (DateTime<Utc>, String) {
    match event {
        Event::OrderPlaced { lines, total, payment_method, at, .. } => {
            let lines = if lines.len() == 1 { "1 line".to_owned() } else { format!("{} lines", lines.len()) };
            (*at, format!("The order was placed: {lines}, {total} in all, to be paid with {payment_method}"))
        }
        Event::CancellationRequested { reason: Some(reason), at, .. } => {
            (*at, format!("Its cancellation was asked for: {reason}"))
        }
        Event::CancellationRequested { reason: None, at, .. } => (*at, "Its cancellation was asked for".to_owned()),
        Event::OrderConfirmed { total, at, .. } => (*at, format!("The order is confirmed: {total} was paid")),
        Event::OrderCancelled { reason, at, .. } => (*at, format!("The order is cancelled: {reason}")),
    }
}

/// A row of the read model as the order that it stands for.
struct OrderRow(Placed);

impl FromRow<'_, PgRow> for OrderRow {
    fn from_row(row: &PgRow) -> sqlx::Result<Self> {
        let currency = parsed(row, "currency")?;
        let Json(lines) = row.try_get::<Json<Vec<OrderLine>>, _>("lines")?;
        Ok(Self(Placed {
            order_id: OrderId(row.try_get("id")?),
            user_id: UserId(row.try_get("user_id")?),
            lines,
            total: Money::new(row.try_get("total_minor")?, currency),
            payment_method: parsed(row, "payment_method")?,
            status: parsed(row, "status")?,
            cancellation_requested: row.try_get("cancel_requested")?,
            cancel_reason: row.try_get::<Option<&str>, _>("cancel_reason")?.map(Reason::from),
            placed_at: row.try_get("created_at")?,
            // Only decisions need it, and they load the stream.
            confirmed_at: None,
            updated_at: row.try_get("updated_at")?,
        }))
    }
}

fn parsed<T: std::str::FromStr<Err: std::error::Error + Send + Sync + 'static>>(
    row: &PgRow,
    column: &str,
) -> sqlx::Result<T> {
    let text: &str = row.try_get(column)?;
    text.parse().map_err(|error| sqlx::Error::ColumnDecode { index: column.to_owned(), source: Box::new(error) })
}
