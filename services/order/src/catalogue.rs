//! The product service as it is seen from here: prices and availability, over gRPC.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use domain::order::OrderLine;
use kernel::{Currency, Money, ProductId, Quantity};
use proto::product::product_service_client::ProductServiceClient;
use proto::product::{QuoteLine, QuoteRequest, QuotedLine};
use tonic::transport::Channel;
use tonic::{Code, Status};
use web::{RequestContext, RetryBudget};

use crate::Config;
use crate::breaker::{Breaker, Failure, SPARED};
use crate::error::Error;

mod gather;

use gather::{Gather, Gathered};

/// How traces name the call.
const QUOTE: &str = "product.ProductService/Quote";
/// Connections, used in turn: one HTTP/2 connection is one task, and so one core at most.
const CHANNELS: usize = 2;
/// One asking is answered within this.
const TRY_TIMEOUT: Duration = Duration::from_secs(1);
/// All of it is over within this, or within the caller's own deadline.
const WITHIN: Duration = Duration::from_secs(2);
/// Before the second asking.
const RETRY_PAUSE: Duration = Duration::from_millis(25);

/// One retry for so many good answers, and so many saved at most.
const ANSWERS_A_RETRY: u32 = 10;
const RETRIES_MAX: u32 = 10;

/// Asks the product service.
pub(crate) struct Catalogue {
    quotes: Gather<Found>,
}

/// What there is of the products that were asked for.
type Found = HashMap<ProductId, Offer>;

/// A product as it was quoted; none where there is no such product.
type Offer = Option<(Money, i64)>;

/// What the catalogue says of one line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Quoted {
    /// None: there is no such product.
    pub unit_price: Option<Money>,
    /// Whether so many could be reserved now.
    pub available: bool,
    /// How many there are.
    pub stock: i64,
}

impl Quoted {
    /// The order line, if it can be had.
    pub fn line(self, product_id: ProductId, quantity: Quantity) -> Option<OrderLine> {
        self.unit_price.filter(|_| self.available).map(|unit_price| OrderLine { product_id, quantity, unit_price })
    }
}

impl Catalogue {
    pub fn new(config: &Config) -> anyhow::Result<Self> {
        let asker = Arc::new(Asker::new(config)?);
        let quotes = Gather::start(move |gathered| {
            let asker = Arc::clone(&asker);
            async move { asker.find(gathered).await }
        });
        Ok(Self { quotes })
    }

    /// What the catalogue says of these lines, each of another product, in their order. The product service is told how
    /// long an answer is waited for.
    pub async fn quote(
        &self,
        lines: &[(ProductId, Quantity)],
        context: &RequestContext,
        deadline: Option<Instant>,
    ) -> Result<Vec<Quoted>, Error> {
        let within = Instant::now() + WITHIN;
        let deadline = deadline.map_or(within, |deadline| deadline.min(within));
        let products = lines.iter().map(|(product_id, quantity)| (*product_id, (*quantity).into())).collect();
        let found = web::grpc::traced(QUOTE, async {
            match self.quotes.quote(products, context, deadline).await {
                Ok(found) => Ok(Ok(found)),
                Err(Failure::Status(status)) => Err(status),
                Err(other) => Ok(Err(other)),
            }
        });
        let found = found.await.map_err(Failure::Status).flatten().map_err(|failure| match failure {
            Failure::Open => Error::CatalogueAway(SPARED.to_owned()),
            Failure::Confused(how) => Error::CatalogueConfused(how),
            Failure::Status(status) if passes(status.code()) => Error::CatalogueAway(status.to_string()),
            Failure::Status(status) => Error::CatalogueConfused(status.to_string()),
        })?;
        let quoted = |(product_id, quantity): &(ProductId, Quantity)| {
            let offer = found.get(product_id).copied().flatten();
            let stock = offer.map_or(0, |(_, stock)| stock);
            Quoted { unit_price: offer.map(|(price, _)| price), available: stock >= (*quantity).into(), stock }
        };
        Ok(lines.iter().map(quoted).collect())
    }
}

