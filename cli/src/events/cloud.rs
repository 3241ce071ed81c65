//! An event as a line of an export: a CloudEvent in its JSON format
//! (<https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md>).
//!
//! Whatever stands in its row comes back byte for byte, but for its place among the others: that is the line's. So what
//! is imported elsewhere is exported as the same lines again.

use crate::audit::recorded;
use anyhow::{Context, bail, ensure};
use chrono::{DateTime, SecondsFormat, Utc};
use event_store::{Cursor, Metadata, RecordedEvent};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sqlx::Row;
use sqlx::postgres::PgRow;
use std::borrow::Cow;
use uuid::Uuid;

const SPEC_VERSION: &str = "1.0";
const CONTENT_TYPE: &str = "application/json";

/// A row of the event table, as an export keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Exported {
    pub(super) aggregate_type: String,
    pub(super) aggregate_id: String,
    pub(super) sequence: i64,
    pub(super) event_type: String,
    pub(super) event_version: String,
    pub(super) payload: String,
    pub(super) metadata: String,
    pub(super) recorded_at: DateTime<Utc>,
    /// Which event that is: by its metadata, or by its place if that says nothing.
    pub(super) event_id: Uuid,
}

/// Names as CloudEvents have them: lowercase letters, 20 at most.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    #[serde(borrow)]
    specversion: Cow<'a, str>,
    id: Uuid,
    #[serde(borrow)]
    source: Cow<'a, str>,
    #[serde(borrow)]
    r#type: Cow<'a, str>,
    /// `order/ID`.
    #[serde(borrow)]
    subject: Cow<'a, str>,
    /// When the database recorded it.
    #[serde(borrow)]
    time: Cow<'a, str>,
    #[serde(borrow)]
    datacontenttype: Cow<'a, str>,
    /// Its number in its stream.
    #[serde(borrow)]
    sequence: Cow<'a, str>,
    #[serde(borrow)]
    eventversion: Cow<'a, str>,
    correlationid: Uuid,
    causationid: Uuid,
    commandid: Uuid,
    #[serde(borrow)]
    actor: Cow<'a, str>,
    /// When its process made it.
    #[serde(borrow)]
    processtime: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    traceparent: Option<Cow<'a, str>>,
    /// The metadata's own text, where it is none that the above tells: a stock repository wrote it.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    metadata: Option<Cow<'a, str>>,
    /// The payload's own text, where that is no part of a line: it has line breaks.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    datatext: Option<Cow<'a, str>>,
    #[serde(borrow)]
    data: &'a RawValue,
}

impl Exported {
    /// A row whose columns are [`super::store::COLUMNS`], and where it stands.
    pub(super) fn of(row: &PgRow) -> anyhow::Result<(Self, Cursor)> {
        let event = recorded(row)?;
        let exported = Self {
            sequence: i64::try_from(event.sequence)?,
            event_id: event.metadata.event_id,
            metadata: row.try_get("metadata")?,
            aggregate_type: event.aggregate_type,
            aggregate_id: event.aggregate_id,
            event_type: event.event_type,
            event_version: event.event_version,
            payload: event.payload,
            recorded_at: event.recorded_at,
        };
        Ok((exported, event.cursor))
    }

    /// Its stream and number, for people.
    pub(super) fn place(&self) -> String {
        format!("{}/{}/{}", self.aggregate_type, self.aggregate_id, self.sequence)
    }

