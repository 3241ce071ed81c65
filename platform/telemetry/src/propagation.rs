//! W3C Trace Context: `traceparent` in and out of spans.

use std::sync::atomic::{AtomicBool, Ordering};

use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// Whether spans are recorded at all: without a collector both functions below cost one load.
static ENABLED: AtomicBool = AtomicBool::new(false);

pub(crate) fn enable() {
    ENABLED.store(true, Ordering::Relaxed);
}

/// Whether spans go anywhere. Where they do not, what is asked for often need not make any.
pub fn records_spans() -> bool {
    ENABLED.load(Ordering::Relaxed)
}

/// The `traceparent` of the current span; `None` where no collector is configured.
pub fn traceparent() -> Option<String> {
    if !ENABLED.load(Ordering::Relaxed) {
        return None;
    }
    let context = Span::current().context();
    let span = context.span();
    let of = span.span_context();
    of.is_valid().then(|| format!("00-{}-{}-{:02x}", of.trace_id(), of.span_id(), of.trace_flags().to_u8()))
}

/// Makes `span` a child of the one that a `traceparent` names. One that is missing or malformed changes nothing.
///
/// Call it before the span is entered for the first time.
pub fn set_parent(span: &Span, traceparent: Option<&str>) {
    if !ENABLED.load(Ordering::Relaxed) {
        return;
    }
    if let Some(parent) = traceparent.and_then(parse) {
        // Refused where the span was entered before or is filtered out; then it starts its own trace.
        let _ = span.set_parent(opentelemetry::Context::new().with_remote_span_context(parent));
    }
}

fn parse(traceparent: &str) -> Option<SpanContext> {
    let mut parts = traceparent.trim().split('-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    // Later versions may append parts; version 00 has exactly four, and ff is none.
    let version_fits = version.len() == 2 && version != "ff" && (version != "00" || parts.next().is_none());
    if !version_fits || trace.len() != 32 || span.len() != 16 || flags.len() != 2 {
        return None;
    }
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?);
    let (trace, span) = (TraceId::from_hex(trace).ok()?, SpanId::from_hex(span).ok()?);
    let context = SpanContext::new(trace, span, flags, true, TraceState::NONE);
    context.is_valid().then_some(context)
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::TracerProvider as _;
    use opentelemetry_sdk::trace::SdkTracerProvider;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_span_goes_on_with_the_trace_it_was_given() {
        let provider = SdkTracerProvider::builder().build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        enable();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            assert_eq!(traceparent(), None);
            let span = tracing::info_span!("child");
            set_parent(&span, Some(PARENT));
            let _entered = span.enter();
            let own = traceparent().expect("a recorded span has a traceparent");
            assert!(own.starts_with("00-0af7651916cd43dd8448eb211c80319c-") && own.ends_with("-01"), "{own}");
            assert_ne!(own, PARENT);
        });
    }

    #[test]
    fn what_is_no_traceparent_is_passed_over() {
        assert!(parse(PARENT).is_some());
        for wrong in [
            "",
            "00",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "00-zzf7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert!(parse(wrong).is_none(), "{wrong}");
        }
    }
}
