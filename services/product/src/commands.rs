//! What may be asked of the catalogue: commands to a product and its stock, recorded together.

use std::time::Duration;

use chrono::{DateTime, SubsecRound, Utc};
use domain::product::{self, Category, Listing, Price, Product, ProductName};
use domain::stock::{self, Stock};
use event_store::Cursor;
use kernel::{ProductId, Quantity};
use runtime::{Origin, ProjectionHandle};
use uuid::Uuid;
use web::{Problem, Timestamp};

use crate::queries::{Entry, Queries};
use crate::refusal::{self, Denied};

/// How long an answer waits for the read model, so that the next request finds what it did.
const PROJECTED_WITHIN: Duration = Duration::from_millis(50);

/// A product to be.
#[derive(Debug, Clone)]
pub(crate) struct NewProduct {
    pub name: ProductName,
    pub price: Price,
    pub category: Option<Category>,
    pub stock: i64,
}

/// What is to become different; what is not given stays.
#[derive(Debug, Clone, Default)]
pub(crate) struct Changes {
    pub name: Option<ProductName>,
    pub price: Option<Price>,
    pub category: Option<Category>,
    pub stock: Option<i64>,
}

/// Runs commands and answers with what came of them.
pub(crate) struct Commands {
    commands: runtime::Commands,
    queries: Queries,
    projected: ProjectionHandle,
}

/// A product and its stock after a command.
struct After {
    product: Product,
    stock: Stock,
    /// Where the last event stands, if anything was recorded.
    cursor: Option<Cursor>,
    at: DateTime<Utc>,
}

impl Commands {
    pub fn new(commands: runtime::Commands, queries: Queries, projected: ProjectionHandle) -> Self {
        Self { commands, queries, projected }
    }

    /// The id of a new command.
    pub fn new_id(&self) -> Uuid {
        self.commands.clock().new_id()
    }

    /// A moment as PostgreSQL keeps it, so that an answer and a later one agree.
    fn now(&self) -> DateTime<Utc> {
        self.commands.clock().now().trunc_subsecs(6)
    }

    pub async fn create(&self, origin: &Origin, new: NewProduct) -> Result<Entry, Problem> {
        let (id, at) = (self.new_id(), self.now());
        let (product, stock) = create(ProductId(id), new, at);
        let text = id.to_string();
        let created = self.commands.execute_both::<Product, Stock, Denied>((&text, product), (&text, stock), origin);
        let (product, stock) = created.await.map_err(|error| refusal::of_command(error, id, "stock"))?;
        self.answer(id, After { product: product.state, stock: stock.state, cursor: stock.cursor, at }).await
    }

    pub async fn update(&self, origin: &Origin, id: Uuid, changes: Changes) -> Result<Entry, Problem> {
        let at = self.now();
        let Changes { name, price, category, stock } = changes;
        let describe = product::Command::Update { name, price, category, at };
        let text = id.to_string();
        let after = match stock {
            Some(to) => {
                let count = stock::Command::Adjust { to };
                let both =
                    self.commands.execute_both::<Product, Stock, Denied>((&text, describe), (&text, count), origin);
                let (product, stock) = both.await.map_err(|error| refusal::of_command(error, id, "stock"))?;
                let cursor = stock.cursor.or(product.cursor);
                After { product: product.state, stock: stock.state, cursor, at }
            }
            None => {
                let product = self.commands.execute::<Product>(&text, origin, describe).await;
                let product = product.map_err(|error| refusal::of_command(error, id, "stock"))?;
                let (stock, _) = self.commands.load::<Stock>(&text).await.map_err(refusal::of_store)?;
                After { product: product.state, stock, cursor: product.cursor, at }
            }
        };
        self.answer(id, after).await
    }

    pub async fn restock(&self, origin: &Origin, id: Uuid, quantity: Quantity) -> Result<Entry, Problem> {
        let (text, at) = (id.to_string(), self.now());
        let stock = self.commands.execute::<Stock>(&text, origin, stock::Command::Restock { quantity }).await;
        let stock = stock.map_err(|error| refusal::of_command(error, id, "quantity"))?;
        let (product, _) = self.commands.load::<Product>(&text).await.map_err(refusal::of_store)?;
        self.answer(id, After { product, stock: stock.state, cursor: stock.cursor, at }).await
    }

    pub async fn delete(&self, origin: &Origin, id: Uuid) -> Result<(), Problem> {
        let (text, delete) = (id.to_string(), product::Command::Delete { at: self.now() });
        let both = self.commands.execute_both::<Product, Stock, Denied>(
            (&text, delete),
            (&text, stock::Command::Close),
            origin,
        );
        let (product, stock) = both.await.map_err(|error| refusal::of_command(error, id, "stock"))?;
        if product.events.is_empty() {
            return Err(refusal::not_found(id));
        }
        self.wait_for(stock.cursor.or(product.cursor)).await;
        Ok(())
    }

    /// The product as the command left it. Only its times come from the read model; where that is behind, the time of
    /// the change is the command's, a moment before the event's.
    async fn answer(&self, id: Uuid, after: After) -> Result<Entry, Problem> {
        let Product::Listed(Listing { name, price, category }) = after.product else {
            return Err(refusal::not_found(id));
        };
        self.wait_for(after.cursor).await;
        let row = self.queries.stored(id).await.map_err(refusal::of_query)?;
        let at = Timestamp::from(after.at);
        let (created_at, mut updated_at) = row.map_or((at, at), |row| (row.created_at, row.updated_at));
        if after.cursor.is_some() {
            updated_at = updated_at.max(at);
        }
        let money = price.money();
        Ok(Entry {
            id,
            name: name.to_string(),
            price: money.into(),
            currency: money.currency.to_string(),
            stock: after.stock.available,
            category: category.map(|category| category.to_string()),
            created_at,
            updated_at,
        })
    }

    async fn wait_for(&self, cursor: Option<Cursor>) {
        if let Some(cursor) = cursor {
            self.projected.wait_for(cursor, PROJECTED_WITHIN).await;
        }
    }
}

/// The two commands that make a product.
pub(crate) fn create(product_id: ProductId, new: NewProduct, at: DateTime<Utc>) -> (product::Command, stock::Command) {
    let NewProduct { name, price, category, stock } = new;
    (
        product::Command::Create { product_id, name, price, category, at },
        stock::Command::Open { product_id, quantity: stock },
    )
}
