//! The catalogue as it is made from the events alone: of products, and of their stock.

use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use domain::product::{Category, Event, Price, Product, ProductName};
use domain::stock::Stock;
use event_store::Stored;
use runtime::projection::{Fold, ReadModel, Row, Table};
use uuid::Uuid;

use crate::cache::invalidation;
use crate::projection::Change;
use crate::search::folded;

static PRODUCTS: Table = Table {
    name: "products",
    version: 1,
    columns: &[
        "id",
        "name",
        "name_folded",
        "price_minor",
        "currency",
        "category",
        "available",
        "reserved",
        "sold",
        "initial",
        "restocked",
        "deleted",
        "created_at",
        "updated_at",
        "product_sequence",
        "stock_sequence",
        "sku",
        "deleted_at",
    ],
    kinds: &[Product::TYPE, Stock::TYPE],
    channel: Some(invalidation::CHANNEL),
};

/// A row a product, its stock beside it.
#[derive(Debug)]
pub struct Catalogue;

impl ReadModel for Catalogue {
    fn table(&self) -> &'static Table {
        &PRODUCTS
    }

    fn begin(&self) -> Box<dyn Fold> {
        Box::new(Folded { listing: None, stock: Change::default() })
    }
}

struct Folded {
    listing: Option<Listing>,
    stock: Change,
}

struct Listing {
    id: Uuid,
    name: ProductName,
    price: Price,
    category: Option<Category>,
    sku: Option<String>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    deleted_at: Option<DateTime<Utc>>,
    sequence: i64,
}

impl Fold for Folded {
    fn take(&mut self, event: &Stored<'_>) -> anyhow::Result<()> {
        let sequence = i64::try_from(event.sequence)?;
        if event.aggregate_type == Stock::TYPE {
            event.decode_all::<Stock>()?.for_each(|event| self.stock.add(&event));
            self.stock.sequence = sequence;
            return Ok(());
        }
        let id = event.aggregate_id.parse()?;
        for event in event.decode_all::<Product>()? {
            match (&mut self.listing, event) {
                (listing, Event::ProductCreated { name, price, category, sku, at, .. }) => {
                    let sku = sku.map(|sku| sku.to_string());
                    let (created_at, updated_at, deleted_at) = (at, at, None);
                    let new = Listing { id, name, price, category, sku, created_at, updated_at, deleted_at, sequence };
                    *listing = Some(new);
                }
                (Some(listing), Event::ProductUpdated { name, price, category, at }) => {
                    (listing.name, listing.price, listing.category) = (name, price, category);
                    listing.updated_at = listing.updated_at.max(at);
                }
                (Some(listing), Event::ProductDeleted { at }) => {
                    listing.deleted_at = Some(at);
                    listing.updated_at = listing.updated_at.max(at);
                }
                (None, _) => {}
            }
        }
        if let Some(listing) = &mut self.listing {
            listing.sequence = sequence;
        }
        Ok(())
    }

    /// Stock of a product that never was has no row.
    fn row(&self, row: &mut Row<'_>) -> anyhow::Result<()> {
        let (Some(listing), stock) = (&self.listing, &self.stock) else { return Ok(()) };
        let (name, money) = (listing.name.to_string(), listing.price.money());
        let category = listing.category.as_ref().map(|category| category.to_string());
        row.put(listing.id)
            .put(&*name)
            .put(&*folded(&name))
            .put(money.minor)
            .put(money.currency.code())
            .put(category.as_deref())
            .put(stock.available)
            .put(stock.reserved)
            .put(stock.sold)
            .put(stock.initial)
            .put(stock.restocked)
            .put(listing.deleted_at.is_some())
            .put(listing.created_at)
            .put(stock.updated_at.map_or(listing.updated_at, |at| listing.updated_at.max(at)))
            .put(listing.sequence)
            .put(stock.sequence)
            .put(listing.sku.as_deref())
            .put(listing.deleted_at);
        Ok(())
    }
}
