//! The gateway: one origin for all services. Under `/api/v1` it passes requests on to the service that a path belongs
//! to; at `/docs` stands one Swagger UI over all their documents.
//!
//! It knows no business and keeps nothing: which paths are whose, the OpenAPI documents say ([`Table`]); tokens, limits
//! and answers are the services' own. Bodies pass in both directions as they come.

mod forward;
mod headers;
mod measures;
mod pages;
mod routing;
mod watched;

pub use routing::{Conflict, Table};

use crate::ports::Role;
use forward::Forwarder;
use ipnet::IpNet;
use measures::Measures;
use pages::Pages;
use poem::error::ResponseError;
use poem::http::{HeaderValue, Method, StatusCode, header};
use poem::{Body, Endpoint, FromRequest, Request, Response};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use telemetry::metrics;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, field};
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
pub struct Gateway {
    table: Table,
    forwarder: Forwarder,
    pages: Pages,
    measures: Measures,
    trusted_proxies: Vec<IpNet>,
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
            table: Table::of(&documents)?,
            forwarder: Forwarder::new(upstreams)?,
            pages: Pages::new(documents),
            measures: Measures::new(),
            trusted_proxies,
            ends: Arc::default(),
        })
    }

    /// The service behind a path of the gateway, and the pattern that the path has in its document.
    fn route(&self, path: &str) -> Option<(Role, &str)> {
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
        let body = format!(r#"{{"status":"{word}","service":"{NAME}"}}"#);
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
            self.measures.trouble(role, trouble.kind());
            tracing::warn!(upstream = role.name(), reason = trouble.to_string(), "a request was not passed on");
            trouble.problem(role)
        })?;
        let (parts, body) = answered.into_parts();
        let mut response = Response::builder().status(parts.status).body(Body::from(body));
        *response.headers_mut() = headers::back(parts.headers, |path| self.table.find(path).is_some());
        Ok(response)
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
        let span = tracing::info_span!(
            "http.request",
            otel.name = format!("{method} {pattern}"),
            otel.kind = "server",
            service = NAME,
            http.request.method = method,
            http.route = pattern,
            http.response.status_code = field::Empty,
            request.correlation_id = %context.correlation_id,
        );
        telemetry::set_parent(&span, context.traceparent.as_deref());
        let answering = async {
            match target {
                Some(role) => self.pass(role, request, &context).await,
                None => self.own(&request),
            }
        };
        let answered = answering.instrument(span.clone()).await;
        let mut response = answered.unwrap_or_else(|problem| refusal(problem, &context));
        span.record("http.response.status_code", response.status().as_u16());
        self.measures.record(method, pattern, response.status(), started.elapsed());
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
    if let Ok(id) = HeaderValue::from_str(&id) {
        headers.insert("x-correlation-id", id);
    }
    response
}

#[cfg(test)]
mod tests;
