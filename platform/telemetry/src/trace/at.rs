//! Where a span stands, as W3C Trace Context has it. <https://www.w3.org/TR/trace-context/>

use opentelemetry::trace::{SpanId, TraceFlags, TraceId};

/// A span's place: its trace, itself, and whether it is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpanRef {
    pub(super) trace_id: TraceId,
    pub(super) span_id: SpanId,
    pub(super) sampled: bool,
    /// It came from another process, or may have.
    pub(super) remote: bool,
}

impl SpanRef {
    /// Reads a `traceparent`; `None` where it is none.
    pub fn parse(traceparent: &str) -> Option<Self> {
        let mut parts = traceparent.trim().split('-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        // Later versions may append parts; version 00 has exactly four, and ff is none.
        let version_fits = version.len() == 2 && version != "ff" && (version != "00" || parts.next().is_none());
        if !version_fits || !is_hex(trace, 32) || !is_hex(span, 16) || !is_hex(flags, 2) {
            return None;
        }
        let (trace_id, span_id) = (TraceId::from_hex(trace).ok()?, SpanId::from_hex(span).ok()?);
        let sampled = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?).is_sampled();
        let valid = trace_id != TraceId::INVALID && span_id != SpanId::INVALID;
        valid.then_some(Self { trace_id, span_id, sampled, remote: true })
    }

    /// As a `traceparent`.
    pub fn traceparent(&self) -> String {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = String::with_capacity(55);
        text.push_str("00-");
        let mut hex = |bytes: &[u8]| {
            for byte in bytes {
                text.push(char::from(DIGITS[usize::from(byte >> 4)]));
                text.push(char::from(DIGITS[usize::from(byte & 15)]));
            }
            text.push('-');
        };
        hex(&self.trace_id.to_bytes());
        hex(&self.span_id.to_bytes());
        text.push_str(if self.sampled { "01" } else { "00" });
        text
    }

    /// The trace's id, as 32 digits.
    pub fn trace_id(&self) -> String {
        self.trace_id.to_string()
    }

    /// Whether it is recorded.
    pub fn is_sampled(&self) -> bool {
        self.sampled
    }
}

/// Lower case only, as the standard has it.
fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn what_is_written_is_what_was_read() {
        let at = SpanRef::parse(PARENT).unwrap();
        assert_eq!(at.traceparent(), PARENT);
        assert_eq!(at.trace_id(), "0af7651916cd43dd8448eb211c80319c");
        assert!(at.is_sampled());
        let later = SpanRef::parse("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00-more").unwrap();
        assert!(!later.is_sampled());
    }

    #[test]
    fn what_is_no_traceparent_is_passed_over() {
        for wrong in [
            "",
            "00",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "00-zzf7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-+af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert!(SpanRef::parse(wrong).is_none(), "{wrong}");
        }
    }
}
