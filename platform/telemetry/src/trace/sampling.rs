//! Which traces are recorded: decided once, at their beginning.

use opentelemetry::trace::{SpanKind, TraceId};
use opentelemetry_sdk::trace::{Config, SamplingDecision, ShouldSample};

use super::SpanRef;

/// `OTEL_TRACES_SAMPLER` and `OTEL_TRACES_SAMPLER_ARG`, as the SDK reads them: all traces unless they say otherwise.
#[derive(Debug)]
pub(super) struct Sampling {
    sampler: Box<dyn ShouldSample>,
    /// What was decided before stands.
    parent_based: bool,
}

impl Sampling {
    pub(super) fn of_environment() -> Self {
        let named = std::env::var("OTEL_TRACES_SAMPLER").ok().filter(|name| !name.is_empty());
        let known = |name: &str| ["always_on", "always_off", "traceidratio"].contains(&name);
        Self { sampler: Config::default().sampler, parent_based: !named.is_some_and(|name| known(&name)) }
    }

    #[cfg(test)]
    pub(super) fn by(sampler: opentelemetry_sdk::trace::Sampler) -> Self {
        Self { sampler: Box::new(sampler), parent_based: true }
    }

    /// Whether a span below `parent` is recorded, or one that begins this trace.
    pub(super) fn records(&self, parent: Option<SpanRef>, trace_id: TraceId) -> bool {
        match parent {
            Some(parent) if self.parent_based => parent.sampled,
            // All samplers of the SDK look at the trace's id alone.
            _ => {
                let result = self.sampler.should_sample(None, trace_id, "", &SpanKind::Internal, &[], &[]);
                result.decision == SamplingDecision::RecordAndSample
            }
        }
    }
}
