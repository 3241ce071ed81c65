//! Rows of the event table in the binary form of PostgreSQL's COPY
//! (<https://www.postgresql.org/docs/current/sql-copy.html#SQL-COPY-FILE-FORMATS>).

use super::cloud::Exported;
use crate::restore::OLDEST;
use chrono::{DateTime, Utc};

/// What takes them.
pub(super) const COPY_IN: &str = "COPY events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata, \
     position, transaction_id, recorded_at) FROM STDIN (FORMAT binary)";

const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
const END: [u8; 2] = (-1_i16).to_be_bytes();
const COLUMNS: i16 = 10;
/// 2000-01-01 in Unix time.
const EPOCH_S: i64 = 946_684_800;

/// Rows on their way.
pub(super) struct Rows(Vec<u8>);

impl Rows {
    pub(super) fn new() -> Self {
        Self(HEADER.to_vec())
    }

    /// Adds a row at a place.
    pub(super) fn add(&mut self, event: &Exported, position: i64) {
        self.0.extend_from_slice(&COLUMNS.to_be_bytes());
        self.field(event.aggregate_type.as_bytes());
        self.field(event.aggregate_id.as_bytes());
        self.field(&event.sequence.to_be_bytes());
        self.field(event.event_type.as_bytes());
        self.field(event.event_version.as_bytes());
        self.field(event.payload.as_bytes());
        self.field(event.metadata.as_bytes());
        self.field(&position.to_be_bytes());
        self.field(&OLDEST.to_be_bytes());
        self.field(&micros(event.recorded_at).to_be_bytes());
    }

    fn field(&mut self, value: &[u8]) {
        // A row of more than PostgreSQL's gigabyte is refused there.
        let len = i32::try_from(value.len()).unwrap_or(i32::MAX);
        self.0.extend_from_slice(&len.to_be_bytes());
        self.0.extend_from_slice(value);
    }

    /// There are no more.
    pub(super) fn end(&mut self) {
        self.0.extend_from_slice(&END);
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// What there is so far; then there is nothing.
    pub(super) fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.0)
    }
}

fn micros(at: DateTime<Utc>) -> i64 {
    at.timestamp_micros() - EPOCH_S * 1_000_000
}
