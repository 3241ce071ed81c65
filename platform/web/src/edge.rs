//! What every request passes, once, on its way in and out.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use poem::endpoint::BoxEndpoint;
use poem::http::uri::PathAndQuery;
use poem::http::{HeaderValue, Method, StatusCode, Uri, header};
use poem::{Body, Endpoint, Request, Response};
use telemetry::{Kind, Span, Tracer, trace};
use tokio::time::Instant;

use crate::auth::TokenVerifier;
use crate::context::{self, RequestContext, Seen};
use crate::gate::Gate;
use crate::limits::Limits;
use crate::problem::{CONTENT_TYPE, Problem};
use crate::refusal::Asked;
use crate::routes::{Own, Route, Routes};
use crate::{EdgeOptions, docs};

mod accept;
mod body;
mod client;
mod compression;
mod cors;
mod headers;
mod log;
mod measures;
mod read;

use cors::Cors;
use headers::Asker;
use measures::Measures;

/// Every route is also known under this prefix.
const PREFIX: &str = "/api/v1";

/// A service's routes with everything around them: limits, trace, metrics, problems.
///
/// In order: the prefix `/api/v1` is taken off, the caller's address is counted, a method and a type that the route does
/// not have are refused, the body is read within its limits and looked through for what PostgreSQL cannot store, a slot
/// is taken, the handler runs within its time, and whatever went wrong is answered as a [`Problem`].
pub struct Edge {
    service: &'static str,
    tracer: Tracer,
    routes: Routes,
    inner: BoxEndpoint<'static, Response>,
    own: OwnAnswers,
    verifier: Option<TokenVerifier>,
    options: EdgeOptions,
    limits: Arc<Limits>,
    gate: Gate,
    cors: Cors,
    measures: Measures,
    log: log::Log,
}

/// What answers the routes that every service has.
pub(crate) struct OwnAnswers {
    pub health: crate::health::Health,
    pub document: bytes::Bytes,
}

impl Edge {
    pub(crate) fn new(
        service: &'static str,
        routes: Routes,
        inner: BoxEndpoint<'static, Response>,
        own: OwnAnswers,
        verifier: Option<TokenVerifier>,
        options: EdgeOptions,
    ) -> Self {
        Self {
            service,
            tracer: Tracer::of(telemetry::metrics::role(service)),
            inner,
            own,
            verifier,
            limits: Arc::new(Limits::new(&options.rate_limits)),
            gate: Gate::new(service, &options),
            cors: Cors::new(&options.cors_origins),
            measures: Measures::new(service, &routes),
            log: log::Log::new(options.access_log),
            routes,
            options,
        }
    }

