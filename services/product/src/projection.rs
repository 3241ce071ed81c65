//! The read model: one row a product, its stock beside it.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use domain::product::{self, Category, Price, Product, ProductName};
use domain::stock::{self, Stock};
use event_store::RecordedEvent;
use runtime::Projection;
use runtime::projection::{Passed, ReadModel};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::cache::{Cache, invalidation};
use crate::publish::product_id;
use crate::read_model::Catalogue;
use crate::search::folded;

/// Keeps the table `products`: four statements a page at most, however many events it has.
pub(crate) struct Products {
    cache: Arc<Cache>,
    /// Who tells other instances of the change.
    instance: Uuid,
}

impl Products {
    pub fn new(cache: Arc<Cache>, instance: Uuid) -> Self {
        Self { cache, instance }
    }
}

#[async_trait]
impl Projection for Products {
    fn name(&self) -> &'static str {
        "products"
    }

    fn model(&self) -> Option<Arc<dyn ReadModel>> {
        Some(Arc::new(Catalogue))
    }

    fn reads(&self, event: &RecordedEvent) -> bool {
        matches!(event.aggregate_type.as_str(), Product::TYPE | Stock::TYPE)
    }

    async fn apply(&self, connection: &mut PgConnection, events: &[RecordedEvent]) -> anyhow::Result<()> {
        let (page, passed) = Page::read(events)?;
        // Before the rows change: whoever reads the old ones from here on may not cache them.
        let ids = page.ids(&passed);
        self.cache.begin_change(&ids).await;
        list(connection, &page.listings).await?;
        take_out(connection, &page.deleted).await?;
        count(connection, &page.stock).await?;
        passed.write(connection, "products", "id", "product_sequence").await?;
        invalidation::announce(connection, self.instance, &ids).await?;
        Ok(())
    }

    fn committed(&self, events: &[RecordedEvent]) {
        let mut ids: Vec<Uuid> = events.iter().filter_map(|event| event.aggregate_id.parse().ok()).collect();
        ids.sort_unstable();
        ids.dedup();
        self.cache.changed(ids);
    }
}

/// Folds the names of rows that are older than the search for words.
pub(crate) async fn fold_names(pool: &PgPool) -> sqlx::Result<()> {
    let mut after = Uuid::nil();
    loop {
        let rows: Vec<(Uuid, String)> =
            sqlx::query_as("SELECT id, name FROM products WHERE name_folded = '' AND id > $1 ORDER BY id LIMIT 1000")
                .bind(after)
                .fetch_all(pool)
                .await?;
        let Some((last, _)) = rows.last() else { return Ok(()) };
        after = *last;
        let (ids, names): (Vec<Uuid>, Vec<String>) = rows.into_iter().unzip();
        sqlx::query(
            "UPDATE products p SET name_folded = f.folded
               FROM UNNEST($1::uuid[], $2::text[], $3::text[]) AS f(id, name, folded)
              WHERE p.id = f.id AND p.name = f.name",
        )
        .bind(ids)
        .bind(&names)
        .bind(names.iter().map(|name| folded(name)).collect::<Vec<_>>())
        .execute(pool)
        .await?;
    }
}

/// What a page of events comes to, by product; in the order of ids, so that two instances which
/// apply the same page lock its rows in the same order.
#[derive(Default)]
struct Page {
    listings: BTreeMap<Uuid, Listing>,
    deleted: BTreeMap<Uuid, Deleted>,
    stock: BTreeMap<Uuid, Change>,
}

/// The last that a page says of a product.
struct Listing {
    name: String,
    price_minor: i64,
    currency: String,
    category: Option<String>,
    /// As the product was created with; a change does not say.
    sku: Option<String>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    sequence: i64,
}

