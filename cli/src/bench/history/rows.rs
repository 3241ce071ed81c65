//! Rows on their way into the tables of all databases, in PostgreSQL's binary form.

use crate::ports::Role;
use broker::{PostgresBroker, Record, TopicPartition, partition_of};
use chrono::{DateTime, Utc};
use event_schemas::topics;
use event_store::RecordedEvent;
use psp::protocol::Kind;
use runtime::projection::Cell;
use std::collections::HashMap;
use uuid::Uuid;

/// What every copy begins with: signature, flags, and no extension of the header.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
const TRAILER: &[u8] = &(-1_i16).to_be_bytes();

/// A table that is filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Table {
    Events,
    Inbox,
    PersonKeys,
    Ledger,
    TopicRecords,
}

impl Table {
    /// Its name and those of its columns that are given.
    pub(super) fn columns(self) -> (&'static str, &'static [&'static str]) {
        match self {
            // Transaction id and position are the database's own.
            Self::Events => (
                "events",
                &[
                    "aggregate_type",
                    "aggregate_id",
                    "sequence",
                    "event_type",
                    "event_version",
                    "payload",
                    "metadata",
                    "recorded_at",
                ],
            ),
            Self::Inbox => ("inbox", &["consumer", "command_id", "handled_at"]),
            Self::PersonKeys => ("person_keys", &["user_id", "wrapped_key", "master_id", "created_at"]),
            Self::Ledger => (
                "provider_ledger",
                &[
                    "key",
                    "kind",
                    "payment_id",
                    "amount_minor",
                    "currency",
                    "outcome",
                    "transaction_id",
                    "reason",
                    "created_at",
                    "source",
                ],
            ),
            Self::TopicRecords => {
                ("topic_records", &["partition_id", "\"offset\"", "timestamp_ms", "key", "headers", "value"])
            }
        }
    }
}

/// Where a table is: with a role, or the topic log.
pub(super) type Place = (Option<Role>, Table);

/// `bytea`.
struct Bytes<'a>(&'a [u8]);

impl Cell for Bytes<'_> {
    fn write(&self, out: &mut Vec<u8>) -> bool {
        out.extend_from_slice(self.0);
        true
    }
}

/// The rows of one table.
struct Rows {
    bytes: Vec<u8>,
    columns: usize,
}

impl Rows {
    fn of(table: Table) -> Self {
        Self { bytes: HEADER.to_vec(), columns: table.columns().1.len() }
    }

    fn begin(&mut self) -> Row<'_> {
        self.bytes.extend_from_slice(&i16::try_from(self.columns).unwrap_or(0).to_be_bytes());
        Row(&mut self.bytes)
    }
}

struct Row<'a>(&'a mut Vec<u8>);

impl Row<'_> {
    fn put(&mut self, cell: impl Cell) -> &mut Self {
        let at = self.0.len();
        self.0.extend_from_slice(&(-1_i32).to_be_bytes());
        if cell.write(self.0) {
            let length = i32::try_from(self.0.len() - at - 4).unwrap_or(i32::MAX);
            self.0[at..at + 4].copy_from_slice(&length.to_be_bytes());
        }
        self
    }
}

/// An entry of the provider's book.
pub(super) struct Entry<'a> {
    pub(super) key: &'a str,
    pub(super) kind: Kind,
    pub(super) payment_id: Uuid,
    pub(super) amount: kernel::Money,
    /// The transaction, or why there is none.
    pub(super) outcome: Result<&'a str, &'a str>,
    pub(super) source: &'a str,
}

/// What is to be written next.
#[derive(Default)]
pub(super) struct Batch {
    rows: HashMap<Place, Rows>,
    /// The offset that each partition's next record gets.
    ends: HashMap<TopicPartition, i64>,
    /// The numbers of partitions in the topic log.
    numbers: HashMap<TopicPartition, i32>,
    partitions: u16,
    events: u64,
    records: u64,
}

