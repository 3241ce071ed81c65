//! An event as a result.

use super::list::Found;
use crate::output::Row;
use chrono::SecondsFormat;
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

/// What stands for what nobody needs to see: the hashes of passwords and tokens.
const MASK: &str = "********";
const SECRETS: [&str; 2] = ["password_hash", "token"];
/// The kinds of aggregates that have such.
const WITH_SECRETS: [&str; 2] = ["user", "session"];

/// An event as a line.
#[derive(Serialize)]
pub(super) struct Line {
    service: &'static str,
    position: i64,
    transaction_id: u64,
    recorded_at: String,
    aggregate_type: String,
    aggregate_id: String,
    sequence: u64,
    event_type: String,
    event_version: String,
    event_id: Uuid,
    correlation_id: Uuid,
    causation_id: Uuid,
    command_id: Uuid,
    actor: String,
    traceparent: Option<String>,
    pub(super) payload: Value,
}

impl Line {
    pub(super) fn of(found: &Found) -> Self {
        let Found { role, event } = found;
        let metadata = event.metadata.clone();
        Self {
            service: role.name(),
            position: event.cursor.position,
            transaction_id: event.cursor.transaction_id,
            recorded_at: event.recorded_at.to_rfc3339_opts(SecondsFormat::Micros, true),
            aggregate_type: event.aggregate_type.clone(),
            aggregate_id: event.aggregate_id.clone(),
            sequence: event.sequence,
            event_type: event.event_type.clone(),
            event_version: event.event_version.clone(),
            event_id: metadata.event_id,
            correlation_id: metadata.correlation_id,
            causation_id: metadata.causation_id,
            command_id: metadata.command_id,
            actor: metadata.actor,
            traceparent: metadata.traceparent,
            payload: masked(&event.aggregate_type, payload(&event.payload)),
        }
    }

    /// All of it but the payload, as names and values.
    pub(super) fn whole(&self) -> Whole<'_> {
        Whole(self)
    }

    /// As a line that does not wait for the next ones to know how wide its columns are.
    pub(super) fn text(&self) -> String {
        let Self { recorded_at, service, position, aggregate_type, aggregate_id, sequence, event_type, actor, .. } =
            self;
        let stream = format!("{aggregate_type}/{aggregate_id}");
        format!("{recorded_at}  {service:<12}  {position:>8}  {stream:<53}  {sequence:>4}  {event_type:<22}  {actor}")
    }
}

impl Row for Line {
    const COLUMNS: &'static [&'static str] = &["at", "service", "position", "aggregate", "#", "event", "by"];
    const DISPENSABLE: &'static [usize] = &[2, 1, 6];

    fn cells(&self) -> Vec<String> {
        vec![
            self.recorded_at.clone(),
            self.service.to_owned(),
            self.position.to_string(),
            format!("{}/{}", self.aggregate_type, self.aggregate_id),
            self.sequence.to_string(),
            self.event_type.clone(),
            self.actor.clone(),
        ]
    }
}

/// A line, down the page.
#[derive(Serialize)]
#[serde(transparent)]
pub(super) struct Whole<'a>(&'a Line);

impl Row for Whole<'_> {
    const COLUMNS: &'static [&'static str] = &[
        "event",
        "version",
        "service",
        "aggregate",
        "sequence",
        "position",
        "transaction",
        "recorded",
        "event id",
        "correlation",
        "causation",
        "command",
        "by",
        "traceparent",
    ];

    fn cells(&self) -> Vec<String> {
        let line = self.0;
        vec![
            line.event_type.clone(),
            line.event_version.clone(),
            line.service.to_owned(),
            format!("{}/{}", line.aggregate_type, line.aggregate_id),
            line.sequence.to_string(),
            line.position.to_string(),
            line.transaction_id.to_string(),
            line.recorded_at.clone(),
            line.event_id.to_string(),
            line.correlation_id.to_string(),
            line.causation_id.to_string(),
            line.command_id.to_string(),
            line.actor.clone(),
            line.traceparent.clone().unwrap_or_default(),
        ]
    }
}

/// A payload that is no JSON cannot be in the table; should it, it is shown as text.
fn payload(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()))
}

/// Hides the hashes of passwords and tokens in what an aggregate of this kind is or says.
pub(crate) fn masked(kind: &str, mut value: Value) -> Value {
    if WITH_SECRETS.contains(&kind) {
        mask(&mut value);
    }
    value
}

fn mask(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                if SECRETS.contains(&name.as_str()) && field.is_string() {
                    *field = Value::String(MASK.to_owned());
                } else {
                    mask(field);
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(mask),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn hashes_are_not_shown() {
        let event = json!({ "user_registered": { "role": "customer", "password_hash": "$argon2id$…" } });
        let shown = json!({ "user_registered": { "role": "customer", "password_hash": MASK } });
        assert_eq!(masked("user", event.clone()), shown);
        assert_eq!(masked("order", event.clone()), event);
    }
}