impl Listing {
    fn new(
        name: &ProductName,
        price: Price,
        category: Option<Category>,
        sku: Option<String>,
        created_at: DateTime<Utc>,
        updated_at: DateTime<Utc>,
        sequence: i64,
    ) -> Self {
        let money = price.money();
        Self {
            name: name.to_string(),
            price_minor: money.minor,
            currency: money.currency.code().to_owned(),
            category: category.map(|category| category.to_string()),
            sku,
            created_at,
            updated_at,
            sequence,
        }
    }
}

struct Deleted {
    at: DateTime<Utc>,
    sequence: i64,
}

/// The sum of what a page does to a product's stock.
#[derive(Default)]
pub(crate) struct Change {
    pub(crate) available: i64,
    pub(crate) reserved: i64,
    pub(crate) sold: i64,
    pub(crate) initial: i64,
    pub(crate) restocked: i64,
    /// When somebody counted or restocked; orders do not make a product another one.
    pub(crate) updated_at: Option<DateTime<Utc>>,
    pub(crate) sequence: i64,
}

impl Page {
    /// And the products of which something was recorded that means nothing.
    fn read(events: &[RecordedEvent]) -> anyhow::Result<(Self, Passed)> {
        let (mut page, mut passed) = (Self::default(), Passed::default());
        for event in events {
            let id = product_id(event)?.0;
            let sequence = i64::try_from(event.sequence)?;
            if event.aggregate_type == Product::TYPE {
                let means = event.decode_all::<Product>()?;
                if means.len() == 0 {
                    passed.note(id, sequence);
                }
                means.for_each(|event| page.product(id, sequence, event));
            } else {
                let change = page.stock.entry(id).or_default();
                change.sequence = sequence;
                event.decode_all::<Stock>()?.for_each(|event| change.add(&event));
            }
        }
        Ok((page, passed))
    }

    fn product(&mut self, id: Uuid, sequence: i64, event: product::Event) {
        use product::Event;
        match event {
            Event::ProductCreated { name, price, category, sku, at, .. } => {
                let sku = sku.map(|sku| sku.to_string());
                self.listings.insert(id, Listing::new(&name, price, category, sku, at, at, sequence));
            }
            Event::ProductUpdated { name, price, category, at } => {
                let earlier = self.listings.remove(&id);
                let (created_at, updated_at, sku) = earlier
                    .map_or((at, at, None), |earlier| (earlier.created_at, earlier.updated_at.max(at), earlier.sku));
                self.listings.insert(id, Listing::new(&name, price, category, sku, created_at, updated_at, sequence));
            }
            Event::ProductDeleted { at } => {
                self.deleted.insert(id, Deleted { at, sequence });
            }
        }
    }

    fn ids(&self, passed: &Passed) -> Vec<Uuid> {
        let changed = self.listings.keys().chain(self.deleted.keys()).chain(self.stock.keys());
        let mut ids: Vec<Uuid> = changed.copied().chain(passed.ids()).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }
}

impl Change {
    pub(crate) fn add(&mut self, event: &stock::Event) {
        use stock::Event;
        match *event {
            Event::StockOpened { quantity, .. } => {
                self.initial += quantity;
                self.available += quantity;
            }
            Event::StockRestocked { quantity, at, .. } => self.recount(quantity.into(), at),
            Event::StockAdjusted { delta, at, .. } => self.recount(delta, at),
            Event::StockReserved { quantity, .. } => {
                self.available -= i64::from(quantity);
                self.reserved += i64::from(quantity);
            }
            Event::StockReleased { quantity, was_sold, .. } => {
                *(if was_sold { &mut self.sold } else { &mut self.reserved }) -= quantity;
                self.available += quantity;
            }
            Event::StockCommitted { quantity, .. } => {
                self.reserved -= i64::from(quantity);
                self.sold += i64::from(quantity);
            }
            Event::StockRejected { .. } | Event::StockClosed {} => {}
        }
    }

    fn recount(&mut self, delta: i64, at: DateTime<Utc>) {
        self.available += delta;
        self.restocked += delta;
        self.updated_at = self.updated_at.max(Some(at));
    }
}

