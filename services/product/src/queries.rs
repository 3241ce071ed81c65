//! What is asked of the read model.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use event_store::Kept;
use kernel::{Currency, Money, MoneyError};
use runtime::Grouped;
use sqlx::{PgPool, Postgres, QueryBuilder};
use uuid::Uuid;

use crate::cache::{Answer, Cache};
use crate::entry::{Entry, NotVersion, Shown, Version};
use crate::search;

/// A row as [`Row`] has it.
const ROW: &str =
    "SELECT id, name, price_minor, currency, available, category, sku, created_at, updated_at, deleted_at,
                          product_sequence, stock_sequence
                     FROM products WHERE ";

/// Connections that are kept for quotes.
const QUOTING: usize = 2;

/// Which products, and how many.
#[derive(Debug, Default, Clone)]
pub(crate) struct Wanted {
    /// Beginnings of words of the name, without case and accents.
    pub search: Option<String>,
    /// The least price in minor units.
    pub price_min: Option<i64>,
    /// The highest price in minor units.
    pub price_max: Option<i64>,
    /// Of this kind.
    pub category: Option<String>,
    /// Only those with stock, or only those without.
    pub in_stock: Option<bool>,
    /// Those that were deleted, and no others.
    pub deleted: bool,
    /// Those behind this one.
    pub after: Option<Uuid>,
    /// At most so many.
    pub limit: u32,
}

/// Some of the products that were wanted, the oldest first.
#[derive(Debug)]
pub(crate) struct Page {
    pub products: Vec<Entry>,
    /// The one to go on behind, where there are more.
    pub next: Option<Uuid>,
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
    /// Whoever was reading it for us died.
    #[error("the read was broken off")]
    Interrupted,
    /// A row that the projection cannot have written.
    #[error(transparent)]
    Money(#[from] MoneyError),
    /// As above.
    #[error(transparent)]
    Version(#[from] NotVersion),
}

/// Reads the table `products`.
#[derive(Clone)]
pub(crate) struct Queries {
    pool: PgPool,
    cache: Arc<Cache>,
    quotes: Arc<Grouped<Vec<Uuid>, Quotes>>,
}

/// What a quote brings; callers whose lines were read by one query share its error.
type Quotes = Result<HashMap<Uuid, Quoted>, Arc<Error>>;

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    name: String,
    price_minor: i64,
    currency: String,
    available: i64,
    category: Option<String>,
    sku: Option<String>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    deleted_at: Option<DateTime<Utc>>,
    product_sequence: i64,
    stock_sequence: i64,
}

impl TryFrom<Row> for Entry {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self, Error> {
        let currency: Currency = row.currency.parse()?;
        let sequence = |number: i64| u64::try_from(number).map_err(|_| NotVersion);
        let version = Version { product: sequence(row.product_sequence)?, stock: sequence(row.stock_sequence)? };
        Ok(Self {
            id: row.id,
            name: row.name,
            price: Money::new(row.price_minor, currency).into(),
            currency: row.currency,
            stock: row.available,
            category: row.category,
            sku: row.sku,
            version: version.to_string(),
            created_at: row.created_at.into(),
            updated_at: row.updated_at.into(),
            deleted_at: row.deleted_at.map(Into::into),
        })
    }
}

impl Queries {
    pub fn new(pool: PgPool, cache: Arc<Cache>) -> Self {
        let quoting = Arc::new(Kept::new(&pool, QUOTING));
        let quotes = Grouped::start(move |group: Vec<Vec<Uuid>>| {
            let kept = Arc::clone(&quoting);
            async move { quotes(&kept, group).await }
        });
        Self { pool, cache, quotes: Arc::new(quotes) }
    }

    /// A product, as it is or was a moment ago.
    pub async fn product(&self, id: Uuid) -> Answer {
        let load = || {
            let pool = self.pool.clone();
            async move { stored(&pool, id).await }
        };
        self.cache.get(id, load).await
    }

    /// As [`Queries::product`], if this process has it at hand.
    pub fn at_hand(&self, id: Uuid) -> Option<Arc<Shown>> {
        self.cache.kept(id)
    }

    /// A product as the table has it now.
    pub async fn stored(&self, id: Uuid) -> Result<Option<Entry>, Error> {
        stored(&self.pool, id).await
    }

    /// Whether there is such a product, or was.
    pub async fn ever_was(&self, id: Uuid) -> Result<bool, Error> {
        Ok(self.place(id).await?.is_some())
    }

