//! A service's HTTP server.

use std::io;
use std::time::Duration;

use poem::endpoint::make;
use poem::http::uri::Scheme;
use poem::listener::Acceptor;
use poem::web::{LocalAddr, RemoteAddr};
use poem::{EndpointExt, IntoEndpoint, Response, Route, Server};
use poem_openapi::OpenApi;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::auth::TokenVerifier;
use crate::docs;
use crate::edge::Edge;
use crate::health::Health;
use crate::routes::Routes;
use crate::EdgeOptions;

/// Requests in flight at shutdown have this long to end.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);
/// After an accept that failed (no file descriptors, say) the next one waits this long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// The routes beside the API's own.
const OWN_ROUTES: [&str; 6] = ["/health", "/health/live", "/health/ready", "/metrics", "/docs", "/openapi.json"];

/// A service's HTTP side: its API, at the root and under `/api/v1`, and beside it `/docs` (Swagger UI), `/openapi.json`,
/// `/health`, `/health/live`, `/health/ready` and `/metrics`.
pub struct App {
    service: &'static str,
    routes: Route,
    document: String,
    health: Health,
    verifier: Option<TokenVerifier>,
    timeouts: Vec<(String, Duration)>,
    body_limits: Vec<(String, usize)>,
    guarded: Vec<String>,
    options: EdgeOptions,
}

impl App {
    /// The app of a service, named as callers know it: `order-service`.
    pub fn new<T: OpenApi + 'static>(service: &'static str, title: &str, api: T) -> Self {
        let api = docs::service(api, title);
        let document = api.spec();
        Self {
            service,
            routes: Route::new().nest("/", api),
            document,
            health: Health::new(service),
            verifier: None,
            timeouts: Vec::new(),
            body_limits: Vec::new(),
            guarded: Vec::new(),
            options: EdgeOptions::default(),
        }
    }

    /// What [`crate::auth::Bearer`] and its siblings check tokens with.
    #[must_use]
    pub fn verifier(mut self, verifier: TokenVerifier) -> Self {
        self.verifier = Some(verifier);
        self
    }

    /// Something the service cannot work without; `/health` and `/health/ready` name it when it fails or takes longer
    /// than a second. Its error goes to the log alone.
    #[must_use]
    pub fn check<F, Fut>(mut self, name: &'static str, check: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        self.health.add(name, check);
        self
    }

    /// Another time limit than 30 s for the handlers of a pattern such as `/orders/{id}`: for long polls.
    #[must_use]
    pub fn timeout(mut self, pattern: &str, timeout: Duration) -> Self {
        self.timeouts.push((pattern.to_owned(), timeout));
        self
    }

    /// Another limit than [`EdgeOptions::body_bytes_max`] for the bodies of a pattern: for imports.
    #[must_use]
    pub fn body_limit(mut self, pattern: &str, bytes_max: usize) -> Self {
        self.body_limits.push((pattern.to_owned(), bytes_max));
        self
    }

    /// A pattern such as `/login` whose requests are limited by [`RateLimits::sign_in`](crate::RateLimits::sign_in).
    #[must_use]
    pub fn guarded(mut self, pattern: &str) -> Self {
        self.guarded.push(pattern.to_owned());
        self
    }

    /// Other limits and manners than the default ones.
    #[must_use]
    pub fn options(mut self, options: EdgeOptions) -> Self {
        self.options = options;
        self
    }

    /// The OpenAPI document, as JSON.
    pub fn openapi(&self) -> &str {
        &self.document
    }
}

impl IntoEndpoint for App {
    type Endpoint = Edge;

    /// # Panics
    /// Where a time limit was set for a pattern that the API does not have: an error of the program.
    fn into_endpoint(self) -> Edge {
        let parsed = serde_json::from_str::<Value>(&self.document).unwrap_or_default();
        let mut routes = Routes::new(parsed, &OWN_ROUTES);
        for (pattern, timeout) in &self.timeouts {
            assert!(routes.set_timeout(pattern, *timeout), "there is no route {pattern}");
        }
        let (live, ready, health) = (self.health.clone(), self.health.clone(), self.health);
        let document = self.document.clone();
        let inner = self
            .routes
            .at("/health", poem::get(make(move |_| ready_of(health.clone()))))
            .at("/health/live", poem::get(make(move |_| std::future::ready(live.live()))))
            .at("/health/ready", poem::get(make(move |_| ready_of(ready.clone()))))
            .at("/metrics", poem::get(make(|_| async { metrics() })))
            .at("/openapi.json", poem::get(make(move |_| std::future::ready(json(&document)))))
            .at("/docs", poem::get(make(move |_| std::future::ready(docs::page(&self.document)))));
        Edge::new(self.service, routes, inner.map_to_response().boxed(), self.verifier)
    }
}

async fn ready_of(health: Health) -> Response {
    health.ready().await
}

fn json(document: &str) -> Response {
    Response::builder().content_type("application/json").body(document.to_owned())
}

fn metrics() -> Response {
    Response::builder().content_type(telemetry::metrics::CONTENT_TYPE).body(telemetry::metrics::render())
}

/// Serves `app` until `shutdown`; requests then in flight have five seconds to end.
///
/// # Errors
/// The listener has no address.
pub async fn serve(listener: TcpListener, app: App, shutdown: CancellationToken) -> io::Result<()> {
    let (service, options) = (app.service, app.options.clone());
    serve_endpoint(service, listener, app, &options, shutdown).await
}

/// Serves what is no [`App`], such as a gateway, with the same care for connections: their number, their headers, TLS.
///
/// # Errors
/// The listener has no address.
pub async fn serve_endpoint<E>(
    service: &str,
    listener: TcpListener,
    endpoint: E,
    _options: &EdgeOptions,
    shutdown: CancellationToken,
) -> io::Result<()>
where
    E: IntoEndpoint,
    E::Endpoint: 'static,
{
    let acceptor = NoDelay { address: LocalAddr(listener.local_addr()?.into()), listener };
    Server::new_with_acceptor(acceptor)
        .name(service)
        .run_with_graceful_shutdown(endpoint, shutdown.cancelled_owned(), Some(SHUTDOWN_TIMEOUT))
        .await
}

/// Accepts with `TCP_NODELAY`, and never gives up: the framework asks again at once after an error, as fast as it can.
struct NoDelay {
    address: LocalAddr,
    listener: TcpListener,
}

impl Acceptor for NoDelay {
    type Io = TcpStream;

    fn local_addr(&self) -> Vec<LocalAddr> {
        vec![self.address.clone()]
    }

    async fn accept(&mut self) -> io::Result<(TcpStream, LocalAddr, RemoteAddr, Scheme)> {
        loop {
            match self.listener.accept().await {
                Ok((stream, remote)) => {
                    // Refused only where the peer is gone already; then reading finds out.
                    let _ = stream.set_nodelay(true);
                    return Ok((stream, self.address.clone(), RemoteAddr(remote.into()), Scheme::HTTP));
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
