//! REST: translates, and calls commands and queries.

use std::fmt::Display;
use std::str::FromStr;
use std::sync::Arc;

use domain::product::{Category, Price, ProductName};
use kernel::{Currency, Quantity};
use poem::Request;
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::{ApiResponse, Object, OpenApi, Tags};
use runtime::Origin;
use sqlx::PgPool;
use uuid::Uuid;
use web::auth::Admin;
use web::{Amount, App, Problem, RequestContext, Text};

use crate::commands::{Changes, Commands, NewProduct};
use crate::queries::{Entry, Queries, Wanted};
use crate::refusal::{self, not_valid};

const SERVICE: &str = "product-service";
const TITLE: &str = "Sagashop products";
/// How many products a page has where nothing is said, and at most.
const PAGE_DEFAULT: u32 = 100;
const PAGE_MAX: u32 = 1_000;
/// A search for a longer text finds nothing, as no name is longer.
const SEARCH_CHARS_MAX: usize = ProductName::CHARS_MAX;

/// The service's HTTP side, ready when its database is.
pub(crate) fn app(commands: Commands, queries: Queries, currency: Currency, pool: PgPool) -> App {
    let api = Api { commands: Arc::new(commands), queries, currency };
    App::new(SERVICE, TITLE, api).check("database", move || {
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

#[derive(Tags)]
enum Tag {
    /// The catalogue.
    Products,
    /// How many there are.
    Stock,
}

/// A product for the catalogue.
#[derive(Object)]
#[oai(deny_unknown_fields)]
struct CreateProduct {
    /// 1 to 200 characters.
    name: Text,
    /// What one costs: more than 0, with no more digits than the currency has.
    price: Amount,
    /// How many there are: 0 to 1,000,000,000.
    #[oai(default)]
    stock: i64,
    /// What kind of product it is: 1 to 100 characters.
    category: Option<Text>,
}

/// What is to become different. What is left out stays as it is.
#[derive(Object)]
#[oai(deny_unknown_fields)]
struct UpdateProduct {
    /// 1 to 200 characters.
    name: Option<Text>,
    /// What one costs.
    price: Option<Amount>,
    /// How many are available from now on.
    stock: Option<i64>,
    /// What kind of product it is.
    category: Option<Text>,
}

/// More of a product.
#[derive(Object)]
#[oai(deny_unknown_fields)]
struct Restock {
    /// How many came: 1 to 1,000,000.
    quantity: i64,
}

/// Whether so many could be ordered now. Nothing is held by asking.
#[derive(Object)]
struct Availability {
    product_id: Uuid,
    /// How many were asked for.
    quantity: i64,
    available: bool,
    /// How many there are.
    stock: i64,
}

#[derive(Object)]
struct Message {
    message: String,
}

#[derive(ApiResponse)]
enum Listed {
    /// The products.
    #[oai(status = 200)]
    Page(
        Json<Vec<Entry>>,
        /// `<…>; rel="next"` where there are more: relative to this request's own address.
        #[oai(header = "Link")]
        Option<String>,
    ),
}

#[derive(ApiResponse)]
enum Created {
    /// The new product.
    #[oai(status = 201)]
    Product(Json<Entry>),
}

struct Api {
    commands: Arc<Commands>,
    queries: Queries,
    currency: Currency,
}

#[OpenApi]
impl Api {
    /// Products, the oldest first
    #[oai(path = "/products", method = "get", tag = "Tag::Products")]
    #[allow(clippy::too_many_arguments)]
    async fn list(
        &self,
        request: &Request,
        /// A part of the name, in whichever case.
        search: Query<Option<String>>,
        /// The least price.
        min_price: Query<Option<Amount>>,
        /// The highest price.
        max_price: Query<Option<Amount>>,
        /// Only those with stock, or only those without.
        in_stock: Query<Option<bool>>,
        /// At most so many: 1 to 1000.
        limit: Query<Option<u32>>,
        /// Those behind the product of this id.
        after: Query<Option<Uuid>>,
    ) -> Result<Listed, Problem> {
        let limit = limit.0.unwrap_or(PAGE_DEFAULT);
        if !(1..=PAGE_MAX).contains(&limit) {
            return Err(not_valid("limit", format!("must be 1 to {PAGE_MAX}")));
        }
        if search.0.as_ref().is_some_and(|text| text.chars().nth(SEARCH_CHARS_MAX).is_some()) {
            return Err(not_valid("search", format!("must have at most {SEARCH_CHARS_MAX} characters")));
        }
        // One more than asked tells whether there is a next page.
        let wanted = Wanted {
            search: search.0,
            price_min: self.minor("min_price", min_price.0)?,
            price_max: self.minor("max_price", max_price.0)?,
            in_stock: in_stock.0,
            after: after.0,
            limit: i64::from(limit) + 1,
        };
        let mut page = self.queries.page(&wanted).await.map_err(refusal::of_query)?;
        let more = page.len() > limit as usize;
        page.truncate(limit as usize);
        let next = page.last().filter(|_| more).map(|last| next_page(request, last.id));
        Ok(Listed::Page(Json(page), next))
    }

    /// One product
    #[oai(path = "/products/:id", method = "get", tag = "Tag::Products")]
    async fn get(&self, id: Path<Uuid>) -> Result<Json<Entry>, Problem> {
        let entry = self.queries.product(id.0).await.map_err(refusal::of_query)?;
        entry.map(|entry| Json((*entry).clone())).ok_or_else(|| refusal::not_found(id.0))
    }

    /// A new product
    #[oai(path = "/products", method = "post", tag = "Tag::Products")]
    async fn create(
        &self,
        context: RequestContext,
        admin: Admin,
        body: Json<CreateProduct>,
    ) -> Result<Created, Problem> {
        let CreateProduct { name, price, stock, category } = body.0;
        let new = NewProduct {
            name: parsed("name", &name)?,
            price: self.price(&price)?,
            category: category.map(|category| parsed::<Category>("category", &category)).transpose()?,
            stock,
        };
        self.commands.create(&self.origin(&context, &admin), new).await.map(|entry| Created::Product(Json(entry)))
    }

    /// Changes what is given
    #[oai(path = "/products/:id", method = "put", tag = "Tag::Products")]
    async fn update(
        &self,
        context: RequestContext,
        admin: Admin,
        id: Path<Uuid>,
        body: Json<UpdateProduct>,
    ) -> Result<Json<Entry>, Problem> {
        let UpdateProduct { name, price, stock, category } = body.0;
        let changes = Changes {
            name: name.map(|name| parsed::<ProductName>("name", &name)).transpose()?,
            price: price.map(|price| self.price(&price)).transpose()?,
            category: category.map(|category| parsed::<Category>("category", &category)).transpose()?,
            stock,
        };
        self.commands.update(&self.origin(&context, &admin), id.0, changes).await.map(Json)
    }

    /// Takes a product out of the catalogue
    #[oai(path = "/products/:id", method = "delete", tag = "Tag::Products")]
    async fn delete(&self, context: RequestContext, admin: Admin, id: Path<Uuid>) -> Result<Json<Message>, Problem> {
        self.commands.delete(&self.origin(&context, &admin), id.0).await?;
        Ok(Json(Message { message: "Product deleted successfully".to_owned() }))
    }

    /// More of a product came
    #[oai(path = "/products/:id/restock", method = "post", tag = "Tag::Stock")]
    async fn restock(
        &self,
        context: RequestContext,
        admin: Admin,
        id: Path<Uuid>,
        body: Json<Restock>,
    ) -> Result<Json<Entry>, Problem> {
        let quantity = quantity(body.0.quantity)?;
        self.commands.restock(&self.origin(&context, &admin), id.0, quantity).await.map(Json)
    }

    /// Whether so many could be ordered now
    #[oai(path = "/products/:id/availability", method = "get", tag = "Tag::Stock")]
    async fn availability(
        &self,
        id: Path<Uuid>,
        /// How many: 1 to 1,000,000.
        quantity: Query<i64>,
    ) -> Result<Json<Availability>, Problem> {
        let wanted = i64::from(self::quantity(quantity.0)?);
        let entry = self.queries.stored(id.0).await.map_err(refusal::of_query)?;
        let stock = entry.ok_or_else(|| refusal::not_found(id.0))?.stock;
        Ok(Json(Availability { product_id: id.0, quantity: wanted, available: stock >= wanted, stock }))
    }
}

impl Api {
    fn origin(&self, context: &RequestContext, Admin(caller): &Admin) -> Origin {
        Origin::request(context.correlation_id, self.commands.new_id(), format!("user:{}", caller.user_id))
    }

    fn price(&self, amount: &Amount) -> Result<Price, Problem> {
        let money = amount.to_money(self.currency).map_err(|error| not_valid("price", error))?;
        Price::try_from(money).map_err(|error| not_valid("price", error))
    }

    fn minor(&self, field: &str, amount: Option<Amount>) -> Result<Option<i64>, Problem> {
        let money = amount.map(|amount| amount.to_money(self.currency)).transpose();
        money.map(|money| money.map(|money| money.minor)).map_err(|error| not_valid(field, error))
    }
}

fn parsed<T: FromStr<Err: Display>>(field: &str, text: &Text) -> Result<T, Problem> {
    text.parse().map_err(|error| not_valid(field, error))
}

fn quantity(number: i64) -> Result<Quantity, Problem> {
    Quantity::try_from(number).map_err(|error| not_valid("quantity", error))
}

/// The same question from behind `last`. Only its query: that fits wherever the request came in.
fn next_page(request: &Request, last: Uuid) -> String {
    let asked = request.uri().query().unwrap_or_default().split('&');
    let kept: String =
        asked.filter(|pair| !pair.is_empty() && !pair.starts_with("after=")).flat_map(|pair| [pair, "&"]).collect();
    format!("<?{kept}after={last}>; rel=\"next\"")
}
