//! `OrderService`: the same commands and queries as over REST.

use std::sync::Arc;

use domain::order::Placed;
use kernel::OrderId;
use proto::order::order_service_server::{OrderService, OrderServiceServer};
use proto::order::{CreateOrderRequest, CreateOrderResponse, GetOrderRequest, Order, OrderLine};
use tonic::service::Routes;
use tonic::{Request, Response, Status};
use uuid::Uuid;
use web::auth::{TokenVerifier, authenticate};

use crate::commands::{self, Orders, Wanted};
use crate::error::Error;
use crate::queries::Queries;

/// The service with reflection and health.
pub(crate) async fn routes(
    orders: Arc<Orders>,
    queries: Arc<Queries>,
    verifier: TokenVerifier,
) -> anyhow::Result<Routes> {
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
        .with_service_name("order.OrderService")
        .build_v1()?;
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_serving::<OrderServiceServer<Edge>>().await;
    let edge = Edge { orders, queries, verifier };
    Ok(Routes::new(OrderServiceServer::new(edge)).add_service(reflection).add_service(health))
}

struct Edge {
    orders: Arc<Orders>,
    queries: Arc<Queries>,
    verifier: TokenVerifier,
}

#[tonic::async_trait]
impl OrderService for Edge {
    async fn create_order(
        &self,
        request: Request<CreateOrderRequest>,
    ) -> Result<Response<CreateOrderResponse>, Status> {
        let caller = authenticate(request.metadata(), &self.verifier).await?;
        let context = web::grpc::context(request.metadata());
        let CreateOrderRequest { user_id, product_id, quantity, payment_method } = request.into_inner();
        let user_id = given(&user_id).map(|text| uuid("user_id", text)).transpose()?;
        commands::own(user_id, &caller)?;
        let wanted = Wanted::product(uuid("product_id", &product_id)?, quantity, given(&payment_method))?;
        let answer = match self.orders.place(wanted, &caller, &context).await {
            Ok(order) => {
                let message = "Order created successfully".to_owned();
                CreateOrderResponse { success: true, order_id: order.order_id.to_string(), message }
            }
            Err(refusal @ Error::NotAvailable { .. }) => {
                CreateOrderResponse { success: false, order_id: String::new(), message: refusal.to_string() }
            }
            Err(error) => return Err(error.into()),
        };
        Ok(Response::new(answer))
    }

    async fn get_order(&self, request: Request<GetOrderRequest>) -> Result<Response<Order>, Status> {
        let caller = authenticate(request.metadata(), &self.verifier).await?;
        let id = OrderId(uuid("order_id", &request.get_ref().order_id)?);
        let order = self.queries.order(id, &caller).await?;
        Ok(Response::new(answer(&order)))
    }
}

/// A field of proto3 that was set.
fn given(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

fn uuid(field: &str, text: &str) -> Result<Uuid, Error> {
    Uuid::parse_str(text).map_err(|_| Error::invalid(field, "is not a UUID"))
}

fn answer(order: &Placed) -> Order {
    let line = |line: &domain::order::OrderLine| OrderLine {
        product_id: line.product_id.to_string(),
        quantity: line.quantity.into(),
        unit_price: line.unit_price.to_decimal(),
    };
    let lines = order.lines.iter().map(line).collect::<Vec<_>>();
    let first = lines.first().cloned().unwrap_or_default();
    Order {
        id: order.order_id.to_string(),
        user_id: order.user_id.to_string(),
        product_id: first.product_id,
        quantity: first.quantity,
        status: order.status.as_str().to_owned(),
        total_price: order.total.to_decimal(),
        currency: order.total.currency.code().to_owned(),
        lines,
    }
}
