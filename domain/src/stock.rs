//! Stock: how many of a product there are, for whom some are held, who bought some. Its id is the product's.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use kernel::{Idempotent, OrderId, ProductId, Quantity};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

mod upcasters;

pub use upcasters::{AdjustedV1, RestockedV1};

/// The most that may be available.
pub const AVAILABLE_MAX: i64 = 1_000_000_000;

/// How many sales are remembered, so that they can be undone. Beyond it the sale of the oldest order is forgotten:
/// releasing that order then gives back nothing. Order ids are UUIDv7, so the smallest id is the oldest order.
pub const SALES_MAX: usize = 100_000;

/// What may be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Begin to count a new product.
    Open {
        /// The product.
        product_id: ProductId,
        /// How many there are: 0 to [`AVAILABLE_MAX`].
        quantity: i64,
    },
    /// More of it came.
    Restock {
        /// How many.
        quantity: Quantity,
        /// Now.
        at: DateTime<Utc>,
    },
    /// It was counted anew.
    Adjust {
        /// How many are available: 0 to [`AVAILABLE_MAX`].
        to: i64,
        /// Now.
        at: DateTime<Utc>,
    },
    /// Hold some for an order. Never an error: when it cannot be done, that is what happened.
    Reserve {
        /// The order.
        order_id: OrderId,
        /// How many.
        quantity: Quantity,
        /// Now.
        at: DateTime<Utc>,
    },
    /// Undo whatever the order did here, reservation or sale. When it did nothing, nothing is what comes back.
    Release {
        /// The order.
        order_id: OrderId,
    },
    /// Sell what is held for the order.
    Commit {
        /// The order.
        order_id: OrderId,
    },
    /// The product was deleted: hold nothing more of it.
    Close,
    /// Nothing is to change: only that the product is counted is asked, beside a change of something else.
    Check,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// Counting began.
    StockOpened {
        /// The product.
        product_id: ProductId,
        /// How many there were.
        quantity: i64,
    },
    /// More came.
    StockRestocked {
        /// How many.
        quantity: Quantity,
        /// How many are available now.
        available: i64,
        /// When.
        at: DateTime<Utc>,
    },
    /// It was counted anew.
    StockAdjusted {
        /// How many more than thought; may be negative.
        delta: i64,
        /// How many are available now.
        available: i64,
        /// When.
        at: DateTime<Utc>,
    },
    /// Some are held for an order.
    StockReserved {
        /// The order.
        order_id: OrderId,
        /// How many.
        quantity: Quantity,
        /// How many are available now.
        available: i64,
        /// When.
        at: DateTime<Utc>,
    },
    /// None could be held for an order.
    StockRejected {
        /// The order.
        order_id: OrderId,
        /// How many it wanted.
        requested: Quantity,
        /// How many it could have had.
        available: i64,
        /// Why.
        reason: Rejection,
        /// When.
        at: DateTime<Utc>,
    },
    /// What an order did was undone.
    StockReleased {
        /// The order.
        order_id: OrderId,
        /// How many came back; 0 when it had nothing.
        quantity: i64,
        /// Whether they had been sold.
        was_sold: bool,
        /// How many are available now.
        available: i64,
    },
    /// What was held is sold.
    StockCommitted {
        /// The order.
        order_id: OrderId,
        /// How many.
        quantity: Quantity,
    },
    /// Nothing more will be held.
    StockClosed {},
}

/// Why stock was not held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Rejection {
    /// There is not enough.
    OutOfStock,
    /// There is no such product.
    UnknownProduct,
    /// There was one.
    ProductDeleted,
}

impl Rejection {
    /// Its published name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OutOfStock => "out_of_stock",
            Self::UnknownProduct => "unknown_product",
            Self::ProductDeleted => "product_deleted",
        }
    }
}

impl Event {
    fn event_type(&self) -> &'static str {
        match self {
            Self::StockOpened { .. } => "stock_opened",
            Self::StockRestocked { .. } => "stock_restocked",
            Self::StockAdjusted { .. } => "stock_adjusted",
            Self::StockReserved { .. } => "stock_reserved",
            Self::StockRejected { .. } => "stock_rejected",
            Self::StockReleased { .. } => "stock_released",
            Self::StockCommitted { .. } => "stock_committed",
            Self::StockClosed {} => "stock_closed",
        }
    }

    fn event_version(&self) -> &'static str {
        match self {
            Self::StockRestocked { .. } | Self::StockAdjusted { .. } => "2",
            _ => "1",
        }
    }
}

/// Stock as the events tell. Always `available + reserved + sold = initial + restocked`, and nothing but `restocked`
/// is ever negative.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Stock {
    /// How many can be held for an order.
    pub available: i64,
    /// How many are held.
    pub reserved: i64,
    /// How many are sold.
    pub sold: i64,
    /// How many there were when counting began.
    pub initial: i64,
    /// How many came since; adjustments count, so it may be negative.
    pub restocked: i64,
    stage: Stage,
    held: BTreeMap<OrderId, Quantity>,
    sales: BTreeMap<OrderId, Quantity>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
enum Stage {
    #[default]
    Unknown,
    Open,
    Closed,
}

/// What an order has of the stock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// Held for it.
    Reserved(Quantity),
    /// Sold to it.
    Sold(Quantity),
}

impl Stock {
    /// What the order has, if anything.
    pub fn share(&self, order: OrderId) -> Option<Share> {
        let held = self.held.get(&order).copied().map(Share::Reserved);
        held.or_else(|| self.sales.get(&order).copied().map(Share::Sold))
    }

