//! The gateway: one origin for all services. Under `/api/v1` it passes requests on to the service that a path belongs
//! to; at `/docs` stands one Swagger UI over all their documents.
//!
//! On the roles' own ports, where it listens there, it passes everything on to that role as it is ([`Gateway::of`]).
//!
//! It knows no business and keeps nothing: which paths are whose, the OpenAPI documents say ([`Table`]); tokens, limits
//! and answers are the services' own. Bodies pass in both directions as they come.

mod forward;
mod headers;
pub(crate) mod measures;
mod pages;
mod pools;
mod routing;
mod watched;

pub use routing::{Conflict, Table};

use crate::ports::Role;
use forward::Forwarder;
use ipnet::IpNet;
use pages::Pages;
use poem::error::ResponseError;
use poem::http::{HeaderValue, Method, StatusCode, header};
use poem::{Body, Endpoint, FromRequest, Request, Response};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use telemetry::logs::{self, Ids};
use telemetry::{Kind, Span, Tracer, metrics, trace};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use web::{Problem, RequestContext};

/// What stands before every path of a service.
const PREFIX: &str = "/api/v1";
/// How callers and metrics know it.
const NAME: &str = "gateway";
/// How paths that no document names are counted: together.
const UNMATCHED: &str = "unmatched";

/// Where each role is reached: `http://host:port`.
pub type Upstreams = BTreeMap<Role, String>;

/// One origin for all services.
#[derive(Clone)]
pub struct Gateway {
    table: Arc<Table>,
    forwarder: Arc<Forwarder>,
    pages: Arc<Pages>,
    trusted_proxies: Arc<[IpNet]>,
    tracer: Tracer,
    /// Whose everything is, on a role's own port.
    only: Option<Role>,
    /// Whether it is about to end: then nobody should send it anything new.
    ends: Arc<AtomicBool>,
}

impl Gateway {
    /// The gateway to these services. Only what stands before it, if anything, is believed whom a request is from.
    ///
    /// # Errors
    /// Two services claim one path, or an address is none.
    pub fn new(upstreams: &Upstreams, trusted_proxies: Vec<IpNet>) -> anyhow::Result<Self> {
        let document = |role: &Role| Ok((*role, serde_json::from_str(&role.openapi())?));
        let documents = upstreams.keys().map(document).collect::<anyhow::Result<Vec<(Role, Value)>>>()?;
        Ok(Self {
            table: Arc::new(Table::of(&documents)?),
            forwarder: Arc::new(Forwarder::new(upstreams)?),
            pages: Arc::new(Pages::new(documents)),
            trusted_proxies: trusted_proxies.into(),
            tracer: Tracer::of(NAME),
            only: None,
            ends: Arc::default(),
        })
    }

    /// The same gateway for the port of one role: whatever is asked there is that role's, as it is. So many instances of
    /// a role share the one port that it is known by.
    pub fn of(&self, role: Role) -> Self {
        Self { only: Some(role), ..self.clone() }
    }

    /// The service behind a path of the gateway, and the pattern that the path has in its document.
    fn route(&self, path: &str) -> Option<(Role, &str)> {
        if let Some(role) = self.only {
            let of_role =
                self.table.find(path.strip_prefix(PREFIX).unwrap_or(path)).filter(|(owner, _)| *owner == role);
            return Some((role, of_role.and_then(|(_, pattern)| pattern).unwrap_or(UNMATCHED)));
        }
        let below = match path.strip_prefix(PREFIX) {
            Some(below) => below,
            // Whoever looks for the keys of tokens looks at the root.
            None if path.starts_with("/.well-known/") => path,
            None => return None,
        };
        self.table.find(below).map(|(role, pattern)| (role, pattern.unwrap_or(UNMATCHED)))
    }

    /// What is answered here.
    fn own(&self, request: &Request) -> Result<Response, Problem> {
        let path = request.uri().path();
        if !self.pages.knows(path) {
            return Err(Problem::not_found("There is nothing at this path"));
        }
        if ![Method::GET, Method::HEAD].contains(request.method()) {
            return Err(Problem::method_not_allowed());
        }
        Ok(match path {
            "/health" | "/health/live" | "/health/ready" => self.health(path),
            "/metrics" => Response::builder().content_type(metrics::CONTENT_TYPE).body(metrics::render()),
            _ => self.pages.find(path, request.headers()).unwrap_or_default(),
        })
    }

