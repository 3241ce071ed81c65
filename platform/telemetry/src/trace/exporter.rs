//! Sends spans to the collector, over OTLP.

mod grpc;
mod http;
mod retry;
mod settings;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use anyhow::Context as _;
use opentelemetry::KeyValue;
use opentelemetry_sdk::Resource;

use super::otlp::Origin;
use super::pending::Spans;
use super::pipeline::{DROPPED, EXPORTED};
use super::tracer::Role;
use crate::endpoint::Protocol;
use crate::metrics::IntCounter;
pub(crate) use settings::{Settings, Transport};

/// An `ExportTraceServiceRequest`, in two pieces: the second is the buffer in which the spans were written.
#[derive(Debug)]
struct Request {
    head: Vec<u8>,
    spans: Vec<u8>,
}

impl Request {
    fn len(&self) -> usize {
        self.head.len() + self.spans.len()
    }
}

/// An `ExportTraceServiceResponse`.
#[derive(Clone, PartialEq, prost::Message)]
struct Answer {
    #[prost(message, optional, tag = "1")]
    partial_success: Option<PartialSuccess>,
}

/// The collector did not take all of it.
#[derive(Clone, PartialEq, prost::Message)]
struct PartialSuccess {
    #[prost(int64, tag = "1")]
    rejected_spans: i64,
    #[prost(string, tag = "2")]
    error_message: String,
}

/// How requests get there.
enum Client {
    Grpc(grpc::Grpc),
    Http(http::Http),
}

impl Client {
    fn new(transport: &Transport) -> anyhow::Result<Self> {
        Ok(match transport.protocol {
            Protocol::Grpc => Self::Grpc(grpc::Grpc::new(transport)?),
            Protocol::Http => Self::Http(http::Http::new(transport)?),
        })
    }

    async fn send(&mut self, request: &Arc<Request>) -> Result<Answer, retry::Refusal> {
        match self {
            Self::Grpc(client) => client.send(Arc::clone(request)).await,
            Self::Http(client) => client.send(request).await,
        }
    }
}

pub(super) struct Exporter {
    settings: Settings,
    client: Client,
    /// One a role: a request has one resource.
    origins: Vec<(&'static str, Origin)>,
    exported: IntCounter,
    refused: IntCounter,
    away: bool,
}

impl Exporter {
    pub(super) fn new(settings: Settings) -> anyhow::Result<Self> {
        let transport = &settings.transport;
        let client = Client::new(transport).with_context(|| format!("cannot send spans to {}", transport.endpoint))?;
        let (exported, refused) = (EXPORTED.with(&[]), DROPPED.with(&["collector"]));
        Ok(Self { settings, client, origins: Vec::new(), exported, refused, away: false })
    }

    /// Sends a role's spans. What cannot be sent is lost, and counted. Returns the buffer, for the next ones.
    pub(super) async fn send(&mut self, role: &Role, spans: Spans) -> Option<Vec<u8>> {
        let Spans { bytes: spans, count } = spans;
        let count = count as u64;
        let request = Arc::new(Request { head: self.origin(role.name).head(spans.len()), spans });
        // Where the last ones were not taken these are tried once.
        let retries = if self.away { 0 } else { retry::RETRIES_MAX };
        let client = &mut self.client;
        match retry::deliver(self.settings.transport.timeout, retries, async || client.send(&request).await).await {
            Ok(answer) => self.taken(count, answer),
            Err(error) => self.lost(count, &error),
        }
        Arc::try_unwrap(request).ok().map(|request| request.spans)
    }

    fn taken(&mut self, count: u64, answer: Answer) {
        let partial = answer.partial_success.unwrap_or_default();
        let rejected = u64::try_from(partial.rejected_spans).unwrap_or(0).min(count);
        self.exported.inc_by(count - rejected);
        if rejected > 0 {
            self.lost(rejected, &partial.error_message);
        } else {
            self.away = false;
        }
    }

    fn lost(&mut self, count: u64, error: &str) {
        self.refused.inc_by(count);
        // Said once, until it is there again.
        if !std::mem::replace(&mut self.away, true) {
            tracing::warn!(error, "the trace collector does not take spans: they are dropped");
        }
    }

    fn origin(&mut self, role: &'static str) -> &Origin {
        let known = self.origins.iter().position(|(name, _)| *name == role);
        let place = known.unwrap_or_else(|| {
            self.origins.push((role, Origin::of(&resource(&self.settings, role), self.settings.version)));
            self.origins.len() - 1
        });
        &self.origins[place].1
    }
}

/// Who a role is: `OTEL_RESOURCE_ATTRIBUTES` and what is known here. `OTEL_SERVICE_NAME` is the name of a process that is
/// one role, and the shop's name where it is several.
fn resource(settings: &Settings, role: &'static str) -> Resource {
    let given = std::env::var("OTEL_SERVICE_NAME").ok().filter(|name| !name.is_empty());
    let name = match given {
        Some(name) if settings.alone => name,
        given => format!("{}-{role}", given.as_deref().unwrap_or("sagashop")),
    };
    Resource::builder()
        .with_attributes([
            KeyValue::new("service.name", name),
            KeyValue::new("service.namespace", "sagashop"),
            KeyValue::new("service.version", settings.version),
            KeyValue::new("service.instance.id", settings.instance.clone()),
        ])
        .build()
}
