use super::first;
use crate::audit::walk::Subject;
use domain::product::Product;
use sqlx::FromRow;
use uuid::Uuid;

pub(in crate::audit) struct Products;

#[derive(FromRow)]
pub(in crate::audit) struct Row {
    id: Uuid,
    name: String,
    name_folded: String,
    price_minor: i64,
    currency: String,
    category: Option<String>,
    sku: Option<String>,
    deleted: bool,
    product_sequence: i64,
}

impl Subject for Products {
    type Aggregate = Product;
    type Row = Row;

    const TABLE: &'static str = "products";
    const KEY: &'static str = "id";
    const ONCE: &'static [&'static str] = &["product_created", "product_deleted"];

    fn key(row: &Row) -> Uuid {
        row.id
    }

    fn sequence(row: &Row) -> i64 {
        row.product_sequence
    }

    fn difference(&self, row: &Row, state: &Product) -> Option<&'static str> {
        let listing = match state {
            Product::Unknown => return Some("id"),
            // It keeps what it last said of the product.
            Product::Deleted => return first([("deleted", row.deleted)]),
            Product::Listed(listing) => listing,
        };
        let price = listing.price.money();
        first([
            ("name", row.name == listing.name.as_str()),
            ("name_folded", row.name_folded == product_service::folded(listing.name.as_str())),
            ("price_minor", row.price_minor == price.minor),
            ("currency", row.currency == price.currency.code()),
            ("category", row.category.as_deref() == listing.category.as_ref().map(|category| category.as_str())),
            ("sku", row.sku.as_deref() == listing.sku.as_ref().map(|sku| sku.as_str())),
            ("deleted", !row.deleted),
        ])
    }
}
