//! A provider behind HTTP: the protocol of `docs/psp-protocol.md`, spoken by the one who asks.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use async_trait::async_trait;
use domain::payment::TransactionId;
use event_store::clock::Clock;
use kernel::{Live, Money};
use psp::protocol::{
    CHARGES, IDEMPOTENCY_KEY, Kind, NewCharge, NewRefund, OPERATIONS, Operation, PAGE_MAX, Page, REFUNDS,
};
use psp::signed::{self, NONCE};
use recloser::{AsyncRecloser, Recloser};
use reqwest::header::CONTENT_TYPE;
use reqwest::redirect::Policy;
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;
use web::{SIGNATURE, WebhookKey};

use super::{ChargeRequest, Error, Outcome, Provider, RefundRequest};
use crate::measures;

/// An answer is smaller; a page of operations the largest.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;
const CONNECT_MAX: Duration = Duration::from_secs(1);
/// Connections that stay open without use.
const IDLE_MAX: Duration = Duration::from_secs(30);

/// Calls that the breaker judges by, of which this share may fail.
const JUDGED_CALLS: usize = 50;
const JUDGED_CALLS_AFTER_REST: usize = 5;
const FAILING_SHARE: f32 = 0.5;
/// How long a provider that fails is left alone.
const REST: Duration = Duration::from_secs(2);

/// Where a provider is and what is shared with it.
#[derive(Debug, Clone)]
pub struct HttpSettings {
    /// Its URL; the protocol's paths follow it.
    pub url: String,
    /// What requests and webhooks are signed with.
    pub key: WebhookKey,
    /// A call takes no longer.
    pub timeout: Duration,
    /// Connections that are kept for later calls.
    pub connections_max: usize,
}

/// The provider.
pub struct HttpProvider {
    http: reqwest::Client,
    url: Url,
    key: WebhookKey,
    clock: Arc<dyn Clock>,
    breaker: AsyncRecloser,
}

impl HttpProvider {
    /// A provider at this URL. Nothing is sent yet.
    ///
    /// # Errors
    /// The URL is none.
    pub fn new(settings: &HttpSettings, clock: Arc<dyn Clock>) -> anyhow::Result<Self> {
        let mut url = Url::parse(&settings.url).context("the payment provider's URL cannot be read")?;
        ensure!(matches!(url.scheme(), "http" | "https"), "the payment provider's URL begins with http:// or https://");
        let base = url.path().trim_end_matches('/').to_owned();
        url.set_path(&base);
        let http = web::http_client()
            .connect_timeout(settings.timeout.min(CONNECT_MAX))
            .timeout(settings.timeout)
            .redirect(Policy::none())
            .pool_max_idle_per_host(settings.connections_max)
            .pool_idle_timeout(IDLE_MAX)
            .build()?;
        let breaker = Recloser::custom()
            .error_rate(FAILING_SHARE)
            .closed_len(JUDGED_CALLS)
            .half_open_len(JUDGED_CALLS_AFTER_REST)
            .open_wait(REST)
            .build();
        Ok(Self { http, url, key: settings.key.clone(), clock, breaker: breaker.into() })
    }

    /// All operations of the provider's book with keys beyond `after`, and where the next ones begin.
    ///
    /// # Errors
    /// It cannot be asked, or answers what cannot be.
    pub async fn operations(&self, after: Option<&str>) -> Result<Page, Error> {
        let limit = PAGE_MAX.to_string();
        let query = [Some(("limit", limit.as_str())), after.map(|after| ("after", after))];
        self.get(&query.into_iter().flatten().collect::<Vec<_>>()).await
    }

    async fn get(&self, query: &[(&str, &str)]) -> Result<Page, Error> {
        let mut url = self.at(OPERATIONS);
        url.query_pairs_mut().extend_pairs(query);
        let request = self.signed(Method::GET, url, Vec::new());
        self.guarded(self.answer(request)).await
    }

    /// Sends a request under its key and checks that what is answered is about it.
    async fn post(&self, path: &str, key: &str, body: &impl Serialize, asked: Asked<'_>) -> Result<Outcome, Error> {
        let body = serde_json::to_vec(body).map_err(|_| Error::Confused("the request cannot be written"))?;
        let request = self.signed(Method::POST, self.at(path), body).header(CONTENT_TYPE, "application/json");
        let operation: Operation = self.guarded(self.answer(request.header(IDEMPOTENCY_KEY, key))).await?;
        if !asked.is(&operation) {
            return Err(Error::Confused("it is about another request"));
        }
        Outcome::of(operation)
    }