async fn list(connection: &mut PgConnection, listings: &BTreeMap<Uuid, Listing>) -> sqlx::Result<()> {
    if listings.is_empty() {
        return Ok(());
    }
    let column = |value: fn(&Listing) -> String| listings.values().map(value).collect::<Vec<_>>();
    sqlx::query(
        "INSERT INTO products AS p
                (id, name, name_folded, price_minor, currency, category, sku, created_at, updated_at, product_sequence)
         SELECT * FROM UNNEST($1::uuid[], $2::text[], $3::text[], $4::bigint[], $5::text[], $6::text[], $7::text[],
                              $8::timestamptz[], $9::timestamptz[], $10::bigint[])
         ON CONFLICT (id) DO UPDATE
            SET name = EXCLUDED.name, name_folded = EXCLUDED.name_folded, price_minor = EXCLUDED.price_minor,
                currency = EXCLUDED.currency, category = EXCLUDED.category,
                updated_at = GREATEST(p.updated_at, EXCLUDED.updated_at), product_sequence = EXCLUDED.product_sequence",
    )
    .bind(listings.keys().copied().collect::<Vec<_>>())
    .bind(column(|listing| listing.name.clone()))
    .bind(column(|listing| folded(&listing.name)))
    .bind(listings.values().map(|listing| listing.price_minor).collect::<Vec<_>>())
    .bind(column(|listing| listing.currency.clone()))
    .bind(listings.values().map(|listing| listing.category.clone()).collect::<Vec<_>>())
    .bind(listings.values().map(|listing| listing.sku.clone()).collect::<Vec<_>>())
    .bind(listings.values().map(|listing| listing.created_at).collect::<Vec<_>>())
    .bind(listings.values().map(|listing| listing.updated_at).collect::<Vec<_>>())
    .bind(listings.values().map(|listing| listing.sequence).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

async fn take_out(connection: &mut PgConnection, deleted: &BTreeMap<Uuid, Deleted>) -> sqlx::Result<()> {
    if deleted.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "UPDATE products p
            SET deleted = true, deleted_at = d.at, updated_at = GREATEST(p.updated_at, d.at),
                product_sequence = d.sequence
           FROM UNNEST($1::uuid[], $2::timestamptz[], $3::bigint[]) AS d(id, at, sequence)
          WHERE p.id = d.id",
    )
    .bind(deleted.keys().copied().collect::<Vec<_>>())
    .bind(deleted.values().map(|deleted| deleted.at).collect::<Vec<_>>())
    .bind(deleted.values().map(|deleted| deleted.sequence).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

/// Stock of a product that never was (an order of an unknown id was rejected) has no row and needs none.
async fn count(connection: &mut PgConnection, stock: &BTreeMap<Uuid, Change>) -> sqlx::Result<()> {
    if stock.is_empty() {
        return Ok(());
    }
    let column = |value: fn(&Change) -> i64| stock.values().map(value).collect::<Vec<_>>();
    sqlx::query(
        "UPDATE products p
            SET available = p.available + c.available, reserved = p.reserved + c.reserved, sold = p.sold + c.sold,
                initial = p.initial + c.initial, restocked = p.restocked + c.restocked,
                updated_at = GREATEST(p.updated_at, c.updated_at), stock_sequence = c.sequence
           FROM UNNEST($1::uuid[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[],
                       $7::timestamptz[], $8::bigint[])
                AS c(id, available, reserved, sold, initial, restocked, updated_at, sequence)
          WHERE p.id = c.id",
    )
    .bind(stock.keys().copied().collect::<Vec<_>>())
    .bind(column(|change| change.available))
    .bind(column(|change| change.reserved))
    .bind(column(|change| change.sold))
    .bind(column(|change| change.initial))
    .bind(column(|change| change.restocked))
    .bind(stock.values().map(|change| change.updated_at).collect::<Vec<_>>())
    .bind(column(|change| change.sequence))
    .execute(connection)
    .await?;
    Ok(())
}
