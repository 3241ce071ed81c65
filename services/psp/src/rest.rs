//! The provider's API: charges, refunds and what became of them. Every request is signed.

use std::sync::Arc;
use std::time::Duration;

use domain::PaymentMethod;
use event_store::clock::Clock;
use kernel::Money;
use poem::Request;
use poem_openapi::param::{Header, Query};
use poem_openapi::payload::Json;
use poem_openapi::{OpenApi, Tags};
use psp::bank::{Bank, Charge, Refund, Trouble};
use psp::protocol::{NewCharge, NewRefund, Operation, PAGE_MAX, Page};
use psp::signed::{Doorkeeper, Raw};
use tokio::sync::Notify;
use web::Problem;

use crate::measures;

pub(crate) const TITLE: &str = "Sagashop payment provider";

const PAGE_DEFAULT: u32 = 100;

#[derive(Tags)]
enum Tag {
    /// What is asked of the provider, and what became of it. Each request carries `Sagashop-Signature` and
    /// `Sagashop-Nonce`.
    Operations,
}

/// The provider's API.
pub(crate) struct Api {
    bank: Arc<Bank>,
    door: Doorkeeper,
    clock: Arc<dyn Clock>,
    /// Wakes whoever tells of what was booked.
    booked: Arc<Notify>,
}

#[OpenApi]
impl Api {
    /// Charges a card or an account
    ///
    /// The same key and the same request get the same answer, however often they come, and are charged once. A charge
    /// that is declined is answered with 200 too: its `status` is `failed`.
    #[oai(path = "/v1/charges", method = "post", tag = "Tag::Operations", operation_id = "createCharge")]
    async fn charge(
        &self,
        request: &Request,
        /// `t=<unix seconds>,v1=<hex>`: HMAC-SHA256 of method, target, nonce and body.
        #[oai(name = "Sagashop-Signature")]
        _signature: Header<Option<String>>,
        /// Never the same twice; at most 64 characters.
        #[oai(name = "Sagashop-Nonce")]
        _nonce: Header<Option<String>>,
        /// What makes this one charge.
        #[oai(name = "Idempotency-Key", validator(min_length = 1, max_length = 255, pattern = "^[!-~]+$"))]
        key: Header<String>,
        body: Raw<NewCharge>,
    ) -> Result<Json<Operation>, Problem> {
        self.door.request(request, body.bytes(), self.clock.now())?;
        let (key, body) = (key.0, body.read()?);
        let payment_method: PaymentMethod =
            body.payment_method.parse().map_err(|error: domain::PaymentMethodError| {
                Problem::bad_request("The payment method is not valid").field("payment_method", error.to_string())
            })?;
        let amount = money(body.amount_minor, &body.currency)?;
        let charge =
            Charge { key, reference: body.reference, amount, payment_method: payment_method.as_str().to_owned() };
        // The webhook goes out even if the answer to this does not.
        let charged = self.bank.charge(&charge).await;
        self.booked.notify_one();
        answer(charged)
    }

    /// Pays a charge back, all or a part of it
    ///
    /// As for charges: one key, one refund. More than was charged is never paid back: `status` is `failed` then.
    #[oai(path = "/v1/refunds", method = "post", tag = "Tag::Operations", operation_id = "createRefund")]
    async fn refund(
        &self,
        request: &Request,
        /// As for a charge.
        #[oai(name = "Sagashop-Signature")]
        _signature: Header<Option<String>>,
        /// As for a charge.
        #[oai(name = "Sagashop-Nonce")]
        _nonce: Header<Option<String>>,
        /// What makes this one refund.
        #[oai(name = "Idempotency-Key", validator(min_length = 1, max_length = 255, pattern = "^[!-~]+$"))]
        key: Header<String>,
        body: Raw<NewRefund>,
    ) -> Result<Json<Operation>, Problem> {
        self.door.request(request, body.bytes(), self.clock.now())?;
        let (key, body) = (key.0, body.read()?);
        let amount = money(body.amount_minor, &body.currency)?;
        let refund = Refund { key, reference: body.reference, amount, charge: body.charge };
        let refunded = self.bank.refund(&refund).await;
        self.booked.notify_one();
        answer(refunded)
    }

    /// Looks up the operation of a key, or lists all
    ///
    /// With `key`: that one, or none where no request of this key has arrived. Without: all in the order of their keys,
    /// page by page.
    #[oai(path = "/v1/operations", method = "get", tag = "Tag::Operations", operation_id = "listOperations")]
    async fn operations(
        &self,
        request: &Request,
        /// As for a charge; the body is empty.
        #[oai(name = "Sagashop-Signature")]
        _signature: Header<Option<String>>,
        /// As for a charge.
        #[oai(name = "Sagashop-Nonce")]
        _nonce: Header<Option<String>>,
        /// The idempotency key of one.
        key: Query<Option<String>>,
        /// Only those behind this key: the `next` of the page before.
        after: Query<Option<String>>,
        /// At most so many.
        #[oai(default = "limit_default", validator(minimum(value = "1"), maximum(value = "1000")))]
        limit: Query<u32>,
    ) -> Result<Json<Page>, Problem> {
        self.door.request(request, &[], self.clock.now())?;
        if let Some(key) = key.0 {
            let found = self.bank.find(&key).await.map_err(problem)?;
            return Ok(Json(Page { operations: found.into_iter().collect(), next: None }));
        }
        let limit = limit.0.min(PAGE_MAX);
        let mut operations = self.bank.list(after.0.as_deref().unwrap_or(""), limit + 1).await.map_err(problem)?;
        let more = operations.len() > limit as usize;
        operations.truncate(limit as usize);
        let next = operations.last().filter(|_| more).map(|last| last.key.clone());
        Ok(Json(Page { operations, next }))
    }
}

impl Api {
    pub(crate) fn new(bank: Arc<Bank>, door: Doorkeeper, clock: Arc<dyn Clock>, booked: Arc<Notify>) -> Self {
        Self { bank, door, clock, booked }
    }
}

fn limit_default() -> u32 {
    PAGE_DEFAULT
}

fn money(minor: i64, currency: &str) -> Result<Money, Problem> {
    let currency = currency
        .parse()
        .map_err(|error| Problem::bad_request("The currency is not known").field("currency", format!("{error}")))?;
    if minor <= 0 {
        return Err(Problem::bad_request("The amount is not valid").field("amount_minor", "must be more than 0"));
    }
    Ok(Money::new(minor, currency))
}

fn answer(result: Result<Operation, Trouble>) -> Result<Json<Operation>, Problem> {
    let operation = result.map_err(problem)?;
    measures::answered(&operation);
    Ok(Json(operation))
}

fn problem(trouble: Trouble) -> Problem {
    match trouble {
        Trouble::Reused => Problem::unprocessable("This idempotency key was used for another request")
            .kind("idempotency-key-reused", "The idempotency key was used before"),
        Trouble::Busy => Problem::unavailable("Not at present", Duration::from_secs(1)),
        Trouble::Failed => Problem::internal("a token asked for this failure"),
        Trouble::Away(reason) => {
            tracing::warn!(reason, "the book did not answer");
            Problem::unavailable("The book cannot be reached at present", Duration::from_secs(1))
        }
    }
}
