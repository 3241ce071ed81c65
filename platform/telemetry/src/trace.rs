//! Spans: what happened, where, as part of which trace.
//!
//! Spans are made directly, not by way of `tracing`: one that is not wanted costs a branch, a batch can begin, link and
//! end many at once, and a span can have the id that its message implies. A [`Tracer`] belongs to a role, so that the
//! roles of one process show as services of their own.

mod at;
mod exporter;
mod pipeline;
mod sampling;
mod scope;
mod setup;
mod span;
mod tracer;

pub use at::SpanRef;
pub use opentelemetry::Value;
pub(crate) use pipeline::{DROPPED, EXPORTED, Pipeline};
pub use scope::{Current, child, current, current_span, scope, traceparent};
pub(crate) use setup::setup;
pub use span::{Kind, Span};
pub(crate) use tracer::enable;
pub use tracer::{Tracer, records_spans};

#[cfg(test)]
mod tests;