impl Batch {
    /// Nothing yet, for a topic log whose partitions have these numbers.
    pub(super) fn new(numbers: HashMap<TopicPartition, i32>, partitions: u16) -> Self {
        Self { numbers, partitions, ..Self::default() }
    }

    /// So many bytes.
    pub(super) fn size(&self) -> usize {
        self.rows.values().map(|rows| rows.bytes.len()).sum()
    }

    /// Takes all rows out, each table's as one copy.
    pub(super) fn take(&mut self) -> Vec<(Place, Vec<u8>)> {
        let mut taken: Vec<_> =
            self.rows.drain().map(|(place, rows)| (place, [&rows.bytes, TRAILER].concat())).collect();
        taken.sort_by_key(|(place, _)| *place);
        taken
    }

    /// Events and records so far, and where each partition ends.
    pub(super) fn ends(self) -> (u64, u64, HashMap<TopicPartition, i64>) {
        (self.events, self.records, self.ends)
    }

    fn row(&mut self, role: Option<Role>, table: Table) -> Row<'_> {
        self.rows.entry((role, table)).or_insert_with(|| Rows::of(table)).begin()
    }

    pub(super) fn event(&mut self, role: Role, event: &RecordedEvent) {
        self.events += 1;
        let metadata = event.metadata.to_json();
        self.row(Some(role), Table::Events)
            .put(&*event.aggregate_type)
            .put(&*event.aggregate_id)
            .put(i64::try_from(event.sequence).unwrap_or(i64::MAX))
            .put(&*event.event_type)
            .put(&*event.event_version)
            .put(&*event.payload)
            .put(&*metadata)
            .put(event.recorded_at);
    }

    pub(super) fn handled(&mut self, role: Role, consumer: &str, command: Uuid, at: DateTime<Utc>) {
        self.row(Some(role), Table::Inbox).put(consumer).put(command).put(at);
    }

    pub(super) fn person_key(&mut self, user: Uuid, (wrapped, master): &(Vec<u8>, String), at: DateTime<Utc>) {
        self.row(Some(Role::User), Table::PersonKeys).put(user).put(Bytes(wrapped)).put(&**master).put(at);
    }

    pub(super) fn booked(&mut self, entry: &Entry<'_>, at: DateTime<Utc>) {
        let (kind, outcome) = match (entry.kind, entry.outcome) {
            (Kind::Charge, Ok(_)) => ("charge", "captured"),
            (Kind::Charge, Err(_)) => ("charge", "declined"),
            (Kind::Refund, Ok(_)) => ("refund", "refunded"),
            (Kind::Refund, Err(_)) => ("refund", "refused"),
        };
        self.row(Some(Role::Payment), Table::Ledger)
            .put(entry.key)
            .put(kind)
            .put(entry.payment_id)
            .put(entry.amount.minor)
            .put(entry.amount.currency.code())
            .put(outcome)
            .put(entry.outcome.ok())
            .put(entry.outcome.err())
            .put(at)
            .put(entry.source);
    }

    /// A record at the end of its partition.
    pub(super) fn record(&mut self, topic: &'static str, record: &Record) {
        self.records += 1;
        let place = TopicPartition::new(topic, partition_of(&record.key, i32::from(self.partitions)));
        let number = self.numbers.get(&place).copied().unwrap_or(0);
        let end = self.ends.entry(place).or_default();
        let offset = *end;
        *end += 1;
        let headers = PostgresBroker::stored_headers(&record.headers);
        self.row(None, Table::TopicRecords)
            .put(number)
            .put(offset)
            .put(record.timestamp_ms)
            .put(Bytes(record.key.as_bytes()))
            .put(Bytes(&headers))
            .put(Bytes(&record.value));
    }
}

/// All partitions of all topics.
pub(super) fn places(partitions: u16) -> impl Iterator<Item = TopicPartition> {
    topics::ALL
        .into_iter()
        .flat_map(move |topic| (0..i32::from(partitions)).map(move |n| TopicPartition::new(topic, n)))
}
