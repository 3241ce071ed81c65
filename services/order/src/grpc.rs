//! `OrderService`: the same commands and queries as over REST.

use std::sync::Arc;
use std::time::Instant;

use chrono::{DateTime, Utc};
use domain::order::Placed;
use futures::StreamExt;
use futures::stream::BoxStream;
use kernel::{OrderId, UserId};
use proto::order::order_service_server::{OrderService, OrderServiceServer};
use proto::order::{
    CancelOrderRequest, CreateOrderRequest, CreateOrderResponse, GetOrderRequest, ListOrdersRequest,
    ListOrdersResponse, Order, OrderEvent, WatchOrderRequest,
};
use tonic::metadata::MetadataMap;
use tonic::service::Routes;
use tonic::{Request, Response, Status};
use web::auth::{Identity, TokenVerifier, authenticate};
use web::{Idempotency, IdempotencyKey, RequestContext, Ticket};

use crate::commands::{self, By, Orders, Wanted};
use crate::error::Error;
use crate::queries::{Page, Queries};
use crate::rest::Api;
use crate::watch::Watches;

mod messages;

use messages::{given, moment, order, uuid};

/// The most characters of a reason.
const REASON_CHARS_MAX: usize = 200;

/// The service with reflection and health.
pub(crate) async fn routes(api: &Api, verifier: TokenVerifier) -> anyhow::Result<Routes> {
    let edge = Edge {
        orders: Arc::clone(&api.orders),
        queries: Arc::clone(&api.queries),
        watches: Arc::clone(&api.watches),
        keys: api.keys.clone(),
        verifier,
    };
    web::grpc::routes(OrderServiceServer::new(edge), proto::DESCRIPTORS).await
}

struct Edge {
    orders: Arc<Orders>,
    queries: Arc<Queries>,
    watches: Arc<Watches>,
    keys: Idempotency,
    verifier: TokenVerifier,
}

/// What a call comes with beside its message.
struct Call {
    caller: Identity,
    context: RequestContext,
    deadline: Option<Instant>,
}

impl Call {
    fn by(&self) -> By<'_> {
        By { caller: &self.caller, context: &self.context, deadline: self.deadline }
    }
}

impl Edge {
    async fn call(&self, metadata: &MetadataMap) -> Result<Call, Status> {
        let caller = authenticate(metadata, &self.verifier).await?;
        let deadline = messages::timeout(metadata).map(|timeout| Instant::now() + timeout);
        Ok(Call { caller, context: web::grpc::context(metadata), deadline })
    }
}

#[tonic::async_trait]
impl OrderService for Edge {
    async fn create_order(
        &self,
        request: Request<CreateOrderRequest>,
    ) -> Result<Response<CreateOrderResponse>, Status> {
        let call = self.call(request.metadata()).await?;
        let key = IdempotencyKey::of_call(request.metadata(), "order.OrderService/CreateOrder", request.get_ref())?;
        let wanted = wanted(request.into_inner(), &call.caller)?;
        let by = call.by();
        let place = |ticket: Ticket| async move {
            let answering = |order: &Placed| ticket.message(|| created(order));
            match self.orders.place(wanted, by, &answering).await {
                Ok(order) => Ok(created(&order)),
                Err(refusal @ Error::NotAvailable { .. }) => {
                    Ok(CreateOrderResponse { message: refusal.to_string(), ..CreateOrderResponse::default() })
                }
                Err(error) => Err(Status::from(error)),
            }
        };
        self.keys.once(&key, Some(&call.caller), place).await?.into_message()
    }

    async fn get_order(&self, request: Request<GetOrderRequest>) -> Result<Response<Order>, Status> {
        let Call { caller, .. } = self.call(request.metadata()).await?;
        let found = self.queries.order(order_id(&request.get_ref().order_id)?, &caller).await?;
        Ok(Response::new(order(&found)))
    }

