//! What became of a product's stock, from its events.

use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use domain::stock::{Event, Rejection, Stock};
use event_store::{Decoded, Stored};
use poem_openapi::{Enum, Object};
use sqlx::PgPool;
use uuid::Uuid;
use web::Timestamp;

use crate::queries::Error;

/// One thing that happened to the stock.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(rename = "StockMovement")]
pub(crate) struct Movement {
    /// Its place in the stock's history, from 1.
    pub sequence: u64,
    /// When.
    pub at: Timestamp,
    /// What kind of thing.
    pub kind: Kind,
    /// How many it was about; of a recount how many more there were than thought, which may be negative.
    pub quantity: i64,
    /// How many could be ordered after it.
    pub available: i64,
    /// The order that it was for.
    #[oai(skip_serializing_if_is_none)]
    pub order_id: Option<Uuid>,
    /// In plain words.
    pub text: String,
    /// Who did it: `user:<id>`, `service:<name>` or `system`.
    pub actor: String,
}

/// What can happen to stock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename = "StockMovementKind", rename_all = "snake_case")]
pub(crate) enum Kind {
    /// Counting began.
    Opened,
    /// More came.
    Restocked,
    /// It was counted anew.
    Adjusted,
    /// Some are held for an order.
    Reserved,
    /// None could be held for an order.
    Rejected,
    /// What an order held or had bought came back.
    Released,
    /// What was held for an order is sold.
    Sold,
    /// The product was deleted.
    Closed,
}

#[derive(sqlx::FromRow)]
struct Recorded {
    aggregate_id: String,
    sequence: i64,
    event_type: String,
    event_version: String,
    payload: String,
    actor: Option<String>,
    recorded_at: DateTime<Utc>,
}

impl Recorded {
    fn sequence(&self) -> u64 {
        u64::try_from(self.sequence).unwrap_or_default()
    }

    fn decoded(&self) -> Result<Decoded<Event>, Error> {
        let stored = Stored {
            aggregate_type: Stock::TYPE,
            aggregate_id: &self.aggregate_id,
            sequence: self.sequence(),
            event_type: &self.event_type,
            event_version: &self.event_version,
            payload: &self.payload,
            recorded_at: self.recorded_at,
        };
        stored.decode_all::<Stock>().map_err(|error| Error::Database(sqlx::Error::Decode(error.into())))
    }
}

const COLUMNS: &str = "aggregate_id, sequence, event_type, event_version, payload::text AS payload,
                       metadata->>'actor' AS actor, recorded_at";

/// The newest movements before this one, and the sequence to go on before where there are more. Movements that were
/// recorded as one are not parted.
pub(crate) async fn page(
    pool: &PgPool,
    product: Uuid,
    before: Option<u64>,
    limit: u32,
) -> Result<(Vec<Movement>, Option<u64>), Error> {
    let before = before.and_then(|before| i64::try_from(before).ok()).unwrap_or(i64::MAX);
    let mut recorded: Vec<Recorded> = sqlx::query_as(&format!(
        "SELECT {COLUMNS}
           FROM events
          WHERE aggregate_type = $1 AND aggregate_id = $2 AND sequence < $3
          ORDER BY sequence DESC
          LIMIT $4",
    ))
    .bind(Stock::TYPE)
    .bind(product.to_string())
    .bind(before)
    .bind(i64::from(limit) + 1)
    .fetch_all(pool)
    .await?;
    let more = recorded.len() > limit as usize;
    recorded.truncate(limit as usize);
    let first = recorded.last().map_or(0, |event| event.sequence);
    let mut available = available_before(pool, product, first).await?;
    // Oldest first: a sale does not say how many are available, because it changes nothing about it.
    let mut movements = Vec::with_capacity(recorded.len());
    for recorded in recorded.iter().rev() {
        for event in recorded.decoded()? {
            let movement = movement(recorded, &event, available);
            available = movement.available;
            movements.push(movement);
        }
    }
    movements.reverse();
    let next = recorded.last().filter(|_| more).map(Recorded::sequence);
    Ok((movements, next))
}

