//! What every request passes, once, on its way in and out.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::str::FromStr;
use std::time::{Duration, Instant};

use futures::FutureExt;
use poem::endpoint::BoxEndpoint;
use poem::error::{ReadBodyError, ResponseError};
use poem::http::uri::PathAndQuery;
use poem::http::{HeaderValue, StatusCode, Uri, header};
use poem::{Body, Endpoint, Request, Response};
use tokio::io::AsyncReadExt;
use tracing::{Instrument, Span, field};

use crate::auth::TokenVerifier;
use crate::context::{CORRELATION_ID, RequestContext};
use crate::problem::{CONTENT_TYPE, Problem};
use crate::refusal::Asked;
use crate::routes::{Route, Routes};

mod body;
mod measures;

use measures::Measures;

/// Every route is also known under this prefix.
const PREFIX: &str = "/api/v1";
/// A body has at most so many bytes.
const BODY_BYTES_MAX: usize = 1024 * 1024;
/// It arrives within this.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// Of a body that is too large so much is taken in before the answer, for no longer than this.
const DISCARD_BYTES_MAX: u64 = 8 * 1024 * 1024;
const DISCARD_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a handler may take where nothing else is said.
const HANDLER_TIMEOUT: Duration = Duration::from_secs(30);
/// How paths that match no route are counted: together.
const UNMATCHED: &str = "unmatched";

/// A service's routes with everything around them: limits, trace, metrics, problems.
///
/// In order: the prefix `/api/v1` is taken off, a span goes on with the caller's trace, the body is read within its
/// limits and looked through for what PostgreSQL cannot store, the handler runs within its time, and whatever went wrong
/// is answered as a [`Problem`].
pub struct Edge {
    pub(crate) service: &'static str,
    pub(crate) routes: Routes,
    pub(crate) inner: BoxEndpoint<'static, Response>,
    pub(crate) verifier: Option<TokenVerifier>,
    measures: Measures,
}

impl Edge {
    pub(crate) fn new(
        service: &'static str,
        routes: Routes,
        inner: BoxEndpoint<'static, Response>,
        verifier: Option<TokenVerifier>,
    ) -> Self {
        Self { service, routes, inner, verifier, measures: Measures::new() }
    }

    async fn answer(&self, mut request: Request, route: Option<&Route>) -> Response {
        let method = request.method().clone();
        let body = match read(&mut request).await {
            Ok(body) => body,
            Err(problem) => return refused(&problem),
        };
        request.set_body(Body::from_bytes(body.clone()));
        let asked = Asked { routes: &self.routes, route, method: &method, body: &body };

        let limit = route.and_then(|route| route.timeout).unwrap_or(HANDLER_TIMEOUT);
        let handled = AssertUnwindSafe(self.inner.call(request)).catch_unwind();
        let problem = match tokio::time::timeout(limit, handled).await {
            Ok(Ok(Ok(response))) if is_answer(&response) => return response,
            Ok(Ok(Ok(response))) => Problem::of_status(response.status()),
            Ok(Ok(Err(error))) => asked.problem(&error),
            Ok(Err(panic)) => Problem::internal(format!("panic: {}", message(&*panic))),
            Err(_) => {
                tracing::warn!(http.request.limit_s = limit.as_secs(), "a request took too long");
                Problem::unavailable("The request took too long", Duration::from_secs(1))
            }
        };
        let mut response = problem.as_response();
        if problem.status_code() == StatusCode::METHOD_NOT_ALLOWED
            && let Some(allow) = route.and_then(|route| HeaderValue::try_from(route.allow()).ok())
        {
            response.headers_mut().insert(header::ALLOW, allow);
        }
        response
    }
}

impl Endpoint for Edge {
    type Output = Response;