    /// A page of the catalogue, the oldest products first.
    pub async fn page(&self, wanted: &Wanted) -> Result<Page, Error> {
        let after = match wanted.after {
            Some(id) => Some((self.place(id).await?.ok_or(Error::UnknownCursor(id))?, id)),
            None => None,
        };
        let Some(mut query) = selection(wanted, after) else { return Ok(Page { products: Vec::new(), next: None }) };
        let rows: Vec<Row> = query.build_query_as().fetch_all(&self.pool).await?;
        let mut products = rows.into_iter().map(Entry::try_from).collect::<Result<Vec<_>, _>>()?;
        let limit = wanted.limit as usize;
        let more = products.len() > limit;
        products.truncate(limit);
        let next = products.last().filter(|_| more).map(|last| last.id);
        Ok(Page { products, next })
    }

    /// Where a product stands in the catalogue, or stood before it was deleted.
    async fn place(&self, id: Uuid) -> sqlx::Result<Option<DateTime<Utc>>> {
        sqlx::query_scalar("SELECT created_at FROM products WHERE id = $1").bind(id).fetch_optional(&self.pool).await
    }

    /// Price and stock of those products that there are, never from a cache. Quotes that are asked for at the same time
    /// are read by one query, which begins after each of them was asked for.
    pub async fn quote(&self, ids: Vec<Uuid>) -> Quotes {
        self.quotes.call(ids).await.unwrap_or_else(|_| Err(Arc::new(Error::Interrupted)))
    }
}

/// Each quote's own products.
async fn quotes(kept: &Kept, group: Vec<Vec<Uuid>>) -> Vec<Quotes> {
    let all: HashSet<Uuid> = group.iter().flatten().copied().collect();
    let found = match quoted(kept, all.into_iter().collect()).await {
        Ok(found) => found,
        Err(error) => {
            let error = Arc::new(error);
            return group.iter().map(|_| Err(Arc::clone(&error))).collect();
        }
    };
    let own = |ids: Vec<Uuid>| ids.into_iter().filter_map(|id| Some((id, *found.get(&id)?))).collect();
    group.into_iter().map(|ids| Ok(own(ids))).collect()
}

async fn quoted(kept: &Kept, ids: Vec<Uuid>) -> Result<HashMap<Uuid, Quoted>, Error> {
    let mut connection = kept.lend().await?;
    let rows =
        sqlx::query_as("SELECT id, price_minor, currency, available FROM products WHERE id = ANY($1) AND NOT deleted")
            .bind(ids)
            .fetch_all(&mut *connection)
            .await;
    let rows: Vec<(Uuid, i64, String, i64)> = connection.done(rows)?;
    let quoted = rows.into_iter().map(|(id, minor, currency, available)| {
        Ok((id, Quoted { price: Money::new(minor, currency.parse()?), available }))
    });
    quoted.collect()
}

async fn stored(pool: &PgPool, id: Uuid) -> Result<Option<Entry>, Error> {
    let mut query = QueryBuilder::<Postgres>::new(ROW);
    query.push("NOT deleted AND id = ").push_bind(id);
    let row: Option<Row> = query.build_query_as().fetch_optional(pool).await?;
    row.map(Entry::try_from).transpose()
}

/// The query of a page and one more, which tells whether there is a next page; none where nothing can fit. Only what is
/// asked for stands in it, so that the indexes are of use.
fn selection(wanted: &Wanted, after: Option<(DateTime<Utc>, Uuid)>) -> Option<QueryBuilder<'static, Postgres>> {
    let mut query = QueryBuilder::new(ROW);
    query.push(if wanted.deleted { "deleted" } else { "NOT deleted" });
    if let Some(text) = &wanted.search {
        query.push(" AND array_to_tsvector(string_to_array(name_folded, ' ')) @@ ");
        query.push_bind(search::query(text)?).push("::tsquery");
    }
    if let Some(minor) = wanted.price_min {
        query.push(" AND price_minor >= ").push_bind(minor);
    }
    if let Some(minor) = wanted.price_max {
        query.push(" AND price_minor <= ").push_bind(minor);
    }
    if let Some(category) = &wanted.category {
        query.push(" AND category = ").push_bind(category.clone());
    }
    match wanted.in_stock {
        Some(true) => query.push(" AND available > 0"),
        Some(false) => query.push(" AND available <= 0"),
        None => &mut query,
    };
    if let Some((created_at, id)) = after {
        query.push(" AND (created_at, id) > (").push_bind(created_at).push(", ").push_bind(id).push(")");
    }
    query.push(" ORDER BY created_at, id LIMIT ").push_bind(i64::from(wanted.limit) + 1);
    Some(query)
}