    fn fold_event(&mut self, event: Event) {
        match event {
            Event::StockOpened { product_id: _, quantity } => {
                self.stage = Stage::Open;
                self.initial = quantity;
                self.available = quantity;
            }
            Event::StockRestocked { quantity, .. } => self.fold_delta(quantity.into()),
            Event::StockAdjusted { delta, .. } => self.fold_delta(delta),
            Event::StockReserved { order_id, quantity, .. } => {
                self.available -= i64::from(quantity);
                self.reserved += i64::from(quantity);
                self.held.insert(order_id, quantity);
            }
            Event::StockRejected { .. } => {}
            Event::StockReleased { order_id, quantity, was_sold, available: _ } => {
                let (from, shares) =
                    if was_sold { (&mut self.sold, &mut self.sales) } else { (&mut self.reserved, &mut self.held) };
                *from -= quantity;
                shares.remove(&order_id);
                self.available += quantity;
            }
            Event::StockCommitted { order_id, quantity } => {
                self.reserved -= i64::from(quantity);
                self.sold += i64::from(quantity);
                self.held.remove(&order_id);
                self.sales.insert(order_id, quantity);
                if self.sales.len() > SALES_MAX {
                    self.sales.pop_first();
                }
            }
            Event::StockClosed {} => self.stage = Stage::Closed,
        }
    }

    fn fold_delta(&mut self, delta: i64) {
        self.available += delta;
        self.restocked += delta;
    }

    fn decide_command(&self, command: Command) -> Result<Idempotent<Vec<Event>>, Error> {
        let event = match command {
            Command::Open { product_id, quantity } => match self.stage {
                Stage::Unknown => Event::StockOpened { product_id, quantity: countable(quantity)? },
                Stage::Open if self.initial == quantity => return Ok(Idempotent::AlreadyDone),
                Stage::Open => return Err(Error::AlreadyOpen),
                Stage::Closed => return Err(Error::Closed),
            },
            Command::Restock { quantity, at } => {
                self.open()?;
                let available = countable(self.available + i64::from(quantity))?;
                Event::StockRestocked { quantity, available, at }
            }
            Command::Adjust { to, at } => {
                self.open()?;
                match countable(to)? - self.available {
                    0 => return Ok(Idempotent::AlreadyDone),
                    delta => Event::StockAdjusted { delta, available: to, at },
                }
            }
            Command::Reserve { order_id, .. } if self.share(order_id).is_some() => return Ok(Idempotent::AlreadyDone),
            Command::Reserve { order_id, quantity, at } => self.reserve(order_id, quantity, at),
            Command::Release { order_id } => self.release(order_id),
            Command::Commit { order_id } => match self.share(order_id) {
                Some(Share::Reserved(quantity)) => Event::StockCommitted { order_id, quantity },
                Some(Share::Sold(_)) => return Ok(Idempotent::AlreadyDone),
                None => return Err(Error::NothingReserved(order_id)),
            },
            Command::Close if self.stage == Stage::Closed => return Ok(Idempotent::AlreadyDone),
            Command::Close => Event::StockClosed {},
            Command::Check => {
                self.open()?;
                return Ok(Idempotent::AlreadyDone);
            }
        };
        Ok(Idempotent::Executed(vec![event]))
    }

    fn open(&self) -> Result<(), Error> {
        match self.stage {
            Stage::Unknown => Err(Error::Unknown),
            Stage::Open => Ok(()),
            Stage::Closed => Err(Error::Closed),
        }
    }

    fn reserve(&self, order_id: OrderId, quantity: Quantity, at: DateTime<Utc>) -> Event {
        let reject = |reason, available| Event::StockRejected { order_id, requested: quantity, available, reason, at };
        match (self.stage, self.available - i64::from(quantity)) {
            (Stage::Unknown, _) => reject(Rejection::UnknownProduct, 0),
            (Stage::Closed, _) => reject(Rejection::ProductDeleted, 0),
            (Stage::Open, ..0) => reject(Rejection::OutOfStock, self.available),
            (Stage::Open, available) => Event::StockReserved { order_id, quantity, available, at },
        }
    }

    fn release(&self, order_id: OrderId) -> Event {
        let (quantity, was_sold) = match self.share(order_id) {
            Some(Share::Reserved(quantity)) => (quantity.into(), false),
            Some(Share::Sold(quantity)) => (quantity.into(), true),
            None => (0, false),
        };
        Event::StockReleased { order_id, quantity, was_sold, available: self.available + quantity }
    }
}

fn countable(quantity: i64) -> Result<i64, Error> {
    if (0..=AVAILABLE_MAX).contains(&quantity) { Ok(quantity) } else { Err(Error::OutOfRange(quantity)) }
}

// Each order adds two or three events. With all sales remembered a snapshot has some 4 MB: so it is not taken often.
kernel::aggregate!(Stock, "stock", Command, Event, Error, snapshot_every = 2_000, upcasters = upcasters::ALL);

/// Why not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Counting began with another number.
    #[error("the stock is counted already")]
    AlreadyOpen,
    /// There is no such product.
    #[error("there is no such product")]
    Unknown,
    /// There was one.
    #[error("the product was deleted")]
    Closed,
    /// Negative or too many.
    #[error("available stock is a whole number from 0 to {AVAILABLE_MAX}, not {0}")]
    OutOfRange(i64),
    /// What is not held cannot be sold.
    #[error("nothing is held for order {0}")]
    NothingReserved(OrderId),
}

#[cfg(test)]
mod tests;