    /// Everything between the head of a request and its answer, in the request's own scope.
    async fn answer(&self, request: Request, route: Option<&Route>, context: &RequestContext) -> Response {
        let refusal = match self.admit(&request, route, context) {
            Ok(None) => match self.handle(request, route).await {
                Ok(response) => return response,
                Err(problem) => problem,
            },
            Ok(Some(response)) => return response,
            Err(problem) => problem,
        };
        let mut response = refusal.into_answer();
        if refusal_closes(response.status()) {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if let (StatusCode::METHOD_NOT_ALLOWED, Some(route)) = (response.status(), route) {
            response.headers_mut().insert(header::ALLOW, route.allow.clone());
        }
        response
    }

    /// Whether a request may go on, by its head alone. Some are answered by it.
    fn admit(
        &self,
        request: &Request,
        route: Option<&Route>,
        context: &RequestContext,
    ) -> Result<Option<Response>, Problem> {
        read::check_head(request, &self.options)?;
        if let Some(preflight) = self.cors.preflight(request, route) {
            return Ok(Some(preflight));
        }
        let own = route.and_then(|route| route.own);
        if !own.is_some_and(Own::always)
            && let Some(address) = context.remote
        {
            context::count(self.limits.address(address, route.is_some_and(|route| route.guarded)))?;
        }
        let route = route.ok_or_else(|| Problem::not_found("There is nothing at this path"))?;
        match route.operation(request.method()) {
            Some(operation) => accept::check(request.headers(), operation).map(|()| None),
            None if request.method() == Method::OPTIONS => {
                let options = Response::builder().status(StatusCode::NO_CONTENT);
                Ok(Some(options.header(header::ALLOW, route.allow.clone()).finish()))
            }
            None => Err(Problem::method_not_allowed()),
        }
    }

    async fn handle(&self, mut request: Request, route: Option<&Route>) -> Result<Response, Problem> {
        if let Some(own) = route.and_then(|route| route.own) {
            return Ok(self.own.answer(own).await);
        }
        let bytes_max = route.and_then(|route| route.body_bytes_max).unwrap_or(self.options.body_bytes_max);
        let taken = read::take(&mut request, bytes_max, &self.options).await?;
        let limit = route.and_then(|route| route.timeout);
        let _slot = match limit {
            Some(_) => self.gate.enter_long()?,
            None => self.gate.enter().await?,
        };
        if !taken.body.is_empty() {
            request.set_body(Body::from_bytes(taken.body.clone()));
        }
        if let Some(verifier) = &self.verifier {
            request.set_data(verifier.clone());
        }
        let method = request.method().clone();
        let asked = Asked { routes: &self.routes, route, method: &method, body: &taken.body };
        let limit = limit.unwrap_or(self.options.request_timeout);
        let handled = AssertUnwindSafe(self.inner.call(request)).catch_unwind();
        match tokio::time::timeout(limit, handled).await {
            Ok(Ok(Ok(response))) if is_answer(&response) => Ok(response),
            Ok(Ok(Ok(response))) => Err(Problem::of_status(response.status())),
            Ok(Ok(Err(error))) => Err(asked.problem(&error)),
            Ok(Err(panic)) => Err(Problem::internal(format!("panic: {}", message(&*panic)))),
            Err(_) => {
                tracing::warn!(http.request.limit_s = limit.as_secs(), "a request took too long");
                Err(Problem::unavailable("The request took too long", Duration::from_secs(1)))
            }
        }
    }

    /// Runs a request in its scope, and in a span of its own where spans are made.
    async fn scoped(
        &self,
        request: Request,
        route: Option<&Route>,
        method: usize,
        context: &mut RequestContext,
    ) -> (Response, Seen) {
        let limits = Arc::clone(&self.limits);
        let span = self.span(&request, route, method, context);
        let work = context.clone().scope(limits, self.answer(request, route, context));
        let (response, seen) = trace::scope(span.clone(), work).await;
        let mut span = span.map_or_else(Span::none, trace::Current::into_span);
        span.set("http.response.status_code", i64::from(response.status().as_u16()));
        if response.status().is_server_error() {
            span.fail(response.status().canonical_reason().unwrap_or("error"));
        }
        (response, seen)
    }

    /// The request's span, with which the caller's trace goes on. Health, metrics and documents are asked too often to
    /// be told.
    fn span(
        &self,
        request: &Request,
        route: Option<&Route>,
        method: usize,
        context: &mut RequestContext,
    ) -> Option<trace::Current> {
        if !self.tracer.is_on() || route.is_some_and(|route| route.own.is_some()) {
            return None;
        }
        let method = measures::label(method);
        let pattern = route.map(|route| route.pattern.as_str());
        let name = pattern.map_or_else(|| trace::Name::from(method), |pattern| (method, pattern).into());
        let mut span = self.tracer.resume(Kind::Server, name, context.traceparent.as_deref());
        if span.is_recorded() {
            span.set("http.request.method", method);
            if let Some(pattern) = pattern {
                span.set("http.route", pattern);
            }
            span.set("url.path", request.uri().path());
            span.set("url.scheme", if self.options.tls.is_some() { "https" } else { "http" });
            span.set("correlation.id", context.correlation_id);
        }
        context.traceparent = span.traceparent();
        span.into_current()
    }
}

impl Endpoint for Edge {
    type Output = Response;

    async fn call(&self, mut request: Request) -> poem::Result<Response> {
        let started = Instant::now();
        let _in_flight = self.measures.begin();
        strip_prefix(&mut request);
        let route = self.routes.find(request.uri().path());
        let method = measures::place(request.method());
        let mut context = RequestContext::of_request(&request);
        context.remote = client::address(request.headers(), context.remote, &self.options.trusted_proxies);
        let limit = route.and_then(|route| route.timeout).unwrap_or(self.options.request_timeout);
        context.deadline = Some(started + limit);
        let asker = Asker::of(&request);
        let uri = request.uri().clone();

        let (mut response, seen) = self.scoped(request, route, method, &mut context).await;

        if self.options.compression && !asker.head {
            response = compression::finish(response, asker.gzip).await;
        }
        headers::finish(&mut response, &asker, &context, seen.allowance, route, self.options.tls.is_some());
        self.cors.finish(response.headers_mut(), asker.origin.as_ref());
        let (status, took) = (response.status(), started.elapsed());
        self.measures.record(method, route.map(|route| route.index), status, took);
        let own = route.and_then(|route| route.own);
        if !own.is_some_and(Own::always) && self.log.wants(status) {
            let (service, method) = (self.service, measures::label(method));
            let route = route.map_or(measures::UNMATCHED, |route| route.pattern.as_str());
            log::Line { service, method, route, uri: &uri, status, took, context: &context, seen }.write();
        }
        Ok(response)
    }
}

impl OwnAnswers {
    async fn answer(&self, own: Own) -> Response {
        match own {
            Own::Ready => self.health.ready().await,
            Own::Live => self.health.live(),
            Own::Metrics => {
                Response::builder().content_type(telemetry::metrics::CONTENT_TYPE).body(telemetry::metrics::render())
            }
            Own::Docs => docs::page(&String::from_utf8_lossy(&self.document)),
            Own::Document => Response::builder().content_type("application/json").body(self.document.clone()),
        }
    }
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

/// Where a body was not read to its end the connection cannot be used again, and the client is told so.
fn refusal_closes(status: StatusCode) -> bool {
    [StatusCode::PAYLOAD_TOO_LARGE, StatusCode::REQUEST_TIMEOUT].contains(&status)
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
