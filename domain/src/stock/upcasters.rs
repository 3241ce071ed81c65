//! How earlier forms of the events of stock are read.
//!
//! Version 1 of what somebody counted did not say when at first, and later did, as a field that may be missing. Version 2
//! always says it: where version 1 does not, it was when the event was recorded.

use chrono::{DateTime, Utc};
use kernel::Quantity;
use kernel::upcast::{Context, Form, Upcast, Upcaster};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub(super) const ALL: &[Upcaster] = &[Upcaster::typed::<RestockedV1>(), Upcaster::typed::<AdjustedV1>()];

/// More came.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct RestockedV1 {
    /// How many.
    quantity: Quantity,
    /// How many are available now.
    available: i64,
    /// When; the first events did not say.
    at: Option<DateTime<Utc>>,
}

#[derive(Serialize)]
struct RestockedV2 {
    quantity: Quantity,
    available: i64,
    at: DateTime<Utc>,
}

impl Upcast for RestockedV1 {
    const EVENT_TYPE: &'static str = "stock_restocked";
    const FROM: u32 = 1;
    type Old = Self;

    fn upcast(old: Self, context: &Context<'_>) -> Result<Vec<Form>, String> {
        let Self { quantity, available, at } = old;
        let today = RestockedV2 { quantity, available, at: at.unwrap_or(context.recorded_at) };
        Ok(vec![Form::new(Self::EVENT_TYPE, 2, &today)?])
    }
}

/// It was counted anew.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct AdjustedV1 {
    /// How many more than thought; may be negative.
    delta: i64,
    /// How many are available now.
    available: i64,
    /// When; the first events did not say.
    at: Option<DateTime<Utc>>,
}

#[derive(Serialize)]
struct AdjustedV2 {
    delta: i64,
    available: i64,
    at: DateTime<Utc>,
}

impl Upcast for AdjustedV1 {
    const EVENT_TYPE: &'static str = "stock_adjusted";
    const FROM: u32 = 1;
    type Old = Self;

    fn upcast(old: Self, context: &Context<'_>) -> Result<Vec<Form>, String> {
        let Self { delta, available, at } = old;
        let today = AdjustedV2 { delta, available, at: at.unwrap_or(context.recorded_at) };
        Ok(vec![Form::new(Self::EVENT_TYPE, 2, &today)?])
    }
}
