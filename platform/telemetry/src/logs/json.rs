//! A JSON object a line.

use std::fmt::Write;
use std::time::SystemTime;

use tracing::Metadata;

use super::{Said, Value};

pub(super) fn line(service: &str, of: &Metadata<'_>, said: &Said) -> String {
    let mut line = String::with_capacity(256);
    line.push('{');
    text(&mut line, "timestamp", &super::text::timestamp(SystemTime::now()));
    text(&mut line, "level", level(of));
    text(&mut line, "service.name", service);
    text(&mut line, "target", of.target());
    text(&mut line, "message", &said.message);
    for (name, id) in said.ids() {
        text(&mut line, name, &id);
    }
    for (name, value) in &said.fields {
        match value {
            Value::Text(value) => text(&mut line, name, value),
            Value::Plain(value) => plain(&mut line, name, value),
        }
    }
    line.push_str("}\n");
    line
}

fn level(of: &Metadata<'_>) -> &'static str {
    match *of.level() {
        tracing::Level::ERROR => "ERROR",
        tracing::Level::WARN => "WARN",
        tracing::Level::INFO => "INFO",
        tracing::Level::DEBUG => "DEBUG",
        tracing::Level::TRACE => "TRACE",
    }
}

fn name(line: &mut String, name: &str) {
    if !line.ends_with('{') {
        line.push(',');
    }
    quoted(line, name);
    line.push(':');
}

fn text(line: &mut String, key: &str, value: &str) {
    name(line, key);
    quoted(line, value);
}

fn plain(line: &mut String, key: &str, value: &str) {
    name(line, key);
    line.push_str(value);
}

/// A JSON string. RFC 8259, section 7.
fn quoted(line: &mut String, text: &str) {
    line.push('"');
    for character in text.chars() {
        match character {
            '"' => line.push_str("\\\""),
            '\\' => line.push_str("\\\\"),
            '\n' => line.push_str("\\n"),
            '\r' => line.push_str("\\r"),
            '\t' => line.push_str("\\t"),
            // Writing to a string does not fail.
            control if control < ' ' => drop(write!(line, "\\u{:04x}", u32::from(control))),
            other => line.push(other),
        }
    }
    line.push('"');
}
