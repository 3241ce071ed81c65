//! A small catalogue to begin with.

use anyhow::Context;
use chrono::{Duration, SubsecRound};
use cqrs_es::Aggregate;
use domain::product::{Price, Product};
use domain::stock::Stock;
use kernel::{Currency, Money, ProductId};
use runtime::commands::Error;
use runtime::{Commands, Origin};
use sqlx::PgPool;
use uuid::Uuid;

use crate::commands::{self, NewProduct};
use crate::refusal::Denied;

/// Name, price, category, stock.
const CATALOGUE: [(&str, &str, &str, i64); 8] = [
    ("Laptop", "999.99", "Computers", 10_000),
    ("Mouse", "29.99", "Accessories", 100_000),
    ("Keyboard", "79.90", "Accessories", 50_000),
    ("Monitor", "249.00", "Computers", 20_000),
    ("Headphones", "149.50", "Audio", 30_000),
    ("Webcam", "59.00", "Accessories", 40_000),
    ("USB-C cable", "9.95", "Accessories", 1_000_000),
    ("Last item", "499.00", "Rarities", 1),
];

/// What seeding did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seeded {
    /// How many products were created now.
    pub created: usize,
}

impl Seeded {
    /// The id of the first seeded product, the laptop; the others follow it. The same in every shop, so that what the
    /// documentation orders is there.
    pub const FIRST: Uuid = Uuid::from_u128(0x0189_0000_0000_7000_8000_0000_0000_0001);

    /// The ids and names of the whole catalogue, in its order.
    pub fn catalogue() -> impl Iterator<Item = (ProductId, &'static str)> {
        (0..).zip(CATALOGUE).map(|(n, (name, ..))| (ProductId(Uuid::from_u128(Self::FIRST.as_u128() + n)), name))
    }
}

/// Puts the small catalogue into a shop that has no other product; what an earlier run did not get
/// to is completed, what was changed or deleted since stays so.
///
/// # Errors
/// If the database is away.
pub async fn seed(commands: &Commands, pool: &PgPool, currency: Currency) -> anyhow::Result<Seeded> {
    let ids: Vec<String> = Seeded::catalogue().map(|(id, _)| id.to_string()).collect();
    let (seeded, others): (i64, i64) = sqlx::query_as(
        "SELECT count(*) FILTER (WHERE aggregate_id = ANY($2)), count(*) FILTER (WHERE aggregate_id <> ALL($2))
           FROM events WHERE aggregate_type = $1 AND sequence = 1",
    )
    .bind(Product::TYPE)
    .bind(&ids)
    .fetch_one(pool)
    .await?;
    let mut created = 0;
    if others > 0 || usize::try_from(seeded)? == ids.len() {
        return Ok(Seeded { created });
    }
    let start = commands.clock().now().trunc_subsecs(6);
    for (n, (id, (name, price, category, stock))) in (0_i32..).zip(ids.iter().zip(CATALOGUE)) {
        let new = NewProduct {
            name: name.parse()?,
            price: price_in(price, currency)?,
            category: Some(category.parse()?),
            sku: None,
            stock,
        };
        // Apart, so that they are listed in this order.
        let at = start + Duration::milliseconds(n.into());
        let (product, stock) = commands::create(id.parse()?, new, at);
        let origin = Origin::request(commands.clock().new_id(), commands.clock().new_id(), "system");
        match commands.execute_both::<Product, Stock, Denied>((id, product), (id, stock), &origin).await {
            Ok((product, _)) => created += usize::from(!product.events.is_empty()),
            // Somebody has changed or deleted it, or another instance is just seeding.
            Err(Error::Denied(_) | Error::Conflict) => {}
            Err(Error::NotRecorded(error)) => return Err(error.into()),
        }
    }
    Ok(Seeded { created })
}

/// The price with as many digits as the currency has.
fn price_in(price: &str, currency: Currency) -> anyhow::Result<Price> {
    let whole = price.split('.').next().unwrap_or(price);
    let money = Money::parse(price, currency).or_else(|_| Money::parse(whole, currency))?;
    Price::try_from(money).context("a seeded price")
}