    /// Writes it as a line.
    pub(super) fn write(&self, source: &str, out: &mut Vec<u8>) -> anyhow::Result<()> {
        let metadata = Metadata::from_json(&self.metadata, || self.event_id, self.recorded_at);
        // A hash is of the text as it is.
        let is_told = metadata.prev_hash.is_none() && metadata.to_json() == self.metadata;
        let data: &RawValue = serde_json::from_str(&self.payload).with_context(|| self.place())?;
        // JSON has line breaks between its parts alone; around it, spaces would be lost.
        let is_line = data.get().len() == self.payload.len() && !self.payload.contains(['\n', '\r']);
        let compact: Box<RawValue>;
        let data = if is_line {
            data
        } else {
            let value: serde_json::Value = serde_json::from_str(&self.payload)?;
            compact = serde_json::value::to_raw_value(&value)?;
            &compact
        };
        let line = Line {
            specversion: SPEC_VERSION.into(),
            id: metadata.event_id,
            source: source.into(),
            r#type: self.event_type.as_str().into(),
            subject: format!("{}/{}", self.aggregate_type, self.aggregate_id).into(),
            time: time(self.recorded_at).into(),
            datacontenttype: CONTENT_TYPE.into(),
            sequence: self.sequence.to_string().into(),
            eventversion: self.event_version.as_str().into(),
            correlationid: metadata.correlation_id,
            causationid: metadata.causation_id,
            commandid: metadata.command_id,
            actor: metadata.actor.as_str().into(),
            processtime: time(metadata.recorded_at).into(),
            traceparent: metadata.traceparent.as_deref().map(Cow::Borrowed),
            metadata: (!is_told).then_some(self.metadata.as_str().into()),
            datatext: (!is_line).then_some(self.payload.as_str().into()),
            data,
        };
        serde_json::to_writer(&mut *out, &line)?;
        out.push(b'\n');
        Ok(())
    }

    /// Reads a line, which must be of this source.
    pub(super) fn read(line: &str, source: &str) -> anyhow::Result<Self> {
        let (exported, of) = Self::read_any(line)?;
        ensure!(of == source, "an event of {of}, where one of {source} was expected");
        Ok(exported)
    }

    /// Reads a line, and tells of which source it is.
    fn read_any(line: &str) -> anyhow::Result<(Self, String)> {
        let line: Line<'_> = serde_json::from_str(line).context("no line of an export")?;
        ensure!(line.specversion == SPEC_VERSION, "specversion is {}, and {SPEC_VERSION} is known", line.specversion);
        let source = line.source.into_owned();
        let Some((aggregate_type, aggregate_id)) = line.subject.split_once('/') else {
            bail!("subject is {}, and no TYPE/ID", line.subject)
        };
        let sequence = line.sequence.parse().ok().filter(|sequence| *sequence >= 1);
        let metadata = match line.metadata {
            Some(text) => text.into_owned(),
            None => Metadata {
                event_id: line.id,
                correlation_id: line.correlationid,
                causation_id: line.causationid,
                command_id: line.commandid,
                actor: line.actor.into_owned(),
                traceparent: line.traceparent.map(Cow::into_owned),
                recorded_at: moment("processtime", &line.processtime)?,
                prev_hash: None,
            }
            .to_json(),
        };
        let payload = match line.datatext {
            Some(text) => text.into_owned(),
            None => line.data.get().to_owned(),
        };
        let exported = Self {
            aggregate_type: aggregate_type.to_owned(),
            aggregate_id: aggregate_id.to_owned(),
            sequence: sequence.with_context(|| format!("sequence is {}, and no number from 1", line.sequence))?,
            event_type: line.r#type.into_owned(),
            event_version: line.eventversion.into_owned(),
            payload,
            metadata,
            recorded_at: moment("time", &line.time)?,
            event_id: line.id,
        };
        Ok((exported, source))
    }
}

/// The event of a line, as it was in its store; its place among the others is not told.
pub(crate) fn recorded_line(line: &str) -> anyhow::Result<RecordedEvent> {
    let (event, _) = Exported::read_any(line)?;
    Ok(RecordedEvent {
        metadata: Metadata::from_json(&event.metadata, || event.event_id, event.recorded_at),
        aggregate_type: event.aggregate_type,
        aggregate_id: event.aggregate_id,
        sequence: u64::try_from(event.sequence).unwrap_or_default(),
        event_type: event.event_type,
        event_version: event.event_version,
        payload: event.payload,
        cursor: Cursor::default(),
        recorded_at: event.recorded_at,
    })
}

fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Micros, true)
}

