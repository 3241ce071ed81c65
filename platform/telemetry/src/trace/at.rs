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
        // Version, trace, span and flags, with a dash between any two.
        let (known, more) = traceparent.trim().as_bytes().split_at_checked(55)?;
        if [2, 35, 52].iter().any(|at| known[*at] != b'-') {
            return None;
        }
        let [version] = bytes(&known[..2])?;
        // Later versions may append parts; version 00 has exactly four, and ff is none.
        if version == 0xff || !(more.is_empty() || version > 0 && more[0] == b'-') {
            return None;
        }
        let trace_id = TraceId::from_bytes(bytes(&known[3..35])?);
        let span_id = SpanId::from_bytes(bytes(&known[36..52])?);
        let [flags] = bytes(&known[53..])?;
        let sampled = TraceFlags::new(flags).is_sampled();
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

/// What so many digits stand for: lower case only, as the standard has it.
fn bytes<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut read = [0; N];
    for (byte, pair) in read.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(read)
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
            "00-0af7651916cd43dd8448eb211c80319c_b7ad6b7169203331-01",
            "0g-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01more",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-ö1",
        ] {
            assert!(SpanRef::parse(wrong).is_none(), "{wrong}");
        }
    }
}
