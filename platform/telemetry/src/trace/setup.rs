//! From the environment to the pipeline.

use super::pipeline::{Pipeline, Settings};
use super::{exporter, tracer};
use crate::endpoint;
use crate::init::Collector;

/// The pipeline to this collector, unless the environment turns it off.
///
/// # Errors
/// The collector's address or protocol makes no sense.
pub(crate) fn setup(collector: &Collector) -> anyhow::Result<Option<&'static Pipeline>> {
    if turned_off() {
        return Ok(None);
    }
    let protocol = endpoint::protocol()?;
    let exporter = exporter::Settings {
        transport: exporter::Transport::of_environment(&collector.endpoint, protocol)?,
        alone: collector.alone,
        instance: tracer::instance(),
        version: env!("CARGO_PKG_VERSION"),
    };
    Ok(Some(Pipeline::start(Settings::of_environment(exporter))?))
}

/// `OTEL_SDK_DISABLED`, or an exporter of traces that is none.
fn turned_off() -> bool {
    let is = |name: &str, value: &str| std::env::var(name).is_ok_and(|text| text.trim().eq_ignore_ascii_case(value));
    is("OTEL_SDK_DISABLED", "true") || is("OTEL_TRACES_EXPORTER", "none")
}