    fn health(&self, path: &str) -> Response {
        let (status, word) = match path != "/health/live" && self.ends.load(Ordering::Relaxed) {
            true => (StatusCode::SERVICE_UNAVAILABLE, "unhealthy"),
            false => (StatusCode::OK, "healthy"),
        };
        let body = format!(r#"{{"status":"{word}","service":"{NAME}","version":"{}"}}"#, web::VERSION);
        Response::builder().status(status).content_type("application/json").body(body)
    }

    /// Passes a request on, and the answer back.
    async fn pass(&self, role: Role, request: Request, context: &RequestContext) -> Result<Response, Problem> {
        if headers::is_devious(request.uri().path()) {
            return Err(Problem::bad_request("The path contains . or .. as a segment"));
        }
        let from = request.remote_addr().as_socket_addr().map(|address| address.ip().to_canonical());
        let is_trusted = from.is_some_and(|from| self.trusted_proxies.iter().any(|network| network.contains(&from)));
        let (parts, body) = request.into_parts();
        let mut onward = poem::http::Request::new(());
        *onward.method_mut() = parts.method;
        *onward.uri_mut() = parts.uri;
        *onward.headers_mut() = headers::onward(parts.headers, from, is_trusted);
        let trace = telemetry::traceparent().or_else(|| context.traceparent.clone());
        for (name, value) in [("traceparent", trace), ("x-correlation-id", Some(context.correlation_id.to_string()))] {
            if let Some(value) = value.and_then(|text| HeaderValue::from_str(&text).ok()) {
                onward.headers_mut().insert(name, value);
            }
        }
        let answered = self.forwarder.send(role, onward, body).await.map_err(|trouble| {
            measures::trouble(role, trouble.kind());
            tracing::warn!(upstream = role.name(), reason = trouble.to_string(), "a request was not passed on");
            trouble.problem(role)
        })?;
        let (parts, body) = answered.into_parts();
        let mut response = Response::builder().status(parts.status).body(Body::from(body));
        let leads_here = |path: &str| self.only.is_none() && self.table.find(path).is_some();
        *response.headers_mut() = headers::back(parts.headers, leads_here);
        Ok(response)
    }
}

impl Gateway {
    /// The span of a request that is passed on, with which the caller's trace goes on.
    fn span(
        &self,
        target: Option<Role>,
        method: &'static str,
        pattern: &str,
        context: &RequestContext,
    ) -> Option<trace::Current> {
        let target = target.filter(|_| self.tracer.is_on() && pattern != UNMATCHED)?;
        let name = (method, pattern);
        let mut span = self.tracer.resume(Kind::Server, name, context.traceparent.as_deref());
        if span.is_recorded() {
            span.set("http.request.method", method);
            span.set("http.route", pattern);
            span.set("correlation.id", context.correlation_id);
            span.set("sagashop.upstream", target.name());
        }
        span.into_current()
    }
}

impl Endpoint for Gateway {
    type Output = Response;

    async fn call(&self, request: Request) -> poem::Result<Response> {
        let started = Instant::now();
        let context = RequestContext::from_request_without_body(&request).await?;
        let (target, pattern) = match self.route(request.uri().path()) {
            Some((role, pattern)) => (Some(role), pattern),
            None => (None, self.pages.pattern(request.uri().path()).unwrap_or(UNMATCHED)),
        };
        let method = measures::bounded(request.method());
        let span = self.span(target, method, pattern, &context);
        let answering = async {
            match target {
                Some(role) => self.pass(role, request, &context).await,
                None => self.own(&request),
            }
        };
        let ids = Ids::new(context.correlation_id, context.traceparent.as_deref());
        let answered = logs::scope(ids, trace::scope(span.clone(), answering)).await;
        let mut response = answered.unwrap_or_else(|problem| refusal(problem, &context));
        let mut span = span.map_or_else(Span::none, trace::Current::into_span);
        span.set("http.response.status_code", i64::from(response.status().as_u16()));
        if response.status().is_server_error() {
            span.fail(response.status().canonical_reason().unwrap_or("error"));
        }
        measures::record(method, pattern, response.status(), started.elapsed());
        let headers = response.headers_mut();
        headers.entry(header::X_CONTENT_TYPE_OPTIONS).or_insert(HeaderValue::from_static("nosniff"));
        Ok(response)
    }
}

/// Serves the gateway until `shutdown`; requests in flight then have a little time to end.
///
/// # Errors
/// The listener has no address.
pub async fn serve(
    gateway: Gateway,
    listener: TcpListener,
    edge: web::EdgeOptions,
    shutdown: CancellationToken,
) -> std::io::Result<()> {
    let ends = Arc::clone(&gateway.ends);
    web::serve_endpoint(listener, gateway, edge, shutdown, move || ends.store(true, Ordering::Relaxed)).await
}

/// A problem of the gateway's own, with what identifies the request, as the services say it.
fn refusal(problem: Problem, context: &RequestContext) -> Response {
    let id = context.correlation_id.to_string();
    let request_id = context.request_id.as_deref().map_or_else(|| id.clone(), str::to_owned);
    let problem = problem
        .with("instance", format!("urn:uuid:{id}"))
        .with("trace_id", context.trace_id())
        .with("request_id", request_id)
        .with("correlation_id", id.clone());
    let mut response = problem.as_response();
    let headers = response.headers_mut();
    if problem.status_code() == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    for (name, value) in [("x-correlation-id", id), ("trace-id", context.trace_id())] {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    }
    response
}

#[cfg(test)]
mod tests;
