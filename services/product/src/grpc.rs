//! gRPC: translates, and calls queries.

use std::collections::HashMap;

use anyhow::Context;
use kernel::Quantity;
use proto::product::product_service_server::{ProductService, ProductServiceServer};
use proto::product::{
    CheckAvailabilityRequest, CheckAvailabilityResponse, GetProductRequest, Product, QuoteRequest, QuoteResponse,
    QuotedLine,
};
use tonic::service::Routes;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use crate::queries::{Queries, Quoted};
use crate::refusal;

/// The most lines of one quote.
const LINES_MAX: usize = 1_000;

/// The product service with health and reflection.
pub(crate) async fn routes(queries: Queries, commands: runtime::Commands) -> anyhow::Result<Routes> {
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<ProductServiceServer<Products>>().await;
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .context("the descriptors cannot be read")?;
    let products = ProductServiceServer::new(Products { queries, commands });
    Ok(Routes::new(products).add_service(health_service).add_service(reflection))
}

struct Products {
    queries: Queries,
    commands: runtime::Commands,
}

impl Products {
    /// What the store itself says of a product. A refusal must not rest on a read model that may be
    /// behind: a product that was created or restocked a moment ago can be ordered.
    async fn as_stored(&self, id: Uuid) -> Result<Option<Quoted>, Status> {
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
        let id = product_id(&request.into_inner().product_id)?;
        let entry = self.queries.product(id).await.map_err(refusal::of_query)?.ok_or_else(not_found)?;
        Ok(Response::new(Product {
            id: entry.id.to_string(),
            name: entry.name.clone(),
            price: entry.price.to_string(),
            stock: entry.stock,
            currency: entry.currency.clone(),
        }))
    }

    async fn check_availability(
        &self,
        request: Request<CheckAvailabilityRequest>,
    ) -> Result<Response<CheckAvailabilityResponse>, Status> {
        let CheckAvailabilityRequest { product_id: id, quantity: wanted } = request.into_inner();
        let (id, wanted) = (product_id(&id)?, quantity(wanted)?);
        let entry = self.queries.stored(id).await.map_err(refusal::of_query)?.ok_or_else(not_found)?;
        let (available, stock) = (entry.stock >= wanted, entry.stock);
        Ok(Response::new(CheckAvailabilityResponse { available, stock }))
    }

    async fn quote(&self, request: Request<QuoteRequest>) -> Result<Response<QuoteResponse>, Status> {
        let lines = request.into_inner().lines;
        if lines.len() > LINES_MAX {
            return Err(Status::invalid_argument(format!("lines: must have at most {LINES_MAX} items")));
        }
        let wanted = lines.iter().map(|line| Ok((product_id(&line.product_id)?, quantity(line.quantity)?)));
        let wanted: Vec<(Uuid, i64)> = wanted.collect::<Result<_, Status>>()?;
        // What all lines of a product want together.
        let mut sums: HashMap<Uuid, i64> = HashMap::new();
        for (id, quantity) in &wanted {
            *sums.entry(*id).or_default() += quantity;
        }
        let ids: Vec<Uuid> = sums.keys().copied().collect();
        let mut quoted = self.queries.quote(&ids).await.map_err(refusal::of_query)?;
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
}

fn product_id(text: &str) -> Result<Uuid, Status> {
    Uuid::parse_str(text).map_err(|_| Status::invalid_argument("product_id is not a UUID"))
}

fn quantity(number: i64) -> Result<i64, Status> {
    Quantity::try_from(number).map(i64::from).map_err(|error| Status::invalid_argument(error.to_string()))
}

fn not_found() -> Status {
    Status::not_found("there is no such product")
}
