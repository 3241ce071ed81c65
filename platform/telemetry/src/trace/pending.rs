//! Spans that have ended and wait for their sending, as they go over the wire.

use std::time::SystemTime;

use super::otlp;
use super::span::Open;

/// Buffers that a role keeps for more spans.
const SPARE_MAX: usize = 4;

/// What goes in one request.
#[derive(Debug, Default)]
pub(super) struct Spans {
    pub(super) bytes: Vec<u8>,
    pub(super) count: usize,
}

/// A role's spans. What fits into one request is one buffer.
#[derive(Debug, Default)]
pub(super) struct Pending {
    filling: Spans,
    full: Vec<Spans>,
    spare: Vec<Vec<u8>>,
}

impl Pending {
    /// Adds a span; `spans_max` go into one request.
    pub(super) fn push(&mut self, open: &Open, ended: SystemTime, spans_max: usize) {
        otlp::span(&mut self.filling.bytes, open, ended);
        self.filling.count += 1;
        if self.filling.count >= spans_max || self.filling.bytes.len() >= otlp::REQUEST_BYTES_MAX {
            let empty = self.empty();
            self.full.push(std::mem::replace(&mut self.filling, empty));
        }
    }

    /// Takes what waits, a request's worth each.
    pub(super) fn take(&mut self) -> Vec<Spans> {
        let mut taken = std::mem::take(&mut self.full);
        if self.filling.count > 0 {
            let empty = self.empty();
            taken.push(std::mem::replace(&mut self.filling, empty));
        }
        taken
    }

    /// Gives a buffer back.
    pub(super) fn reuse(&mut self, mut bytes: Vec<u8>) {
        if self.spare.len() < SPARE_MAX {
            bytes.clear();
            self.spare.push(bytes);
        }
    }

    fn empty(&mut self) -> Spans {
        Spans { bytes: self.spare.pop().unwrap_or_default(), count: 0 }
    }
}