/// Makes the calls.
struct Asker {
    clients: Vec<ProductServiceClient<Channel>>,
    turn: AtomicUsize,
    retries: RetryBudget,
    breaker: Breaker,
    currency: Currency,
}

impl Asker {
    fn new(config: &Config) -> anyhow::Result<Self> {
        let connect = |_| web::grpc::channel(&config.product_grpc).map(ProductServiceClient::new);
        Ok(Self {
            clients: (0..CHANNELS).map(connect).collect::<anyhow::Result<_>>()?,
            turn: AtomicUsize::new(0),
            retries: RetryBudget::new(ANSWERS_A_RETRY, RETRIES_MAX),
            breaker: Breaker::new("product"),
            currency: config.currency,
        })
    }

    /// Asks once more where the first try fails, on the other connection, as long as few of all tries do.
    async fn find(&self, gathered: Gathered) -> Result<Found, Failure> {
        let Gathered { products, context, deadline } = gathered;
        let asked = products
            .iter()
            .map(|(product_id, quantity)| QuoteLine { product_id: product_id.to_string(), quantity: *quantity });
        let request = QuoteRequest { lines: asked.collect() };
        let answer = match self.ask(&request, &context, deadline).await {
            Err(Failure::Status(status)) if passes(status.code()) && self.retries.withdraw() => {
                tracing::debug!(%status, "the product service is asked again");
                tokio::time::sleep(RETRY_PAUSE).await;
                self.ask(&request, &context, deadline).await
            }
            answer => answer,
        };
        let quoted = answer?;
        self.retries.deposit();
        if quoted.len() != products.len()
            || quoted.iter().zip(&request.lines).any(|(q, line)| q.product_id != line.product_id)
        {
            return Err(Failure::Confused("other lines than asked".to_owned()));
        }
        products.into_keys().zip(quoted).map(|(product_id, line)| Ok((product_id, self.read(line)?))).collect()
    }

    async fn ask(
        &self,
        request: &QuoteRequest,
        context: &RequestContext,
        deadline: Instant,
    ) -> Result<Vec<QuotedLine>, Failure> {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = left.min(TRY_TIMEOUT);
        let late = || Status::deadline_exceeded("no answer in time");
        if timeout.is_zero() {
            return Err(Failure::Status(late()));
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % self.clients.len();
        let mut client = self.clients[turn].clone();
        let call = async {
            let mut call = web::grpc::request(request.clone(), context, None);
            call.set_timeout(timeout);
            let answer = tokio::time::timeout(timeout, client.quote(call)).await;
            Ok(answer.map_err(|_| late())??.into_inner().lines)
        };
        // A caller in a hurry says nothing about the product service.
        let hurried = timeout < TRY_TIMEOUT;
        let fails = |status: &Status| passes(status.code()) && !(hurried && out_of_time(status.code()));
        self.breaker.call(fails, call).await
    }

    fn read(&self, line: QuotedLine) -> Result<Offer, Failure> {
        let price = |text: String| {
            let currency = if line.currency.is_empty() { Ok(self.currency) } else { line.currency.parse() };
            currency
                .and_then(|currency| Money::parse(&text, currency))
                .map_err(|error| Failure::Confused(format!("product {}: {error}", line.product_id)))
        };
        let price = line.unit_price.map(price).transpose()?;
        Ok(price.map(|price| (price, line.stock.max(0))))
    }
}

/// Whether a status may be another one soon; asking for a quote changes nothing, so it can always be repeated. Broken
/// connections come as `Unknown`, `Cancelled` or `Internal`.
pub(crate) fn passes(code: Code) -> bool {
    matches!(
        code,
        Code::Unavailable
            | Code::DeadlineExceeded
            | Code::ResourceExhausted
            | Code::Aborted
            | Code::Unknown
            | Code::Cancelled
            | Code::Internal
    )
}

/// Whether there was no answer in time.
pub(crate) fn out_of_time(code: Code) -> bool {
    matches!(code, Code::DeadlineExceeded | Code::Cancelled)
}