/// How many were available before this event: as the last one says that says so.
async fn available_before(pool: &PgPool, product: Uuid, mut sequence: i64) -> Result<i64, Error> {
    // What was recorded in an earlier form may say nothing of it today.
    loop {
        let last: Option<Recorded> = sqlx::query_as(&format!(
            "SELECT {COLUMNS}
               FROM events
              WHERE aggregate_type = $1 AND aggregate_id = $2 AND sequence < $3
                AND event_type NOT IN ('stock_committed', 'stock_closed')
              ORDER BY sequence DESC
              LIMIT 1",
        ))
        .bind(Stock::TYPE)
        .bind(product.to_string())
        .bind(sequence)
        .fetch_optional(pool)
        .await?;
        let Some(last) = last else { return Ok(0) };
        if let Some(available) = last.decoded()?.filter_map(|event| available_after(&event)).last() {
            return Ok(available);
        }
        sequence = last.sequence;
    }
}

/// How many are available after it, if it says so.
fn available_after(event: &Event) -> Option<i64> {
    match *event {
        Event::StockOpened { quantity, .. } => Some(quantity),
        Event::StockRestocked { available, .. }
        | Event::StockAdjusted { available, .. }
        | Event::StockReserved { available, .. }
        | Event::StockRejected { available, .. }
        | Event::StockReleased { available, .. } => Some(available),
        Event::StockCommitted { .. } | Event::StockClosed {} => None,
    }
}

fn movement(recorded: &Recorded, event: &Event, before: i64) -> Movement {
    let (kind, quantity, order, text) = in_words(event);
    Movement {
        sequence: recorded.sequence(),
        at: recorded.recorded_at.into(),
        kind,
        quantity,
        available: available_after(event).unwrap_or(before),
        order_id: order,
        text,
        actor: recorded.actor.clone().unwrap_or_else(|| "system".to_owned()),
    }
}

fn in_words(event: &Event) -> (Kind, i64, Option<Uuid>, String) {
    match *event {
        Event::StockOpened { quantity, .. } => {
            (Kind::Opened, quantity, None, format!("Counting began with {quantity}"))
        }
        Event::StockRestocked { quantity, .. } => {
            let quantity = i64::from(quantity);
            (Kind::Restocked, quantity, None, format!("{quantity} more came"))
        }
        Event::StockAdjusted { delta, available, .. } => (
            Kind::Adjusted,
            delta,
            None,
            format!("It was counted anew: there are {available}, {delta:+} to what was thought"),
        ),
        Event::StockReserved { order_id, quantity, .. } => {
            let quantity = i64::from(quantity);
            (Kind::Reserved, quantity, Some(order_id.0), format!("{quantity} are held for an order"))
        }
        Event::StockRejected { order_id, requested, available, reason, .. } => {
            let requested = i64::from(requested);
            let why = match reason {
                Rejection::OutOfStock => format!("there were {available}"),
                Rejection::UnknownProduct => "there was no such product".to_owned(),
                Rejection::ProductDeleted => "the product was deleted".to_owned(),
            };
            let text = format!("{requested} could not be held for an order: {why}");
            (Kind::Rejected, requested, Some(order_id.0), text)
        }
        Event::StockReleased { order_id, quantity: 0, .. } => {
            (Kind::Released, 0, Some(order_id.0), "An order that held nothing gave back nothing".to_owned())
        }
        Event::StockReleased { order_id, quantity, was_sold, .. } => {
            let had = if was_sold { "bought" } else { "held" };
            (Kind::Released, quantity, Some(order_id.0), format!("{quantity} that an order had {had} came back"))
        }
        Event::StockCommitted { order_id, quantity } => {
            let quantity = i64::from(quantity);
            (Kind::Sold, quantity, Some(order_id.0), format!("{quantity} were sold to an order"))
        }
        Event::StockClosed {} => {
            (Kind::Closed, 0, None, "The product was deleted: nothing more is held for orders".to_owned())
        }
    }
}
