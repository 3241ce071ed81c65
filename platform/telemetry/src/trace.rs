//! Spans: what happened, where, as part of which trace.
//!
//! Spans are made directly, not by way of `tracing`: one that is not wanted costs a branch, a batch can begin, link and
//! end many at once, and a span can have the id that its message implies. A [`Tracer`] belongs to a role, so that the
//! roles of one process show as services of their own.
//!
//! What a span says is written as OTLP at once, and goes over the wire as it was written.

mod at;
mod exporter;
mod otlp;
mod pending;
mod pipeline;
mod sampling;
mod scope;
mod setup;
mod span;
mod tracer;
mod value;
mod wire;

pub use at::SpanRef;
pub(crate) use pipeline::{DROPPED, EXPORTED, Pipeline};
pub use scope::{Current, child, current, current_span, scope, traceparent};
pub(crate) use setup::setup;
pub use span::{Kind, Span};
pub(crate) use tracer::enable;
pub use tracer::{Tracer, records_spans};
pub use value::{Name, Value};

#[cfg(test)]
mod tests;