    async fn call(&self, mut request: Request) -> poem::Result<Response> {
        let started = Instant::now();
        strip_prefix(&mut request);
        let route = self.routes.find(request.uri().path());
        let pattern = route.map_or(UNMATCHED, |route| route.pattern.as_str());
        let method = measures::bounded(request.method());
        let mut context = RequestContext::of_request(&request);
        let span = span(self.service, method, pattern, &context);
        telemetry::set_parent(&span, context.traceparent.as_deref());

        let response = async {
            context.traceparent = telemetry::traceparent().or(context.traceparent.take());
            request.set_data(context.clone());
            if let Some(verifier) = &self.verifier {
                request.set_data(verifier.clone());
            }
            context.clone().scope(self.answer(request, route)).await
        };
        let mut response = response.instrument(span.clone()).await;

        let status = response.status();
        span.record("http.response.status_code", status.as_u16());
        if status.is_server_error() {
            span.record("otel.status_code", "ERROR");
        }
        self.measures.record(self.service, method, pattern, status, started.elapsed());
        let headers = response.headers_mut();
        if let Ok(id) = HeaderValue::try_from(context.correlation_id.to_string()) {
            headers.insert(CORRELATION_ID, id);
        }
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        Ok(response)
    }
}

fn span(service: &'static str, method: &str, pattern: &str, context: &RequestContext) -> Span {
    tracing::info_span!(
        "http.request",
        otel.name = format!("{method} {pattern}"),
        otel.kind = "server",
        otel.status_code = field::Empty,
        service,
        http.request.method = method,
        http.route = pattern,
        http.response.status_code = field::Empty,
        request.correlation_id = %context.correlation_id,
    )
}

/// `/api/v1/orders` is `/orders`; both are known to the shop's clients.
fn strip_prefix(request: &mut Request) {
    let Some(rest) = request.uri().path_and_query().and_then(|path| path.as_str().strip_prefix(PREFIX)) else { return };
    if !rest.starts_with('/') {
        return;
    }
    if let Ok(rest) = PathAndQuery::from_str(rest) {
        *request.uri_mut() = Uri::from(rest);
    }
}

/// The body, within its limits of size and time, and of what can be stored.
async fn read(request: &mut Request) -> Result<bytes::Bytes, Problem> {
    if request.uri().path_and_query().is_some_and(|path| path.as_str().contains("%00")) {
        return Err(Problem::bad_request("The path or query contains a NUL character"));
    }
    let announced = request.header(header::CONTENT_LENGTH).and_then(|length| length.parse::<usize>().ok());
    if announced.is_some_and(|bytes| bytes > BODY_BYTES_MAX) {
        if request.header(header::EXPECT).is_none() {
            discard(request.take_body()).await;
        }
        return Err(Problem::too_large(BODY_BYTES_MAX));
    }
    let reading = request.take_body().into_bytes_limit(BODY_BYTES_MAX);
    let body = match tokio::time::timeout(BODY_TIMEOUT, reading).await {
        Ok(Ok(body)) => body,
        Ok(Err(ReadBodyError::PayloadTooLarge)) => return Err(Problem::too_large(BODY_BYTES_MAX)),
        Ok(Err(_)) => return Err(Problem::bad_request("The body cannot be read")),
        Err(_) => return Err(Problem::too_slow()),
    };
    body::check(&body)?;
    Ok(body)
}

/// Takes in a little of a body that nobody wants: a client that is still sending when the connection is closed may never
/// read the answer.
async fn discard(body: Body) {
    let (mut some, mut nowhere) = (body.into_async_read().take(DISCARD_BYTES_MAX), tokio::io::sink());
    let reading = tokio::io::copy(&mut some, &mut nowhere);
    let _ = tokio::time::timeout(DISCARD_TIMEOUT, reading).await;
}

/// The answer to a request whose body is not taken. Where it was not read to its end the connection cannot be used
/// again, and the client is told so.
fn refused(problem: &Problem) -> Response {
    let mut response = problem.as_response();
    if [StatusCode::PAYLOAD_TOO_LARGE, StatusCode::REQUEST_TIMEOUT].contains(&problem.status_code()) {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Whether a response can go out as it is: anything but an error in the framework's plain text.
fn is_answer(response: &Response) -> bool {
    let status = response.status();
    let structured = |kind: &str| kind.starts_with("application/json") || kind.starts_with(CONTENT_TYPE);
    !(status.is_client_error() || status.is_server_error()) || response.content_type().is_some_and(structured)
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a message")
}

#[cfg(test)]
mod tests;
