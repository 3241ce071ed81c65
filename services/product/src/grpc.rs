//! gRPC: translates, and calls queries.

use std::collections::HashMap;
use std::fmt::Display;
use std::str::FromStr;

use kernel::{Currency, Quantity};
use poem_openapi::types::ToJSON;
use proto::product::product_service_server::{ProductService, ProductServiceServer};
use proto::product::{
    CheckAvailabilityRequest, CheckAvailabilityResponse, GetProductRequest, ListProductsRequest, ListProductsResponse,
    Product, QuoteRequest, QuoteResponse, QuotedLine,
};
use tonic::service::Routes;
use tonic::{Request, Response, Status};
use uuid::Uuid;
use web::{Problem, Timestamp};

use crate::entry::Entry;
use crate::listing::Question;
use crate::queries::{Queries, Quoted};
use crate::refusal::{self, not_valid};

/// The most lines of one quote.
const LINES_MAX: usize = 1_000;

/// The product service with health and reflection.
pub(crate) async fn routes(
    queries: Queries,
    commands: runtime::Commands,
    currency: Currency,
) -> anyhow::Result<Routes> {
    let products = ProductServiceServer::new(Products { queries, commands, currency });
    web::grpc::routes(products, proto::DESCRIPTORS).await
}

struct Products {
    queries: Queries,
    commands: runtime::Commands,
    currency: Currency,
}

impl Products {
    /// What the store itself says of a product. A refusal must not rest on a read model that may be
    /// behind: a product that was created or restocked a moment ago can be ordered.
    async fn as_stored(&self, id: Uuid) -> Result<Option<Quoted>, Problem> {
        let (product, _) = self.commands.load(&id.to_string()).await.map_err(refusal::of_store)?;
        let domain::product::Product::Listed(listing) = product else { return Ok(None) };
        let (stock, _) =
            self.commands.load::<domain::stock::Stock>(&id.to_string()).await.map_err(refusal::of_store)?;
        Ok(Some(Quoted { price: listing.price.money(), available: stock.available }))
    }
}

#[tonic::async_trait]
impl ProductService for Products {
    async fn get_product(&self, request: Request<GetProductRequest>) -> Result<Response<Product>, Status> {
        let id = product_id("product_id", &request.into_inner().product_id)?;
        let shown = self.queries.product(id).await.map_err(refusal::of_query)?;
        let shown = shown.ok_or_else(|| refusal::not_found(id))?;
        Ok(Response::new(Product::from(&shown.entry)))
    }

    async fn check_availability(
        &self,
        request: Request<CheckAvailabilityRequest>,
    ) -> Result<Response<CheckAvailabilityResponse>, Status> {
        let CheckAvailabilityRequest { product_id: id, quantity: wanted } = request.into_inner();
        let (id, wanted) = (product_id("product_id", &id)?, quantity("quantity", wanted)?);
        let entry = self.queries.stored(id).await.map_err(refusal::of_query)?;
        let entry = entry.ok_or_else(|| refusal::not_found(id))?;
        let (available, stock) = (entry.stock >= wanted, entry.stock);
        Ok(Response::new(CheckAvailabilityResponse { available, stock }))
    }

    async fn quote(&self, request: Request<QuoteRequest>) -> Result<Response<QuoteResponse>, Status> {
        let lines = request.into_inner().lines;
        if lines.len() > LINES_MAX {
            return Err(not_valid("lines", format!("must have at most {LINES_MAX} items")).into());
        }
        let wanted = lines.iter().enumerate().map(|(n, line)| {
            let id = product_id(&format!("lines[{n}].product_id"), &line.product_id)?;
            Ok((id, quantity(&format!("lines[{n}].quantity"), line.quantity)?))
        });
        let wanted: Vec<(Uuid, i64)> = wanted.collect::<Result<_, Problem>>()?;
        // What all lines of a product want together.
        let mut sums: HashMap<Uuid, i64> = HashMap::new();
        for (id, quantity) in &wanted {
            *sums.entry(*id).or_default() += quantity;
        }
        let ids = sums.keys().copied().collect();
        let mut quoted = self.queries.quote(ids).await.map_err(refusal::of_query)?;
        for (id, sum) in &sums {
            if quoted.get(id).is_none_or(|product| product.available < *sum)
                && let Some(product) = self.as_stored(*id).await?
            {
                quoted.insert(*id, product);
            }
        }
        let lines = wanted.into_iter().map(|(id, _)| match quoted.get(&id) {
            Some(product) => QuotedLine {
                product_id: id.to_string(),
                unit_price: Some(product.price.to_decimal()),
                currency: product.price.currency.to_string(),
                available: product.available >= sums[&id],
                stock: product.available,
            },
            None => QuotedLine { product_id: id.to_string(), ..QuotedLine::default() },
        });
        Ok(Response::new(QuoteResponse { lines: lines.collect() }))
    }

    async fn list_products(
        &self,
        request: Request<ListProductsRequest>,
    ) -> Result<Response<ListProductsResponse>, Status> {
        let ListProductsRequest { search, min_price, max_price, category, in_stock, page_size, page_token } =
            request.into_inner();
        let token = Some(page_token).filter(|token| !token.is_empty());
        let question = Question {
            search,
            price_min: given("min_price", min_price.as_deref())?,
            price_max: given("max_price", max_price.as_deref())?,
            category,
            in_stock,
            deleted: false,
            after: given("page_token", token.as_deref())?,
            limit: page_size,
        };
        let page = self.queries.page(&question.judged(self.currency)?).await.map_err(refusal::of_query)?;
        Ok(Response::new(ListProductsResponse {
            products: page.products.iter().map(Product::from).collect(),
            next_page_token: page.next.map(|last| last.to_string()).unwrap_or_default(),
        }))
    }
}

impl From<&Entry> for Product {
    fn from(entry: &Entry) -> Self {
        Self {
            id: entry.id.to_string(),
            name: entry.name.clone(),
            price: entry.price.to_string(),
            stock: entry.stock,
            currency: entry.currency.clone(),
            category: entry.category.clone(),
            sku: entry.sku.clone(),
            version: entry.version.clone(),
            created_at: moment(&entry.created_at),
            updated_at: moment(&entry.updated_at),
        }
    }
}

/// As REST writes it.
fn moment(at: &Timestamp) -> String {
    at.to_json().as_ref().and_then(serde_json::Value::as_str).unwrap_or_default().to_owned()
}

fn product_id(field: &str, text: &str) -> Result<Uuid, Problem> {
    Uuid::parse_str(text).map_err(|_| not_valid(field, "is not a UUID"))
}

fn quantity(field: &str, number: i64) -> Result<i64, Problem> {
    Quantity::try_from(number).map(i64::from).map_err(|error| not_valid(field, error))
}

fn given<T: FromStr<Err: Display>>(field: &str, text: Option<&str>) -> Result<Option<T>, Problem> {
    text.map(|text| text.parse().map_err(|error| not_valid(field, error))).transpose()
}
