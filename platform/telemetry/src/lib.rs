//! Logs, traces and metrics.
//!
//! * [`init`] sets up the process once: JSON lines on standard error and, where a collector is named, spans over OTLP.
//! * [`traceparent`] and [`set_parent`] carry a trace across HTTP, gRPC, the event store and the broker (W3C Trace Context).
//! * [`metrics`] is the process-wide Prometheus registry.
//!
//! Nothing here ever waits for the collector: spans go into a bounded queue, and what does not fit is dropped.

mod endpoint;
mod init;
pub mod metrics;
mod propagation;

pub use endpoint::otlp_endpoint;
pub use init::{Format, Guard, Options, init};
pub use propagation::{records_spans, set_parent, traceparent};
