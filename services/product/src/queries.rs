//! What is asked of the read model.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use kernel::{Currency, Money, MoneyError};
use poem_openapi::Object;
use sqlx::PgPool;
use uuid::Uuid;
use web::{Amount, Timestamp};

use crate::cache::Cache;

/// A product of the catalogue.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(rename = "Product")]
pub(crate) struct Entry {
    /// Its id.
    pub id: Uuid,
    /// Its name.
    pub name: String,
    /// What one costs.
    pub price: Amount,
    /// The price's currency (ISO 4217).
    pub currency: String,
    /// How many can be ordered now.
    pub stock: i64,
    /// What kind of product it is.
    pub category: Option<String>,
    /// When it entered the catalogue.
    pub created_at: Timestamp,
    /// When its description changed or its stock was counted; orders do not count.
    pub updated_at: Timestamp,
}

/// Which products, and how many.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    /// A part of the name, in whichever case.
    pub search: Option<String>,
    /// The least price in minor units.
    pub price_min: Option<i64>,
    /// The highest price in minor units.
    pub price_max: Option<i64>,
    /// Only those with stock, or only those without.
    pub in_stock: Option<bool>,
    /// Those behind this one.
    pub after: Option<Uuid>,
    /// At most so many.
    pub limit: i64,
}

/// What an order needs to know of a product.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Quoted {
    pub price: Money,
    pub available: i64,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The cursor is no product's id.
    #[error("there is no product {0}")]
    UnknownCursor(Uuid),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    /// A row that the projection cannot have written.
    #[error(transparent)]
    Money(#[from] MoneyError),
}

/// Reads the table `products`.
#[derive(Clone)]
pub(crate) struct Queries {
    pool: PgPool,
    cache: Arc<Cache>,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    name: String,
    price_minor: i64,
    currency: String,
    available: i64,
    category: Option<String>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl TryFrom<Row> for Entry {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self, Error> {
        let currency: Currency = row.currency.parse()?;
        Ok(Self {
            id: row.id,
            name: row.name,
            price: Money::new(row.price_minor, currency).into(),
            currency: row.currency,
            stock: row.available,
            category: row.category,
            created_at: row.created_at.into(),
            updated_at: row.updated_at.into(),
        })
    }
}

impl Queries {
    pub fn new(pool: PgPool, cache: Arc<Cache>) -> Self {
        Self { pool, cache }
    }

    /// A product, as it is or was a moment ago.
    pub async fn product(&self, id: Uuid) -> Result<Option<Arc<Entry>>, Error> {
        self.cache.get(id, self.stored(id)).await
    }

    /// A product as the table has it now.
    pub async fn stored(&self, id: Uuid) -> Result<Option<Entry>, Error> {
        let row: Option<Row> = sqlx::query_as(
            "SELECT id, name, price_minor, currency, available, category, created_at, updated_at
               FROM products WHERE id = $1 AND NOT deleted",
        )
        .bind(id)
        .fetch_optional(&self.pool)
        .await?;
        row.map(Entry::try_from).transpose()
    }

    /// A page of the catalogue, the oldest products first.
    pub async fn page(&self, wanted: &Wanted) -> Result<Vec<Entry>, Error> {
        let after = match wanted.after {
            Some(id) => Some(self.place(id).await?.ok_or(Error::UnknownCursor(id))?),
            None => None,
        };
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT id, name, price_minor, currency, available, category, created_at, updated_at
               FROM products
              WHERE NOT deleted
                AND ($1::timestamptz IS NULL OR (created_at, id) > ($1, $2))
                AND ($3::text IS NULL OR strpos(name_folded, $3) > 0)
                AND ($4::bigint IS NULL OR price_minor >= $4)
                AND ($5::bigint IS NULL OR price_minor <= $5)
                AND ($6::boolean IS NULL OR (available > 0) = $6)
              ORDER BY created_at, id
              LIMIT $7",
        )
        .bind(after)
        .bind(wanted.after)
        .bind(wanted.search.as_ref().map(|text| text.to_lowercase()))
        .bind(wanted.price_min)
        .bind(wanted.price_max)
        .bind(wanted.in_stock)
        .bind(wanted.limit)
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter().map(Entry::try_from).collect()
    }

    /// Where a product stands in the catalogue, or stood before it was deleted.
    async fn place(&self, id: Uuid) -> sqlx::Result<Option<DateTime<Utc>>> {
        sqlx::query_scalar("SELECT created_at FROM products WHERE id = $1").bind(id).fetch_optional(&self.pool).await
    }

    /// Price and stock of those products that there are, in one query and never from a cache.
    pub async fn quote(&self, ids: &[Uuid]) -> Result<HashMap<Uuid, Quoted>, Error> {
        let rows: Vec<(Uuid, i64, String, i64)> = sqlx::query_as(
            "SELECT id, price_minor, currency, available FROM products WHERE id = ANY($1) AND NOT deleted",
        )
        .bind(ids)
        .fetch_all(&self.pool)
        .await?;
        let quoted = rows.into_iter().map(|(id, minor, currency, available)| {
            Ok((id, Quoted { price: Money::new(minor, currency.parse()?), available }))
        });
        quoted.collect()
    }
}
