//! Logs, traces and metrics.
//!
//! * [`init`] sets up the process once: [`logs`] on standard error and, where a collector is named, spans over OTLP.
//! * [`trace`] makes spans, and carries their traces across HTTP, gRPC, the event store and the broker (W3C Trace Context).
//! * [`metrics`] is the process-wide Prometheus registry.
//!
//! Nothing here ever waits for the collector: spans go into a bounded queue, and what does not fit is dropped.

mod endpoint;
mod init;
mod links;
pub mod logs;
pub mod metrics;
pub mod trace;

pub use endpoint::otlp_endpoint;
pub use init::{Collector, Format, Guard, Options, init};
pub use links::trace_url;
pub use trace::{Kind, Span, SpanRef, Tracer, traceparent};