fn moment(name: &str, text: &str) -> anyhow::Result<DateTime<Utc>> {
    let at = DateTime::parse_from_rfc3339(text).with_context(|| format!("{name} is {text}, and no time"))?;
    Ok(at.with_timezone(&Utc))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn event(payload: &str, metadata: &str) -> Exported {
        let recorded_at = DateTime::from_timestamp_micros(1_700_000_000_123_456).expect("a time");
        Exported {
            aggregate_type: "order".to_owned(),
            aggregate_id: "a/b".to_owned(),
            sequence: 3,
            event_type: "order_placed".to_owned(),
            event_version: "1".to_owned(),
            payload: payload.to_owned(),
            metadata: metadata.to_owned(),
            recorded_at,
            event_id: Metadata::from_json(metadata, || Uuid::from_u128(7), recorded_at).event_id,
        }
    }

    fn ours() -> Metadata {
        Metadata {
            event_id: Uuid::from_u128(1),
            correlation_id: Uuid::from_u128(2),
            causation_id: Uuid::from_u128(3),
            command_id: Uuid::from_u128(4),
            actor: "user:\"5\"".to_owned(),
            traceparent: None,
            recorded_at: DateTime::from_timestamp_micros(1_700_000_000_000_001).expect("a time"),
            prev_hash: None,
        }
    }

    fn line(event: &Exported) -> String {
        let mut line = Vec::new();
        event.write("order", &mut line).expect("written");
        String::from_utf8(line).expect("text")
    }

    #[test]
    fn what_a_line_looks_like() {
        insta::assert_snapshot!(line(&event(r#"{"order_placed": {"n":1.50}}"#, &ours().to_json())), @r#"{"specversion":"1.0","id":"00000000-0000-0000-0000-000000000001","source":"order","type":"order_placed","subject":"order/a/b","time":"2023-11-14T22:13:20.123456Z","datacontenttype":"application/json","sequence":"3","eventversion":"1","correlationid":"00000000-0000-0000-0000-000000000002","causationid":"00000000-0000-0000-0000-000000000003","commandid":"00000000-0000-0000-0000-000000000004","actor":"user:\"5\"","processtime":"2023-11-14T22:13:20.000001Z","data":{"order_placed": {"n":1.50}}}"#);
    }

    #[test]
    fn what_is_no_line_of_this_store_is_refused() {
        let good = line(&event("{}", &ours().to_json()));
        let refused = |line: &str| format!("{:#}", Exported::read(line, "order").expect_err("refused"));
        assert!(refused(&good.replace("\"source\":\"order\"", "\"source\":\"payment\"")).contains("payment"));
        assert!(refused(&good.replace("\"sequence\":\"3\"", "\"sequence\":\"0\"")).contains("sequence is 0"));
        assert!(refused(&good.replace("2023-11-14T22:13:20.123456Z", "yesterday")).contains("time is yesterday"));
        assert!(refused(&good[..good.len() / 2]).contains("no line of an export"));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

        /// Whoever wrote the row, and however: it is the same afterwards, and so is its line.
        #[test]
        fn a_line_read_is_the_row_that_was_written(
            text in ".*",
            indent in proptest::bool::ANY,
            space in "[ \n\t]{0,3}",
            is_ours in proptest::bool::ANY,
            trace in proptest::option::of("[0-9a-f]{2}-[0-9a-f]{32}"),
        ) {
            let value = serde_json::json!({ "said": { "text": text, "list": [1, null, true] } });
            let payload = if indent { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) };
            let payload = format!("{space}{}{space}", payload.expect("JSON"));
            let metadata = if is_ours {
                Metadata { actor: text, traceparent: trace, ..ours() }.to_json()
            } else {
                let stock: HashMap<&str, String> = HashMap::from([("who", text), ("why", "because".to_owned())]);
                serde_json::to_string(&stock).expect("JSON")
            };
            let written = event(&payload, &metadata);
            let line = line(&written);
            prop_assert_eq!(line.lines().count(), 1);
            let read = Exported::read(line.trim_end(), "order").expect("read");
            prop_assert_eq!(&read, &written);
            let mut again = Vec::new();
            read.write("order", &mut again).expect("written");
            prop_assert_eq!(again, line.into_bytes());
        }
    }
}
