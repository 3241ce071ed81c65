//! HTTP and gRPC edges: problems, limits, authentication, servers.
//!
//! A service makes one [`App`] of its `poem_openapi` API and hands it to [`serve`]. All that every service owes its
//! callers is done here, once: limits on bodies and time, correlation ids, spans and metrics by route, and answers in
//! `application/problem+json` for whatever went wrong, the framework's own refusals included.
//!
//! * [`Problem`]: the error of every handler.
//! * [`RequestContext`]: who asked, in which trace; an extractor, and [`context()`] wherever a request is handled.
//! * [`auth`]: access tokens, and the extractors [`auth::Bearer`], [`auth::Admin`] and [`auth::OptionalBearer`].
//! * [`Amount`], [`Formed`], [`Line`], [`Text`], [`Timestamp`]: exact decimals, strings and moments in JSON.
//! * [`document`]: what an API's OpenAPI document says, without a service behind it.
//! * [`grpc`]: the gRPC server and client.
//! * [`idempotency`]: requests that are sent again take effect once.
//! * [`RetryBudget`]: how many calls to another service may be repeated.
//! * [`Rotation`]: connections shared out among the instances behind a name.
//! * [`WebhookKey`]: signed webhooks, both sides.

mod admin;
pub mod auth;
mod client;
mod context;
mod docs;
mod edge;
mod gate;
pub mod grpc;
mod health;
pub mod idempotency;
mod limits;
pub mod measures;
mod options;
mod problem;
mod refusal;
mod retries;
mod rotation;
mod routes;
mod server;
mod signature;
mod types;

pub use client::http_client;
pub use context::{RequestContext, context};
pub use docs::{document, document_without_accounts};
pub use edge::Edge;
pub use health::VERSION;
pub use idempotency::{Answered, Idempotency, IdempotencyKey, Ticket};
pub use limits::{Allowance, RateLimiter};
pub use options::{AccessLog, EdgeOptions, Rate, RateLimits, TlsFiles};
pub use problem::{FieldError, Problem};
pub use retries::RetryBudget;
pub use rotation::Rotation;
pub use server::{App, serve, serve_endpoint};
pub use signature::{SIGNATURE, SIGNATURE_TOLERANCE, SignatureError, WeakSecret, WebhookKey};
pub use types::{Amount, Form, Formed, Line, OptionalJson, Text, Timestamp};
