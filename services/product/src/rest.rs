//! REST: translates, and calls commands and queries.

use std::fmt::Display;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use domain::product::Price;
use kernel::{Currency, Quantity};
use poem_openapi::Tags;
use runtime::Origin;
use sqlx::PgPool;
use uuid::Uuid;
use web::auth::{Admin, Identity};
use web::{Amount, App, Idempotency, Problem, RequestContext, Text};

use crate::commands::Commands;
use crate::queries::Queries;
use crate::refusal::not_valid;
use crate::seed::Seeded;

mod answers;
mod bodies;
mod products;
mod stock;
mod transfer;

use products::Products;
use stock::Stock;
use transfer::Transfer;

const SERVICE: &str = "product-service";
const TITLE: &str = "Sagashop products";
/// The largest catalogue that comes in one request, and how long taking it in may last.
const IMPORT_BYTES_MAX: usize = 8 * 1024 * 1024;
const IMPORT_TIMEOUT: Duration = Duration::from_secs(120);

type Api = (Products, Stock, Transfer);

#[derive(Tags)]
enum Tag {
    /// The catalogue.
    Products,
    /// How many there are.
    Stock,
    /// Many products at once.
    Catalogue,
}

/// What every part of the API works with.
#[derive(Clone)]
pub(crate) struct Shared {
    pub commands: Arc<Commands>,
    pub queries: Queries,
    pub keys: Idempotency,
    pub currency: Currency,
    pub pool: PgPool,
}

/// The service's HTTP side, ready when its database is.
pub(crate) fn app(shared: Shared) -> App {
    let pool = shared.pool.clone();
    let api: Api = (Products(shared.clone()), Stock(shared.clone()), Transfer(shared));
    App::new(SERVICE, TITLE, api)
        .body_limit(transfer::IMPORT, IMPORT_BYTES_MAX)
        .timeout(transfer::IMPORT, IMPORT_TIMEOUT)
        .check("database", move || {
            let pool = pool.clone();
            async move {
                sqlx::query("SELECT 1").execute(&pool).await?;
                Ok(())
            }
        })
}

/// The OpenAPI document, as JSON.
pub fn openapi() -> String {
    web::document::<Api>(TITLE)
}

impl Shared {
    fn origin(&self, context: &RequestContext, Admin(caller): &Admin) -> Origin {
        self.origin_of(context, caller)
    }

    fn origin_of(&self, context: &RequestContext, caller: &Identity) -> Origin {
        Origin::request(context.correlation_id, self.commands.new_id(), format!("user:{}", caller.user_id))
    }

    fn price(&self, amount: &Amount) -> Result<Price, Problem> {
        let money = amount.to_money(self.currency).map_err(|error| not_valid("price", error))?;
        Price::try_from(money).map_err(|error| not_valid("price", error))
    }
}

/// A product that every new shop has, as an example.
fn laptop() -> Uuid {
    Seeded::FIRST
}

fn parsed<T: FromStr<Err: Display>>(field: &str, text: &Text) -> Result<T, Problem> {
    text.parse().map_err(|error| not_valid(field, error))
}

/// A text that may be left out.
fn perhaps<T: FromStr<Err: Display>>(field: &str, text: Option<&Text>) -> Result<Option<T>, Problem> {
    text.map(|text| parsed(field, text)).transpose()
}

fn quantity(number: i64) -> Result<Quantity, impl Display> {
    Quantity::try_from(number)
}
