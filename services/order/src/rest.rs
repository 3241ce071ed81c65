//! The REST API.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use domain::order::Placed;
use kernel::{OrderId, UserId};
use poem_openapi::param::{Header, Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::{ApiResponse, OpenApi, Tags};
use sqlx::PgPool;
use uuid::Uuid;
use web::auth::{Bearer, Identity};
use web::{Answered, App, Idempotency, IdempotencyKey, OptionalJson, Problem, RequestContext};

use crate::commands::{self, By, Orders, Wanted};
use crate::error::Error;
use crate::queries::{Page, Queries};
use crate::watch::Watches;

mod bodies;
mod stream;
mod token;

use bodies::{CancelOrder, CreateOrder, Happening, Order, OrderPage, Status};
use stream::Happenings;

/// The longest that one may wait for an order's end.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// Reading the order before and after the wait.
const WAIT_MARGIN: Duration = Duration::from_secs(10);
const NAME: &str = "order-service";
const TITLE: &str = "Sagashop orders";

/// The service's HTTP side.
pub(crate) fn app(api: Api, pool: PgPool) -> App {
    App::new(NAME, TITLE, api).timeout("/orders/{id}", WAIT_MAX + WAIT_MARGIN).check("database", move || {
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

pub(crate) struct Api {
    pub orders: Arc<Orders>,
    pub queries: Arc<Queries>,
    pub watches: Arc<Watches>,
    pub keys: Idempotency,
}

#[derive(Tags)]
enum Tag {
    /// Placing orders, cancelling them, and seeing what becomes of them.
    Orders,
}

#[derive(ApiResponse)]
enum Created {
    /// The order is durable; what becomes of it is decided from here on.
    #[oai(status = 201)]
    Order(
        Json<Order>,
        /// Where it can be read.
        #[oai(header = "Location")]
        String,
    ),
}

impl Created {
    fn of(order: &Placed) -> Self {
        Self::Order(Json(Order::from(order)), format!("/orders/{}", order.order_id))
    }
}

#[derive(ApiResponse)]
enum Accepted {
    /// The cancellation was asked for; whether it still comes in time is decided from here on.
    #[oai(status = 202)]
    Order(Json<Order>),
}

impl Accepted {
    fn of(order: &Placed) -> Self {
        Self::Order(Json(Order::from(order)))
    }
}

#[OpenApi(tag = "Tag::Orders")]
impl Api {
    /// Place an order
    ///
    /// Of one product (`product_id`, `quantity`) or of several (`lines`), at the catalogue's present prices. It is
    /// `pending` until it is paid and its stock is taken; `GET /orders/{id}?wait=5s` waits for that.
    #[oai(path = "/orders", method = "post", operation_id = "createOrder")]
    async fn create(
        &self,
        caller: Bearer,
        context: RequestContext,
        /// Any text of your own. Sent again with the same key and body, the order is placed once and answered the same.
        #[oai(name = "Idempotency-Key")]
        key: IdempotencyKey,
        body: Json<CreateOrder>,
    ) -> Result<Answered<Created>, Problem> {
        let Json(body) = body;
        commands::own(body.user_id, &caller.0)?;
        let wanted = wanted(&body)?;
        let by = by(&caller.0, &context);
        let place = |ticket: web::Ticket| async move {
            let answering = |order: &Placed| ticket.answer(|| Created::of(order));
            Ok::<_, Problem>(Created::of(&self.orders.place(wanted, by, &answering).await?))
        };
        self.keys.once(&key, Some(&caller.0), place).await
    }

    /// List orders
    ///
    /// Your own, the newest first. `next` is the cursor of the next page; there is none behind the last. Administrators
    /// may list everybody's (`all`) or one customer's (`customer_id`).
    #[oai(path = "/orders", method = "get", operation_id = "listOrders")]
    #[allow(clippy::too_many_arguments)]
    async fn list(
        &self,
        caller: Bearer,
        /// Only orders that stand so.
        status: Query<Option<Status>>,
        /// Only those placed at this moment or later.
        created_after: Query<Option<DateTime<Utc>>>,
        /// Only those placed before this moment.
        created_before: Query<Option<DateTime<Utc>>>,
        /// How many.
        #[oai(default = "limit_default", validator(minimum(value = "1"), maximum(value = "200")))]
        limit: Query<u32>,
        /// The cursor that the page before gave.
        after: Query<Option<Uuid>>,
        /// Administrators only: everybody's orders.
        #[oai(default)]
        all: Query<bool>,
        /// Administrators only: the orders of this customer.
        customer_id: Query<Option<Uuid>>,
    ) -> Result<Json<OrderPage>, Problem> {
        let page = Page {
            of: Page::whose(&caller.0, all.0, customer_id.0.map(UserId))?,
            status: status.0.map(Into::into),
            created_after: created_after.0,
            created_before: created_before.0,
            after: after.0.map(OrderId),
            limit: limit.0,
        };
        let (orders, more) = self.queries.orders(page.checked()?).await?;
        let next = orders.last().filter(|_| more).map(|order| order.order_id.0);
        Ok(Json(OrderPage { orders: orders.iter().map(Order::from).collect(), next }))
    }

    /// Read an order
    ///
    /// With `wait` the answer comes as soon as the order has ended, confirmed or cancelled, and as it stands when the
    /// wait is over.
    #[oai(path = "/orders/:id", method = "get", operation_id = "getOrder")]
    async fn get(
        &self,
        caller: Bearer,
        /// The order.
        id: Path<Uuid>,
        /// Such as `5s` or `500ms`; 30 s at most.
        #[oai(validator(pattern = "^(([0-9]|[12][0-9]|30)s|([0-9]{1,4}|[12][0-9]{4}|30000)ms)$"))]
        wait: Query<Option<String>>,
    ) -> Result<Json<Order>, Problem> {
        let id = OrderId(id.0);
        let order = match wait.0 {
            Some(wait) => self.queries.order_once_ended(id, &caller.0, read_wait(&wait)?).await?,
            None => self.queries.order(id, &caller.0).await?,
        };
        Ok(Json(Order::from(&order)))
    }

    /// Read an order's history
    ///
    /// What happened to it, the earliest first, in plain words.
    #[oai(path = "/orders/:id/history", method = "get", operation_id = "getOrderHistory")]
    async fn history(
        &self,
        caller: Bearer,
        /// The order.
        id: Path<Uuid>,
    ) -> Result<Json<Vec<Happening>>, Problem> {
        let happenings = self.queries.history(OrderId(id.0), &caller.0).await?;
        Ok(Json(happenings.into_iter().map(Happening::from).collect()))
    }

    /// Watch an order
    ///
    /// Server-sent events: what happened to the order, and what happens from here on, until it has ended. Each event's id
    /// is its sequence: whoever comes again with `Last-Event-ID` misses nothing and gets nothing twice. 204 tells that
    /// the order has ended and nothing is left to be told. A stream lasts five minutes at most.
    #[oai(path = "/orders/:id/events", method = "get", operation_id = "watchOrder")]
    async fn events(
        &self,
        caller: Bearer,
        /// The order.
        id: Path<Uuid>,
        /// The id of the last event that was received.
        #[oai(name = "Last-Event-ID", validator(minimum(value = "0")))]
        after: Header<Option<u64>>,
    ) -> Result<Happenings, Problem> {
        let happenings = self.watches.open(OrderId(id.0), after.0.unwrap_or_default(), &caller.0).await?;
        Ok(happenings.map_or(Happenings::Ended, Happenings::of))
    }

    /// Ask for an order's cancellation
    ///
    /// Before the payment everything is undone; after it the money is paid back.
    #[oai(path = "/orders/:id/cancel", method = "post", operation_id = "cancelOrder")]
    async fn cancel(
        &self,
        caller: Bearer,
        context: RequestContext,
        /// The order.
        id: Path<Uuid>,
        /// Any text of your own. Sent again with the same key and body, it is asked for once and answered the same.
        #[oai(name = "Idempotency-Key")]
        key: IdempotencyKey,
        body: OptionalJson<CancelOrder>,
    ) -> Result<Answered<Accepted>, Problem> {
        let reason = body.0.and_then(|body| body.reason);
        let by = by(&caller.0, &context);
        let cancel = |ticket: web::Ticket| async move {
            let answering = |order: &Placed| ticket.answer(|| Accepted::of(order));
            Ok::<_, Problem>(Accepted::of(&self.orders.cancel(OrderId(id.0), reason.as_deref(), by, &answering).await?))
        };
        self.keys.once(&key, Some(&caller.0), cancel).await
    }
}

/// The framework gives a request all the time that its route has.
fn by<'a>(caller: &'a Identity, context: &'a RequestContext) -> By<'a> {
    By { caller, context, deadline: None }
}

fn limit_default() -> u32 {
    Page::LIMIT_DEFAULT
}

/// The body is one of two forms, never both.
fn wanted(body: &CreateOrder) -> Result<Wanted, Error> {
    let payment_method = body.payment_method.as_deref();
    let wanted = match (&body.lines, body.product_id, body.quantity) {
        (Some(lines), None, None) => {
            let lines = lines.iter().map(|line| (line.product_id, line.quantity)).collect::<Vec<_>>();
            Wanted::lines(&lines, payment_method)
        }
        (Some(_), Some(_), _) => Err(Error::invalid("product_id", "cannot be given beside lines")),
        (Some(_), None, Some(_)) => Err(Error::invalid("quantity", "cannot be given beside lines")),
        (None, Some(product), Some(quantity)) => Wanted::product(product, quantity, payment_method),
        (None, None, _) => Err(Error::invalid("product_id", "is required, or lines instead")),
        (None, Some(_), None) => Err(Error::invalid("quantity", "is required")),
    };
    Ok(wanted?.to(body.address_id))
}

fn read_wait(text: &str) -> Result<Duration, Error> {
    let not_a_wait = || Error::invalid("wait", "must be a time such as 5s or 500ms");
    let (number, millis) = match text.strip_suffix("ms") {
        Some(number) => (number, 1),
        None => (text.strip_suffix('s').ok_or_else(not_a_wait)?, 1_000),
    };
    if number.is_empty() || !number.bytes().all(|b| b.is_ascii_digit()) {
        return Err(not_a_wait());
    }
    let wait = number.parse::<u64>().ok().and_then(|number| number.checked_mul(millis)).map(Duration::from_millis);
    wait.filter(|wait| *wait <= WAIT_MAX)
        .ok_or_else(|| Error::invalid("wait", format!("must be at most {} s", WAIT_MAX.as_secs())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_read_with_their_unit() {
        assert_eq!(read_wait("5s").unwrap(), Duration::from_secs(5));
        assert_eq!(read_wait("500ms").unwrap(), Duration::from_millis(500));
        assert_eq!(read_wait("0s").unwrap(), Duration::ZERO);
        for text in ["", "5", "s", "ms", "-1s", "1.5s", "5m", "5 s", "31s", "30001ms", "99999999999999999999s"] {
            assert!(matches!(read_wait(text), Err(Error::Invalid(fault)) if fault.field == "wait"), "{text}");
        }
    }

    #[test]
    fn the_document_can_be_had_without_a_service() {
        let document = serde_json::from_str::<serde_json::Value>(&openapi()).unwrap();
        let paths = document["paths"].as_object().unwrap().keys().collect::<Vec<_>>();
        assert_eq!(
            paths,
            [
                "/admin/log-level",
                "/orders",
                "/orders/{id}",
                "/orders/{id}/cancel",
                "/orders/{id}/events",
                "/orders/{id}/history"
            ]
        );
        assert_eq!(document["paths"]["/orders/{id}/cancel"]["post"]["requestBody"]["required"], false);
    }
}
