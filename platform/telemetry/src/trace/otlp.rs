//! Spans as the messages of OTLP: `opentelemetry/proto/trace/v1/trace.proto`, and those that it names. The numbers are
//! those of its fields. <https://github.com/open-telemetry/opentelemetry-proto>
//!
//! What a span says is written the moment that it is said, and a span that ends goes behind those that wait: nothing is
//! kept, copied or converted in between.

use std::time::SystemTime;

use uuid::fmt::Hyphenated;

use super::SpanRef;
use super::span::{Kind, Open};
use super::value::{Name, Value};
use super::wire::{bytes, delimited, delimited_len, delimited_of, fixed64, fixed64_of, varint, varint_len, varint_of};

/// Longer texts end here: they belong into a log.
const TEXT_BYTES_MAX: usize = 4_096;
/// Of the whole, in bytes: what a collector takes at once is 4 MiB, as a rule.
pub(super) const REQUEST_BYTES_MAX: usize = 1 << 20;

/// `Span.flags`: whether the parent is another process's is known, and it is.
const REMOTE_IS_KNOWN: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;
const TRACE_ID_BYTES: usize = 16;
const SPAN_ID_BYTES: usize = 8;
/// Field 16 is the first whose number takes a second byte.
const FLAGS_OF_SPAN: [u8; 2] = [0x85, 0x01];
const FLAGS_OF_LINK: u8 = 6 << 3 | 5;
const ERROR: u64 = 2;

/// `Span.name`.
pub(super) fn name(out: &mut Vec<u8>, name: &Name<'_>) {
    let object = name.object.map_or(0, |object| 1 + object.len());
    delimited(out, delimited_of(5), name.verb.len() + object);
    out.extend_from_slice(name.verb.as_bytes());
    if let Some(object) = name.object {
        out.push(b' ');
        out.extend_from_slice(object.as_bytes());
    }
}

/// `Span.attributes`.
pub(super) fn attribute(out: &mut Vec<u8>, name: &str, value: &Value<'_>) {
    key_value(out, delimited_of(9), name, value);
}

/// `Span.links`.
pub(super) fn link(out: &mut Vec<u8>, to: &SpanRef) {
    const LEN: usize = delimited_len(TRACE_ID_BYTES) + delimited_len(SPAN_ID_BYTES) + 1 + size_of::<u32>();
    delimited(out, delimited_of(13), LEN);
    bytes(out, delimited_of(1), &to.trace_id.to_bytes());
    bytes(out, delimited_of(2), &to.span_id.to_bytes());
    out.push(FLAGS_OF_LINK);
    out.extend_from_slice(&flags(to.sampled, to.remote).to_le_bytes());
}

/// `ScopeSpans.spans`: a span that has ended.
pub(super) fn span(out: &mut Vec<u8>, open: &Open, ended: SystemTime) {
    let status = open.failed.as_deref().map(cut);
    let status_len = status.map(|message| delimited_len(message.len()) + 2);
    let parent_len = if open.parent.is_some() { delimited_len(SPAN_ID_BYTES) } else { 0 };
    let len = delimited_len(TRACE_ID_BYTES)
        + delimited_len(SPAN_ID_BYTES)
        + parent_len
        + open.body.len()
        + 2
        + 2 * (1 + size_of::<u64>())
        + status_len.map_or(0, delimited_len)
        + FLAGS_OF_SPAN.len()
        + size_of::<u32>();
    out.reserve(delimited_len(len));
    delimited(out, delimited_of(2), len);
    let end = out.len() + len;
    bytes(out, delimited_of(1), &open.at.trace_id.to_bytes());
    bytes(out, delimited_of(2), &open.at.span_id.to_bytes());
    if let Some(parent) = open.parent {
        bytes(out, delimited_of(4), &parent.span_id.to_bytes());
    }
    out.extend_from_slice(&open.body);
    out.extend_from_slice(&[varint_of(6), kind(open.kind)]);
    fixed64(out, fixed64_of(7), unix_nanos(open.start));
    // A clock that was set back must not end a span before it began.
    fixed64(out, fixed64_of(8), unix_nanos(ended.max(open.start)));
    if let (Some(message), Some(len)) = (status, status_len) {
        delimited(out, delimited_of(15), len);
        bytes(out, delimited_of(2), message.as_bytes());
        out.push(varint_of(3));
        varint(out, ERROR);
    }
    out.extend_from_slice(&FLAGS_OF_SPAN);
    let remote = open.parent.is_some_and(|parent| parent.remote);
    out.extend_from_slice(&flags(open.at.sampled, remote).to_le_bytes());
    debug_assert_eq!(out.len(), end, "a span is as long as it says");
}

