//! Sends spans to the collector, over OTLP.

use std::time::Duration;

use anyhow::Context as _;
use opentelemetry::KeyValue;
use opentelemetry_otlp::{ExporterBuildError, Protocol, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};

use super::pipeline::{DROPPED, EXPORTED};
use super::tracer::Role;
use crate::metrics::IntCounter;

/// One call to the collector ends after this, unless `OTEL_EXPORTER_OTLP_TIMEOUT` says otherwise.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Where spans go, and in whose name.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// The collector's address.
    pub(crate) endpoint: String,
    pub(crate) protocol: Protocol,
    /// Whether the process is one role: then `OTEL_SERVICE_NAME` is its name.
    pub(crate) alone: bool,
    /// `service.instance.id`.
    pub(crate) instance: String,
    /// `service.version`.
    pub(crate) version: &'static str,
}

/// One exporter a role: a batch has one resource.
pub(super) struct Exporters {
    settings: Settings,
    /// By the role's number.
    of_roles: Vec<Option<SpanExporter>>,
    exported: IntCounter,
    refused: IntCounter,
    away: bool,
}

impl Exporters {
    pub(super) fn new(settings: Settings) -> anyhow::Result<Self> {
        let endpoint = &settings.endpoint;
        exporter(&settings).with_context(|| format!("cannot send spans to {endpoint}"))?;
        let (exported, refused) = (EXPORTED.with(&[]), DROPPED.with(&["collector"]));
        Ok(Self { settings, of_roles: Vec::new(), exported, refused, away: false })
    }

    /// Sends each role's spans. What cannot be sent is lost, and counted.
    pub(super) async fn send(&mut self, batch: Vec<(&'static Role, SpanData)>) {
        let mut by_role: Vec<(&'static Role, Vec<SpanData>)> = Vec::new();
        for (role, span) in batch {
            match by_role.iter_mut().find(|(of, _)| std::ptr::eq(*of, role)) {
                Some((_, spans)) => spans.push(span),
                None => by_role.push((role, vec![span])),
            }
        }
        for (role, spans) in by_role {
            let count = spans.len() as u64;
            let sent = match self.of(role) {
                Ok(exporter) => exporter.export(spans).await.map_err(|error| error.to_string()),
                Err(error) => Err(error.to_string()),
            };
            match sent {
                Ok(()) => {
                    self.exported.inc_by(count);
                    self.away = false;
                }
                Err(error) => {
                    self.refused.inc_by(count);
                    // Said once, until it is there again.
                    if !std::mem::replace(&mut self.away, true) {
                        tracing::warn!(%error, "the trace collector does not take spans: they are dropped");
                    }
                }
            }
        }
    }

    fn of(&mut self, role: &'static Role) -> Result<&SpanExporter, ExporterBuildError> {
        if self.of_roles.len() <= role.number {
            self.of_roles.resize_with(role.number + 1, || None);
        }
        match &mut self.of_roles[role.number] {
            Some(made) => Ok(made),
            none => {
                let mut made = exporter(&self.settings)?;
                made.set_resource(&resource(&self.settings, role.name));
                Ok(none.insert(made))
            }
        }
    }
}

/// Headers, time limit and certificates are `OTEL_EXPORTER_OTLP_*`, as the exporter reads them.
fn exporter(settings: &Settings) -> Result<SpanExporter, ExporterBuildError> {
    let timeout = ["OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"].map(std::env::var_os);
    let usual = timeout.iter().all(Option::is_none).then_some(TIMEOUT);
    match settings.protocol {
        Protocol::Grpc => {
            let builder = SpanExporter::builder().with_tonic().with_endpoint(&settings.endpoint);
            match usual {
                Some(timeout) => builder.with_timeout(timeout).build(),
                None => builder.build(),
            }
        }
        protocol => {
            // TLS needs a provider, chosen once a process; an error means that it was chosen before.
            let _ = rustls::crypto::ring::default_provider().install_default();
            let builder = SpanExporter::builder().with_http().with_protocol(protocol).with_endpoint(&settings.endpoint);
            match usual {
                Some(timeout) => builder.with_timeout(timeout).build(),
                None => builder.build(),
            }
        }
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
