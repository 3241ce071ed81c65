//! What crosses the broker: CloudEvents 1.0 in Kafka's binary mode.
//! <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/kafka-protocol-binding.md>

use std::collections::BTreeMap;

use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use telemetry::logs::Ids;
use uuid::Uuid;

pub use broker::REPLAY;
use broker::Record;
use event_store::RecordedEvent;

/// The header with the version of the data's form, where that is not the first.
const VERSION: &str = "ce_dataversion";

/// A message on its way out, before the relay gives it the envelope of the event it came from.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// The topic.
    pub topic: &'static str,
    /// What decides its partition.
    pub key: String,
    /// The published type's name, `order_created`.
    pub message_type: &'static str,
    /// The command's own id for a command (deterministic); `None` derives one from the event.
    pub id: Option<Uuid>,
    /// The version of the data's form.
    pub version: u32,
    /// The JSON data.
    pub data: Vec<u8>,
}

impl Outgoing {
    /// A message of this type and data.
    ///
    /// # Panics
    /// If `data` cannot be written as JSON: published types are plain structures that can.
    pub fn new(
        topic: &'static str,
        key: impl ToString,
        message_type: &'static str,
        data: &impl serde::Serialize,
    ) -> Self {
        Self {
            topic,
            key: key.to_string(),
            message_type,
            id: None,
            version: 1,
            data: serde_json::to_vec(data).expect("published messages are plain JSON structures"),
        }
    }

    /// Says that the data is of a later form than the first.
    #[must_use]
    pub fn of_version(mut self, version: u32) -> Self {
        self.version = version;
        self
    }

    /// Gives the message an id of its own.
    #[must_use]
    pub fn with_id(mut self, id: Uuid) -> Self {
        self.id = Some(id);
        self
    }
}

/// A message as a consumer sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// `ce_id`.
    pub id: Uuid,
    /// `ce_type`, the published type's name.
    pub message_type: String,
    /// `ce_source`, the service that published it.
    pub source: String,
    /// `ce_time`.
    pub time: DateTime<Utc>,
    /// The record's key.
    pub key: String,
    /// The whole story's id.
    pub correlation_id: Uuid,
    /// The event it was made from.
    pub causation_id: Uuid,
    /// W3C trace context.
    pub traceparent: Option<String>,
    /// The version of the data's form.
    pub version: u32,
    /// The JSON data.
    pub data: Bytes,
}

/// The replay that a record belongs to, if it was published again.
pub(crate) fn replay_of(record: &Record) -> Option<&[u8]> {
    record.headers.get(REPLAY).map(Bytes::as_ref)
}

/// A record that is not a message of ours and never will be.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A header that must be there is not.
    #[error("header {0} is missing")]
    MissingHeader(&'static str),
    /// A header's value is not of its form.
    #[error("header {name} is malformed: {value:?}")]
    BadHeader {
        /// The header.
        name: &'static str,
        /// Its value, shortened.
        value: String,
    },
    /// Nobody here knows the type: a newer publisher, or a foreign one. Never skipped.
    #[error("messages of type {0:?} are not known here")]
    UnknownType(String),
    /// A newer program published it: stop until this one is as new.
    #[error("{message_type} is of version {version}, and this program knows it up to version {known}")]
    UnknownVersion {
        /// Its type.
        message_type: String,
        /// The version of its form.
        version: u32,
        /// The latest that is known.
        known: u32,
    },
    /// The data is not what its type promises.
    #[error("the data of {message_type} cannot be read: {error}")]
    BadData {
        /// The type that the envelope names.
        message_type: String,
        /// What the decoder said.
        error: String,
    },
}

/// The record of the `index`-th message made from `event` by `source`.
pub fn to_record(event: &RecordedEvent, index: usize, source: &str, outgoing: Outgoing) -> Record {
    let id = outgoing.id.unwrap_or_else(|| derived_id(event.metadata.event_id, index));
    let mut headers = BTreeMap::new();
    let mut set = |name: &str, value: String| headers.insert(name.to_owned(), Bytes::from(value));
    set("ce_specversion", "1.0".to_owned());
    set("ce_id", id.to_string());
    set("ce_type", outgoing.message_type.to_owned());
    set("ce_source", source.to_owned());
    set("ce_time", event.recorded_at.to_rfc3339_opts(SecondsFormat::Micros, true));
    set("content-type", "application/json".to_owned());
    if outgoing.version != 1 {
        set(VERSION, outgoing.version.to_string());
    }
    set("ce_correlationid", event.metadata.correlation_id.to_string());
    set("ce_causationid", event.metadata.event_id.to_string());
    set("ce_sequence", event.sequence.to_string());
    set("ce_subject", event.aggregate_id.clone());
    if let Some(traceparent) = &event.metadata.traceparent {
        set("traceparent", traceparent.clone());
    }
    Record {
        key: outgoing.key,
        headers,
        value: Bytes::from(outgoing.data),
        timestamp_ms: event.recorded_at.timestamp_millis(),
    }
}

/// The first message of an event carries the event's own id, each further one an id derived from it.
pub fn derived_id(event_id: Uuid, index: usize) -> Uuid {
    if index == 0 { event_id } else { Uuid::new_v5(&event_id, &index.to_be_bytes()) }
}

impl Message {
    /// Reads a record's envelope.
    pub fn from_record(record: &Record) -> Result<Self, Error> {
        let text = |name: &'static str| -> Result<&str, Error> {
            let bytes = record.headers.get(name).ok_or(Error::MissingHeader(name))?;
            std::str::from_utf8(bytes).map_err(|_| bad(name, &String::from_utf8_lossy(bytes)))
        };
        let id = |name: &'static str| -> Result<Uuid, Error> {
            let value = text(name)?;
            Uuid::parse_str(value).map_err(|_| bad(name, value))
        };
        let time = text("ce_time")?;
        let version = match record.headers.contains_key(VERSION) {
            true => text(VERSION)?.parse().map_err(|_| bad(VERSION, text(VERSION).unwrap_or_default()))?,
            false => 1,
        };
        Ok(Self {
            id: id("ce_id")?,
            message_type: text("ce_type")?.to_owned(),
            source: text("ce_source")?.to_owned(),
            time: DateTime::parse_from_rfc3339(time).map_err(|_| bad("ce_time", time))?.with_timezone(&Utc),
            key: record.key.clone(),
            correlation_id: id("ce_correlationid")?,
            causation_id: id("ce_causationid")?,
            traceparent: record.headers.get("traceparent").and_then(|v| String::from_utf8(v.to_vec()).ok()),
            version,
            data: record.value.clone(),
        })
    }

    /// What lines of the log about a record have in common, as far as it can be read.
    pub(crate) fn ids_of(record: &Record) -> Option<Ids> {
        let text = |name: &str| record.headers.get(name).and_then(|value| std::str::from_utf8(value).ok());
        let correlation = Uuid::parse_str(text("ce_correlationid")?).ok()?;
        Some(Ids::new(correlation, text("traceparent")))
    }

    /// What lines of the log about it have in common.
    pub fn ids(&self) -> Ids {
        Ids::new(self.correlation_id, self.traceparent.as_deref())
    }

    /// The data as the published type `T`.
    pub fn data<T: serde::de::DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_slice(&self.data).map_err(|error| self.bad_data(&error))
    }

    /// The error of data that parses but cannot be meant.
    pub fn bad_data(&self, error: &impl ToString) -> Error {
        Error::BadData { message_type: self.message_type.clone(), error: error.to_string() }
    }
}

fn bad(name: &'static str, value: &str) -> Error {
    Error::BadHeader { name, value: value.chars().take(80).collect() }
}