/// What stands before a role's spans in each of its requests: who it is, and what made them. It is written once.
#[derive(Debug)]
pub(super) struct Origin {
    /// `ResourceSpans.resource` and `schema_url`.
    resource: Vec<u8>,
    /// `ScopeSpans.scope`.
    scope: Vec<u8>,
}

impl Origin {
    pub(super) fn of(resource: &opentelemetry_sdk::Resource, version: &str) -> Self {
        let mut attributes = Vec::new();
        for (key, value) in resource {
            key_value(&mut attributes, delimited_of(1), key.as_str(), &said(value));
        }
        let mut of_resource = Vec::new();
        bytes(&mut of_resource, delimited_of(1), &attributes);
        if let Some(schema) = resource.schema_url() {
            bytes(&mut of_resource, delimited_of(3), schema.as_bytes());
        }
        let mut name = Vec::new();
        bytes(&mut name, delimited_of(1), b"sagashop");
        bytes(&mut name, delimited_of(2), version.as_bytes());
        let mut scope = Vec::new();
        bytes(&mut scope, delimited_of(1), &name);
        Self { resource: of_resource, scope }
    }

    /// The beginning of an `ExportTraceServiceRequest` with so many bytes of spans, which follow.
    pub(super) fn head(&self, spans_len: usize) -> Vec<u8> {
        let scope_spans_len = self.scope.len() + spans_len;
        let resource_spans_len = self.resource.len() + delimited_len(scope_spans_len);
        let mut out = Vec::with_capacity(self.resource.len() + self.scope.len() + 16);
        delimited(&mut out, delimited_of(1), resource_spans_len);
        out.extend_from_slice(&self.resource);
        delimited(&mut out, delimited_of(2), scope_spans_len);
        out.extend_from_slice(&self.scope);
        out
    }
}

/// A `KeyValue`, as the field of this tag.
fn key_value(out: &mut Vec<u8>, tag: u8, name: &str, value: &Value<'_>) {
    let value_len = match value {
        Value::Text(text) => delimited_len(cut(text).len()),
        Value::Id(_) => delimited_len(Hyphenated::LENGTH),
        Value::Integer(number) => 1 + varint_len(*number as u64),
        Value::Number(_) => 1 + size_of::<f64>(),
        Value::Flag(_) => 2,
    };
    delimited(out, tag, delimited_len(name.len()) + delimited_len(value_len));
    bytes(out, delimited_of(1), name.as_bytes());
    delimited(out, delimited_of(2), value_len);
    match value {
        Value::Text(text) => bytes(out, delimited_of(1), cut(text).as_bytes()),
        Value::Id(id) => {
            let mut text = [0; Hyphenated::LENGTH];
            bytes(out, delimited_of(1), id.hyphenated().encode_lower(&mut text).as_bytes());
        }
        Value::Integer(number) => {
            out.push(varint_of(3));
            varint(out, *number as u64);
        }
        Value::Number(number) => fixed64(out, fixed64_of(4), number.to_bits()),
        Value::Flag(flag) => out.extend_from_slice(&[varint_of(2), u8::from(*flag)]),
    }
}

/// What the SDK's resource says, in our own words.
fn said(value: &opentelemetry::Value) -> Value<'_> {
    match value {
        opentelemetry::Value::Bool(flag) => Value::Flag(*flag),
        opentelemetry::Value::I64(number) => Value::Integer(*number),
        opentelemetry::Value::F64(number) => Value::Number(*number),
        opentelemetry::Value::String(text) => Value::Text(text.as_str().into()),
        other => Value::Text(other.to_string().into()),
    }
}

/// As much of a text as is told.
fn cut(text: &str) -> &str {
    // No letter has more than four bytes.
    let mut ends = (TEXT_BYTES_MAX.saturating_sub(3)..=TEXT_BYTES_MAX).rev();
    if text.len() <= TEXT_BYTES_MAX { text } else { ends.find_map(|end| text.get(..end)).unwrap_or_default() }
}

fn kind(kind: Kind) -> u8 {
    match kind {
        Kind::Internal => 1,
        Kind::Server => 2,
        Kind::Client => 3,
        Kind::Producer => 4,
        Kind::Consumer => 5,
    }
}

fn flags(sampled: bool, remote: bool) -> u32 {
    u32::from(sampled) | REMOTE_IS_KNOWN | if remote { IS_REMOTE } else { 0 }
}

fn unix_nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
