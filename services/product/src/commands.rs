//! What may be asked of the catalogue: commands to a product and its stock, recorded together.

use std::time::Duration;

use chrono::{DateTime, SubsecRound, Utc};
use domain::product::{self, Category, Listing, Price, Product, ProductName, Sku};
use domain::stock::{self, Stock};
use event_store::{Answer, Cursor};
use kernel::{ProductId, Quantity};
use runtime::commands::Error;
use runtime::{Executed, Origin, ProjectionHandle};
use uuid::Uuid;
use web::{Problem, Timestamp};

use crate::entry::{Entry, Version};
use crate::preconditions::Tags;
use crate::queries::Queries;
use crate::refusal::{self, Denied};

/// How long an answer waits for the read model, so that the next request finds what it did.
const PROJECTED_WITHIN: Duration = Duration::from_millis(50);
/// The id of a product with a number of the shop's own derives from this and the number: no two have the same.
const SKU_NAMESPACE: Uuid = Uuid::from_u128(0x0b5c_6d1e_57a4_5c0e_9a54_2f4f_7e0d_5c11);

/// A product to be.
#[derive(Debug, Clone)]
pub(crate) struct NewProduct {
    pub name: ProductName,
    pub price: Price,
    pub category: Option<Category>,
    pub sku: Option<Sku>,
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

/// Makes the answer that is recorded together with what it tells of.
pub(crate) type Answering<'a> = &'a (dyn Fn(&Entry) -> Option<Answer> + Send + Sync);

/// Runs commands and answers with what came of them.
pub(crate) struct Commands {
    commands: runtime::Commands,
    queries: Queries,
    projected: ProjectionHandle,
}

/// A product and its stock after a command.
pub(crate) struct After {
    product: Executed<Product>,
    stock: Executed<Stock>,
}

/// When the product of an answer was created and last changed.
#[derive(Clone, Copy)]
struct Times {
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl After {
    /// Whether anything is different.
    pub fn changed(&self) -> bool {
        self.cursor().is_some()
    }

    /// Where the last event stands, if anything was recorded.
    pub fn cursor(&self) -> Option<Cursor> {
        self.stock.cursor.or(self.product.cursor)
    }
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

    /// A new product, under the id of its number if it has one.
    pub async fn create(&self, origin: &Origin, new: NewProduct, answering: Answering<'_>) -> Result<Entry, Problem> {
        let id = new.sku.as_ref().map_or_else(|| self.new_id(), id_of_sku);
        let at = self.now();
        let times = Times { created_at: at.into(), updated_at: at.into() };
        let after = self.create_as(origin, id, new, at, answering, times).await?;
        self.wait_for(after.cursor()).await;
        shown(id, &after, times)
    }

    async fn create_as(
        &self,
        origin: &Origin,
        id: Uuid,
        new: NewProduct,
        at: DateTime<Utc>,
        answering: Answering<'_>,
        times: Times,
    ) -> Result<After, Problem> {
        let (product, stock) = create(ProductId(id), new, at);
        // The same product once more is not what was asked for: it may be another one's, and have changed since.
        let fresh = |described, _| match described {
            0 => Ok(()),
            _ => Err(Denied::Product(product::Error::AlreadyCreated)),
        };
        let after = self.both(origin, id, product, stock, fresh, answering, times).await;
        after.map_err(|error| refusal::of_creation(error, id))
    }

    /// A new product under an id that somebody else chose; what it is answered nobody reads.
    pub async fn enter(&self, origin: &Origin, id: Uuid, new: NewProduct) -> Result<After, Problem> {
        let at = self.now();
        let times = Times { created_at: at.into(), updated_at: at.into() };
        self.create_as(origin, id, new, at, &|_| None, times).await
    }

    /// Changes a product that is still what `seen` says, if anything.
    pub async fn update(
        &self,
        origin: &Origin,
        id: Uuid,
        changes: Changes,
        seen: Option<&Tags>,
    ) -> Result<Entry, Problem> {
        let (times, at) = self.times(id).await?;
        let after = self.change(origin, id, changes, seen, at).await?;
        self.answer(id, &after, times, at).await
    }

    /// As [`Commands::update`]; what it is answered nobody reads.
    pub async fn revise(&self, origin: &Origin, id: Uuid, changes: Changes) -> Result<After, Problem> {
        self.change(origin, id, changes, None, self.now()).await
    }

    async fn change(
        &self,
        origin: &Origin,
        id: Uuid,
        changes: Changes,
        seen: Option<&Tags>,
        at: DateTime<Utc>,
    ) -> Result<After, Problem> {
        let Changes { name, price, category, stock } = changes;
        let describe = product::Command::Update { name, price, category, at };
        let count = stock.map_or(stock::Command::Check, |to| stock::Command::Adjust { to, at });
        let times = Times { created_at: at.into(), updated_at: at.into() };
        let after = self.both(origin, id, describe, count, still(seen), &|_| None, times).await;
        after.map_err(|error| refusal::of_command(error, id, "stock"))
    }

    pub async fn restock(
        &self,
        origin: &Origin,
        id: Uuid,
        quantity: Quantity,
        seen: Option<&Tags>,
        answering: Answering<'_>,
    ) -> Result<Entry, Problem> {
        let (times, at) = self.times(id).await?;
        let times = Times { updated_at: times.updated_at.max(at.into()), ..times };
        let nothing = product::Command::Update { name: None, price: None, category: None, at };
        let restock = stock::Command::Restock { quantity, at };
        let after = self.both(origin, id, nothing, restock, still(seen), answering, times).await;
        let after = after.map_err(|error| refusal::of_command(error, id, "quantity"))?;
        self.answer(id, &after, times, at).await
    }

    pub async fn delete(&self, origin: &Origin, id: Uuid, seen: Option<&Tags>) -> Result<(), Problem> {
        let at = self.now();
        let times = Times { created_at: at.into(), updated_at: at.into() };
        let (delete, close) = (product::Command::Delete { at }, stock::Command::Close);
        let after = self.both(origin, id, delete, close, still(seen), &|_| None, times).await;
        let after = after.map_err(|error| refusal::of_command(error, id, "stock"))?;
        if after.product.events.is_empty() {
            return Err(refusal::not_found(id));
        }
        self.wait_for(after.cursor()).await;
        Ok(())
    }

    /// The state of a product and its stock as the store has them.
    pub async fn load(&self, id: Uuid) -> Result<(Product, Stock), Problem> {
        let text = id.to_string();
        let (product, _) = self.commands.load::<Product>(&text).await.map_err(refusal::of_store)?;
        let (stock, _) = self.commands.load::<Stock>(&text).await.map_err(refusal::of_store)?;
        Ok((product, stock))
    }

    #[allow(clippy::too_many_arguments)]
    async fn both(
        &self,
        origin: &Origin,
        id: Uuid,
        product: product::Command,
        stock: stock::Command,
        check: impl Fn(u64, u64) -> Result<(), Denied> + Send + Sync,
        answering: Answering<'_>,
        times: Times,
    ) -> Result<After, Error<Denied>> {
        let text = id.to_string();
        let answer = |(product, at): (&Product, u64), (stock, stock_at): (&Stock, u64)| {
            answering(&entry(id, product, stock, Version { product: at, stock: stock_at }, times)?)
        };
        let commands = &self.commands;
        let both = commands.execute_both_answered((&text, product), (&text, stock), origin, check, &answer);
        both.await.map(|(product, stock)| After { product, stock })
    }

    /// The times of a product as the read model has them, and now. They are the store's too: where the read model does
    /// not know the product yet, it has only just been created.
    async fn times(&self, id: Uuid) -> Result<(Times, DateTime<Utc>), Problem> {
        let row = self.queries.stored(id).await.map_err(refusal::of_query)?;
        let at = self.now();
        let times = match row {
            Some(row) => Times { created_at: row.created_at, updated_at: row.updated_at },
            None => Times { created_at: at.into(), updated_at: at.into() },
        };
        Ok((times, at))
    }

    /// The product as the command left it.
    async fn answer(&self, id: Uuid, after: &After, before: Times, at: DateTime<Utc>) -> Result<Entry, Problem> {
        self.wait_for(after.cursor()).await;
        let now = Timestamp::from(at);
        let updated_at = if after.changed() { before.updated_at.max(now) } else { before.updated_at };
        shown(id, after, Times { updated_at, ..before })
    }

    /// Records what a request was answered that took effect in many transactions.
    pub async fn record_answer(&self, answer: Option<Answer>) -> Result<(), Problem> {
        self.commands.record_answer(answer).await.map_err(|error| match error {
            event_store::Error::Repeated => Problem::conflict("The same request has been answered meanwhile"),
            error => refusal::of_store(error),
        })
    }

    /// Waits a little until queries show it.
    pub async fn wait_for(&self, cursor: Option<Cursor>) {
        if let Some(cursor) = cursor {
            self.projected.wait_for(cursor, PROJECTED_WITHIN).await;
        }
    }
}

/// The id of the product with this number.
pub(crate) fn id_of_sku(sku: &Sku) -> Uuid {
    Uuid::new_v5(&SKU_NAMESPACE, sku.as_str().as_bytes())
}

/// Whether both are as the caller saw them.
fn still(seen: Option<&Tags>) -> impl Fn(u64, u64) -> Result<(), Denied> + Send + Sync {
    move |product, stock| match (seen, Version { product, stock }) {
        (Some(tags), version) if !tags.allow(version) => Err(Denied::Stale(version)),
        _ => Ok(()),
    }
}

fn shown(id: Uuid, after: &After, times: Times) -> Result<Entry, Problem> {
    let version = Version { product: after.product.sequence, stock: after.stock.sequence };
    entry(id, &after.product.state, &after.stock.state, version, times).ok_or_else(|| refusal::not_found(id))
}

/// The product as callers see it, if it is in the catalogue.
fn entry(id: Uuid, product: &Product, stock: &Stock, version: Version, times: Times) -> Option<Entry> {
    let Product::Listed(Listing { name, price, category, sku }) = product else { return None };
    let money = price.money();
    Some(Entry {
        id,
        name: name.to_string(),
        price: money.into(),
        currency: money.currency.to_string(),
        stock: stock.available,
        category: category.as_ref().map(ToString::to_string),
        sku: sku.as_ref().map(ToString::to_string),
        version: version.to_string(),
        created_at: times.created_at,
        updated_at: times.updated_at,
        deleted_at: None,
    })
}

/// The two commands that make a product.
pub(crate) fn create(product_id: ProductId, new: NewProduct, at: DateTime<Utc>) -> (product::Command, stock::Command) {
    let NewProduct { name, price, category, sku, stock } = new;
    (
        product::Command::Create { product_id, name, price, category, sku, at },
        stock::Command::Open { product_id, quantity: stock },
    )
}