    fn at(&self, path: &str) -> Url {
        let mut url = self.url.clone();
        url.set_path(&format!("{}{path}", self.url.path().trim_end_matches('/')));
        url
    }

    fn signed(&self, method: Method, url: Url, body: Vec<u8>) -> RequestBuilder {
        let nonce = self.clock.new_id().simple().to_string();
        let target = url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()));
        let signature = self.key.sign(self.clock.now(), &signed::request(method.as_str(), &target, &nonce, &body));
        let mut request = self.http.request(method.clone(), url).header(SIGNATURE, signature).header(NONCE, nonce);
        if let Some(current) = telemetry::trace::current_span() {
            request = request.header("traceparent", current.at().traceparent());
            current.with(|span| {
                span.set("http.request.method", method.as_str());
                span.set("server.address", self.url.host_str().unwrap_or_default());
            });
        }
        request.body(body)
    }

    async fn answer<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, Error> {
        let response = request.send().await.map_err(|error| lost(&error))?;
        if let Some(current) = telemetry::trace::current_span() {
            current.with(|span| span.set("http.response.status_code", i64::from(response.status().as_u16())));
        }
        match response.status() {
            StatusCode::OK => {}
            // It says itself that nothing came of it, or that it cannot say.
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                return Err(Error::Unavailable(format!("status {}", response.status().as_u16())));
            }
            status => return Err(Error::Failed(status.as_u16())),
        }
        serde_json::from_slice(&read(response).await?).map_err(|_| Error::Confused("it cannot be read"))
    }

    /// Lets a provider alone that fails too often.
    async fn guarded<T>(&self, call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        // Answers that say something about the request say nothing against the provider.
        let fails = |error: &Error| !matches!(error, Error::Failed(status) if *status < 500);
        match self.breaker.call_with(fails, call).await {
            Ok(answer) => {
                measures::answered();
                Ok(answer)
            }
            Err(recloser::Error::Inner(error)) => {
                if fails(&error) {
                    measures::failed()
                } else {
                    measures::answered()
                }
                Err(error)
            }
            Err(recloser::Error::Rejected) => {
                measures::rested();
                Err(Error::Resting)
            }
        }
    }
}

/// What an answer is to be about.
struct Asked<'a> {
    kind: Kind,
    key: &'a str,
    amount: Money,
}

impl Asked<'_> {
    fn is(&self, operation: &Operation) -> bool {
        (operation.kind, operation.key.as_str(), operation.amount_minor, operation.currency.as_str())
            == (self.kind, self.key, self.amount.minor, self.amount.currency.code())
    }
}

#[async_trait]
impl Provider for HttpProvider {
    fn name(&self) -> &'static str {
        "http"
    }

    async fn charge(&self, _: Live, request: &ChargeRequest) -> Result<Outcome, Error> {
        let ChargeRequest { key, payment_id, amount, payment_method } = request;
        let body = NewCharge {
            reference: payment_id.0,
            amount_minor: amount.minor,
            currency: amount.currency.code().to_owned(),
            payment_method: payment_method.as_str().to_owned(),
        };
        self.post(CHARGES, key, &body, Asked { kind: Kind::Charge, key, amount: *amount }).await
    }

    async fn refund(&self, _: Live, request: &RefundRequest) -> Result<Outcome, Error> {
        let RefundRequest { key, payment_id, amount, charge: TransactionId(charge) } = request;
        let body = NewRefund {
            reference: payment_id.0,
            amount_minor: amount.minor,
            currency: amount.currency.code().to_owned(),
            charge: charge.clone(),
        };
        self.post(REFUNDS, key, &body, Asked { kind: Kind::Refund, key, amount: *amount }).await
    }

    async fn find(&self, key: &str) -> Result<Option<Outcome>, Error> {
        let mut page = self.get(&[("key", key)]).await?;
        match (page.operations.pop(), page.operations.pop()) {
            (None, _) => Ok(None),
            (Some(operation), None) if operation.key == key => Outcome::of(operation).map(Some),
            _ => Err(Error::Confused("it is about another request")),
        }
    }
}

/// The body, as far as an answer may go.
async fn read(mut response: Response) -> Result<Vec<u8>, Error> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| lost(&error))? {
        if body.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Err(Error::Confused("it is too long"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn lost(error: &reqwest::Error) -> Error {
    if error.is_timeout() {
        return Error::Timeout;
    }
    // Not the whole error: it repeats the URL, which may hold a password.
    Error::Unavailable(if error.is_connect() { "no connection" } else { "the connection broke" }.to_owned())
}
