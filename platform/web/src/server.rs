//! A service's HTTP side, and its server.

use std::time::Duration;

use bytes::Bytes;
use poem::endpoint::BoxEndpoint;
use poem::{EndpointExt, IntoEndpoint, Response};
use poem_openapi::OpenApi;
use serde_json::Value;

use crate::admin::ProcessApi;
use crate::auth::TokenVerifier;
use crate::edge::{Edge, OwnAnswers};
use crate::health::Health;
use crate::routes::Routes;
use crate::{EdgeOptions, docs};

mod connection;
mod files;
mod listen;
mod process;
mod tls;
mod watched;

pub(crate) use files::File;
pub use listen::{serve, serve_endpoint};
pub(crate) use tls::Tls;
pub(crate) use watched::{InFlight, Watched};

/// A service's HTTP side: its API, at the root and under `/api/v1`, and beside it `/docs` (Swagger UI), `/openapi.json`,
/// `/health`, `/health/live`, `/health/ready` and `/metrics`.
pub struct App {
    service: &'static str,
    api: BoxEndpoint<'static, Response>,
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
        Self::without_accounts(service, title, (api, ProcessApi))
    }

    /// The app of a service that knows no access tokens, and so no administrators.
    pub fn without_accounts<T: OpenApi + 'static>(service: &'static str, title: &str, api: T) -> Self {
        let api = docs::service(api, title);
        let document = docs::completed(&api.spec());
        Self {
            service,
            api: api.map_to_response().boxed(),
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
    /// Where something was set for a pattern that the API does not have: an error of the program.
    fn into_endpoint(self) -> Edge {
        let mut routes = Routes::new(serde_json::from_str::<Value>(&self.document).unwrap_or_default());
        for (pattern, timeout) in self.timeouts {
            routes.of_pattern(&pattern).timeout = Some(timeout);
        }
        for (pattern, bytes_max) in self.body_limits {
            routes.of_pattern(&pattern).body_bytes_max = Some(bytes_max);
        }
        for pattern in self.guarded {
            routes.of_pattern(&pattern).guarded = true;
        }
        let own = OwnAnswers { health: self.health, document: Bytes::from(self.document) };
        Edge::new(self.service, routes, self.api, own, self.verifier, self.options)
    }
}

#[cfg(test)]
mod tests;