    async fn cancel_order(&self, request: Request<CancelOrderRequest>) -> Result<Response<Order>, Status> {
        let call = self.call(request.metadata()).await?;
        let key = IdempotencyKey::of_call(request.metadata(), "order.OrderService/CancelOrder", request.get_ref())?;
        let CancelOrderRequest { order_id: id, reason } = request.into_inner();
        let id = order_id(&id)?;
        if reason.chars().count() > REASON_CHARS_MAX || reason.contains('\0') {
            return Err(Error::invalid("reason", "must be at most 200 characters, none of them NUL").into());
        }
        let by = call.by();
        let cancel = |ticket: Ticket| async move {
            let answering = |placed: &Placed| ticket.message(|| order(placed));
            let cancelled = self.orders.cancel(id, given(&reason), by, &answering).await;
            cancelled.map(|placed| order(&placed)).map_err(Status::from)
        };
        self.keys.once(&key, Some(&call.caller), cancel).await?.into_message()
    }

    type WatchOrderStream = BoxStream<'static, Result<OrderEvent, Status>>;

    async fn watch_order(
        &self,
        request: Request<WatchOrderRequest>,
    ) -> Result<Response<Self::WatchOrderStream>, Status> {
        let Call { caller, .. } = self.call(request.metadata()).await?;
        let WatchOrderRequest { order_id: id, after_sequence } = request.into_inner();
        let happenings = self.watches.open(order_id(&id)?, after_sequence, &caller).await?;
        Ok(Response::new(match happenings {
            Some(happenings) => happenings.map(|happening| Ok(OrderEvent::from(happening))).boxed(),
            None => futures::stream::empty().boxed(),
        }))
    }

    async fn list_orders(&self, request: Request<ListOrdersRequest>) -> Result<Response<ListOrdersResponse>, Status> {
        let Call { caller, .. } = self.call(request.metadata()).await?;
        let page = page(request.get_ref(), &caller)?;
        let (orders, more) = self.queries.orders(page).await?;
        let next = orders.last().filter(|_| more).map(|order| order.order_id.to_string()).unwrap_or_default();
        Ok(Response::new(ListOrdersResponse { orders: orders.iter().map(order).collect(), next }))
    }
}

fn order_id(text: &str) -> Result<OrderId, Error> {
    uuid("order_id", text).map(OrderId)
}

fn wanted(request: CreateOrderRequest, caller: &Identity) -> Result<Wanted, Error> {
    let CreateOrderRequest { user_id, product_id, quantity, payment_method, lines, address_id } = request;
    commands::own(given(&user_id).map(|text| uuid("user_id", text)).transpose()?, caller)?;
    let address = given(&address_id).map(|text| uuid("address_id", text)).transpose()?;
    let wanted = if lines.is_empty() {
        Wanted::product(uuid("product_id", &product_id)?, quantity, given(&payment_method))?
    } else if !product_id.is_empty() || quantity != 0 {
        return Err(Error::invalid("product_id", "cannot be given beside lines"));
    } else {
        let line = |(n, line): (usize, &proto::order::CreateOrderLine)| {
            uuid(&format!("lines[{n}].product_id"), &line.product_id).map(|product| (product, line.quantity))
        };
        let lines = lines.iter().enumerate().map(line).collect::<Result<Vec<_>, _>>()?;
        Wanted::lines(&lines, given(&payment_method))?
    };
    Ok(wanted.to(address))
}

fn page(request: &ListOrdersRequest, caller: &Identity) -> Result<Page, Error> {
    let customer = given(&request.customer_id).map(|text| uuid("customer_id", text)).transpose()?;
    let time = |field: &str, text: &str| -> Result<Option<DateTime<Utc>>, Error> {
        given(text).map(|text| moment(field, text)).transpose()
    };
    let limit = if request.limit == 0 { Page::LIMIT_DEFAULT } else { request.limit };
    let status = given(&request.status).map(str::parse).transpose();
    let page = Page {
        of: Page::whose(caller, request.all, customer.map(UserId))?,
        status: status.map_err(|error: domain::order::Error| Error::invalid("status", error.to_string()))?,
        created_after: time("created_after", &request.created_after)?,
        created_before: time("created_before", &request.created_before)?,
        after: given(&request.after).map(|text| uuid("after", text).map(OrderId)).transpose()?,
        limit,
    };
    page.checked()
}

fn created(placed: &Placed) -> CreateOrderResponse {
    CreateOrderResponse {
        success: true,
        order_id: placed.order_id.to_string(),
        message: "Order created successfully".to_owned(),
        order: Some(order(placed)),
    }
}
