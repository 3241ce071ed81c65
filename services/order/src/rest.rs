//! The REST API.

use std::sync::Arc;
use std::time::Duration;

use kernel::OrderId;
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::{ApiResponse, OpenApi};
use sqlx::PgPool;
use uuid::Uuid;
use web::auth::Bearer;
use web::{App, Problem, RequestContext};

use crate::commands::{self, Orders, Wanted};
use crate::error::Error;
use crate::queries::{Page, Queries};

mod bodies;
mod optional;

use bodies::{CancelOrder, CreateOrder, Happening, Order, OrderPage, Status};
use optional::OptionalJson;

/// The longest that one may wait for an order's end.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// Reading the order before and after the wait.
const WAIT_MARGIN: Duration = Duration::from_secs(10);
const NAME: &str = "order-service";
const TITLE: &str = "Sagashop orders";

/// The service's HTTP side.
pub(crate) fn app(orders: Arc<Orders>, queries: Arc<Queries>, pool: PgPool) -> App {
    App::new(NAME, TITLE, Api { orders, queries }).timeout("/orders/{id}", WAIT_MAX + WAIT_MARGIN).check(
        "database",
        move || {
            let pool = pool.clone();
            async move {
                sqlx::query("SELECT 1").execute(&pool).await?;
                Ok(())
            }
        },
    )
}

/// The OpenAPI document, as JSON.
pub fn openapi() -> String {
    web::document::<Api>(TITLE)
}

struct Api {
    orders: Arc<Orders>,
    queries: Arc<Queries>,
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

#[derive(ApiResponse)]
enum Accepted {
    /// The cancellation was asked for; whether it still comes in time is decided from here on.
    #[oai(status = 202)]
    Order(Json<Order>),
}

#[OpenApi]
impl Api {
    /// Place an order
    ///
    /// Of one product (`product_id`, `quantity`) or of several (`lines`), at the catalogue's present prices.
    #[oai(path = "/orders", method = "post")]
    async fn create(
        &self,
        caller: Bearer,
        context: RequestContext,
        body: Json<CreateOrder>,
    ) -> Result<Created, Problem> {
        let Json(body) = body;
        commands::own(body.user_id, &caller.0)?;
        let order = self.orders.place(wanted(&body)?, &caller.0, &context).await?;
        let location = format!("/orders/{}", order.order_id);
        Ok(Created::Order(Json(Order::from(&order)), location))
    }

    /// List my orders
    ///
    /// The newest first. `next` is the cursor of the next page; there is none behind the last.
    #[oai(path = "/orders", method = "get")]
    async fn list(
        &self,
        caller: Bearer,
        /// Only orders that stand so.
        status: Query<Option<Status>>,
        /// How many.
        #[oai(default = "limit_default", validator(minimum(value = "1"), maximum(value = "200")))]
        limit: Query<u32>,
        /// The cursor that the page before gave.
        after: Query<Option<Uuid>>,
    ) -> Result<Json<OrderPage>, Problem> {
        let page = Page { status: status.0.map(Into::into), after: after.0.map(OrderId), limit: limit.0 };
        let (orders, more) = self.queries.orders_of(caller.0.user_id, page).await?;
        let next = orders.last().filter(|_| more).map(|order| order.order_id.0);
        Ok(Json(OrderPage { orders: orders.iter().map(Order::from).collect(), next }))
    }

    /// Read an order
    ///
    /// With `wait` the answer comes as soon as the order has ended, confirmed or cancelled, and as it stands when the
    /// wait is over.
    #[oai(path = "/orders/:id", method = "get")]
    async fn get(
        &self,
        caller: Bearer,
        id: Path<Uuid>,
        /// Such as `5s` or `500ms`; 30 s at most.
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
    #[oai(path = "/orders/:id/history", method = "get")]
    async fn history(&self, caller: Bearer, id: Path<Uuid>) -> Result<Json<Vec<Happening>>, Problem> {
        let happenings = self.queries.history(OrderId(id.0), &caller.0).await?;
        Ok(Json(happenings.into_iter().map(Happening::from).collect()))
    }

    /// Ask for an order's cancellation
    ///
    /// Before the payment everything is undone; after it the money is paid back.
    #[oai(path = "/orders/:id/cancel", method = "post")]
    async fn cancel(
        &self,
        caller: Bearer,
        context: RequestContext,
        id: Path<Uuid>,
        body: OptionalJson<CancelOrder>,
    ) -> Result<Accepted, Problem> {
        let reason = body.0.and_then(|body| body.reason);
        let order = self.orders.cancel(OrderId(id.0), reason.as_deref(), &caller.0, &context).await?;
        Ok(Accepted::Order(Json(Order::from(&order))))
    }
}

fn limit_default() -> u32 {
    50
}

/// The body is one of two forms, never both.
fn wanted(body: &CreateOrder) -> Result<Wanted, Error> {
    let payment_method = body.payment_method.as_deref();
    match (&body.lines, body.product_id, body.quantity) {
        (Some(lines), None, None) => {
            let lines = lines.iter().map(|line| (line.product_id, line.quantity)).collect::<Vec<_>>();
            Wanted::lines(&lines, payment_method)
        }
        (Some(_), Some(_), _) => Err(Error::invalid("product_id", "cannot be given beside lines")),
        (Some(_), None, Some(_)) => Err(Error::invalid("quantity", "cannot be given beside lines")),
        (None, Some(product), Some(quantity)) => Wanted::product(product, quantity, payment_method),
        (None, None, _) => Err(Error::invalid("product_id", "is required, or lines instead")),
        (None, Some(_), None) => Err(Error::invalid("quantity", "is required")),
    }
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
        assert_eq!(paths, ["/orders", "/orders/{id}", "/orders/{id}/cancel", "/orders/{id}/history"]);
        assert_eq!(document["paths"]["/orders/{id}/cancel"]["post"]["requestBody"]["required"], false);
    }
}
