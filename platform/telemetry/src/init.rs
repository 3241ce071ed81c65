//! One-time set-up of a process.

use std::time::Duration;

use anyhow::Context as _;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::trace::{self, Pipeline};
use crate::{links, logs};

/// The last flush ends after this.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

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
#[derive(Debug, Clone, Default)]
pub struct Options<'a> {
    /// Whose log it is: `service.name` of its lines.
    pub service: &'a str,
    /// Where spans go; without it nothing is built and no span is made.
    pub traces: Option<Collector>,
    /// Where people look at a trace: an address with `{trace_id}` in it.
    pub trace_url: Option<String>,
    /// The look of the log.
    pub format: Format,
    /// Which events are logged, as in `RUST_LOG`: `info,sqlx=warn`.
    pub filter: &'a str,
}

/// Who takes spans. The rest is `OTEL_*`: protocol, headers, sampler, resource, batches.
#[derive(Debug, Clone)]
pub struct Collector {
    /// Its address, over OTLP; Jaeger's old one stands for it too.
    pub endpoint: String,
    /// Whether the process is one role: then `OTEL_SERVICE_NAME` is that role's name.
    pub alone: bool,
}

/// Dropping it flushes what is queued for the collector, for two seconds at most.
#[derive(Debug)]
#[must_use = "dropping the guard ends the tracing of the process"]
pub struct Guard {
    pipeline: Option<&'static Pipeline>,
}

impl Guard {
    /// Sends what is queued for the collector now, and waits for that as long as at the end of the process.
    pub fn flush(&self) {
        if let Some(pipeline) = self.pipeline {
            pipeline.flush(FLUSH_TIMEOUT);
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.flush();
    }
}

/// Sets the process up: logs on standard error, spans to the collector where one is named.
///
/// Call it once, before any part of the process asks for a [`Tracer`](trace::Tracer).
///
/// # Errors
/// A filter or an endpoint that cannot be read, or a second call.
pub fn init(options: Options<'_>) -> anyhow::Result<Guard> {
    let filter = EnvFilter::try_new(options.filter)
        .with_context(|| format!("{:?} is not a log filter such as info,sqlx=warn", options.filter))?;
    let pipeline = options.traces.as_ref().map(trace::setup).transpose()?.flatten();
    tracing_subscriber::registry()
        .with(logs::reloadable(filter, options.filter))
        .with(logs::Lines::new(options.service, options.format))
        .try_init()
        .context("logging was set up before")?;
    if let Some(pipeline) = pipeline {
        trace::enable(pipeline);
    }
    if let Some(template) = options.trace_url {
        links::set_template(template);
    }
    Ok(Guard { pipeline })
}
