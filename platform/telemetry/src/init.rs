//! One-time set-up of a process.

use std::time::Duration;

use anyhow::Context as _;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt};

use crate::endpoint::otlp_endpoint;
use crate::propagation;

/// Spans that wait for the collector; more are dropped.
const QUEUE_SPANS_MAX: usize = 8_192;
/// Spans sent at once.
const BATCH_SPANS_MAX: usize = 512;
/// One call to the collector ends after this.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(3);
/// The last flush ends after this.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);

/// How log lines look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a line, for machines.
    #[default]
    Json,
    /// Coloured text, for people.
    Pretty,
}

/// What [`init`] sets up.
#[derive(Debug, Clone)]
pub struct Options<'a> {
    /// `service.name` of the spans.
    pub service: &'a str,
    /// The collector (see [`otlp_endpoint`]); without one, no exporter is built and no span is recorded.
    pub otlp_endpoint: Option<String>,
    /// The look of the log.
    pub format: Format,
    /// Which events are logged and which spans recorded, as in `RUST_LOG`: `info,sqlx=warn`.
    pub filter: &'a str,
}

/// Keeps the exporter alive; dropping it flushes what is queued, for two seconds at most.
#[derive(Debug)]
#[must_use = "dropping the guard ends the tracing of the process"]
pub struct Guard {
    provider: Option<SdkTracerProvider>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(provider) = self.provider.take() {
            // A collector that is away at the end of the process is nobody's trouble.
            let _ = provider.shutdown_with_timeout(SHUTDOWN_TIMEOUT);
        }
    }
}

/// Sets the process up: logs on standard error, spans to the collector where one is named.
///
/// Call it once, and inside the async runtime where a collector is named.
///
/// # Errors
/// A filter or an endpoint that cannot be read, or a second call.
pub fn init(options: Options<'_>) -> anyhow::Result<Guard> {
    let filter = EnvFilter::try_new(options.filter)
        .with_context(|| format!("{:?} is not a log filter such as info,sqlx=warn", options.filter))?;
    let provider = options.otlp_endpoint.as_deref().map(|to| provider(options.service, to)).transpose()?;
    let spans = provider.as_ref().map(|provider| {
        tracing_opentelemetry::layer()
            .with_tracer(provider.tracer("sagashop"))
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_filter(filter_fn(|of| !of_the_exporter(of.target())))
    });
    tracing_subscriber::registry()
        .with(filter)
        .with(spans)
        .with(lines(options.format))
        .try_init()
        .context("logging was set up before")?;
    if provider.is_some() {
        propagation::enable();
    }
    Ok(Guard { provider })
}

/// What the exporter itself is made of: its spans, exported, would beget spans for ever.
fn of_the_exporter(target: &str) -> bool {
    ["h2", "hyper", "tonic", "tower", "opentelemetry"].iter().any(|library| target.starts_with(library))
}

fn lines<S>(format: Format) -> Box<dyn Layer<S> + Send + Sync>
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a>,
{
    match format {
        Format::Json => fmt::layer()
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(true)
            .with_writer(std::io::stderr)
            .boxed(),
        Format::Pretty => fmt::layer().with_ansi(colours()).with_writer(std::io::stderr).boxed(),
    }
}

/// Colours on a terminal only, and never against `NO_COLOR`.
fn colours() -> bool {
    use std::io::IsTerminal;
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

fn provider(service: &str, endpoint: &str) -> anyhow::Result<SdkTracerProvider> {
    let endpoint = otlp_endpoint(endpoint);
    let exporter = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(&endpoint)
        .with_timeout(EXPORT_TIMEOUT)
        .build()
        .with_context(|| format!("cannot send spans to {endpoint}"))?;
    let batches = BatchConfigBuilder::default()
        .with_max_queue_size(QUEUE_SPANS_MAX)
        .with_max_export_batch_size(BATCH_SPANS_MAX)
        .build();
    Ok(SdkTracerProvider::builder()
        .with_span_processor(BatchSpanProcessor::builder(exporter).with_batch_config(batches).build())
        .with_resource(Resource::builder().with_service_name(service.to_owned()).build())
        .build())
}
