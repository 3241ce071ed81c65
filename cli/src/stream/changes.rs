//! How one JSON document differs from another.

use crate::output::Row;
use serde::Serialize;
use serde_json::{Map, Value};

/// Longer values are cut in a table.
const VALUE_CHARS_MAX: usize = 80;

/// One place that is otherwise.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Change {
    /// The names on the way to it; empty for all of it.
    pub(crate) path: String,
    /// What was there, if anything was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) before: Option<Value>,
    /// What is there now, if anything is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) after: Option<Value>,
}

impl Change {
    /// In a line.
    pub(crate) fn text(&self) -> String {
        let path = if self.path.is_empty() { "state" } else { &self.path };
        match (&self.before, &self.after) {
            (Some(before), Some(after)) => format!("{path}: {} → {}", short(before), short(after)),
            (None, Some(after)) => format!("{path}: {}", short(after)),
            (Some(before), None) => format!("{path}: gone, was {}", short(before)),
            (None, None) => path.to_owned(),
        }
    }
}

impl Row for Change {
    const COLUMNS: &'static [&'static str] = &["what", "before", "after"];

    fn cells(&self) -> Vec<String> {
        let cell = |value: &Option<Value>| value.as_ref().map(short).unwrap_or_default();
        vec![self.path.clone(), cell(&self.before), cell(&self.after)]
    }
}

/// Every place at which `after` differs from `before`, in the order of their names.
pub(crate) fn changes(before: &Value, after: &Value) -> Vec<Change> {
    let mut changes = Vec::new();
    compare("", before, after, &mut changes);
    changes
}

fn compare(path: &str, before: &Value, after: &Value, into: &mut Vec<Change>) {
    match (before, after) {
        (before, after) if before == after => {}
        (Value::Object(before), Value::Object(after)) if is_same_state(path, before, after) => {
            for (name, value) in before {
                match after.get(name) {
                    Some(other) => compare(&join(path, name), value, other, into),
                    None => into.push(Change { path: join(path, name), before: Some(value.clone()), after: None }),
                }
            }
            let added = after.iter().filter(|(name, _)| !before.contains_key(*name));
            let added =
                added.map(|(name, value)| Change { path: join(path, name), before: None, after: Some(value.clone()) });
            into.extend(added);
        }
        (Value::Array(before), Value::Array(after)) => {
            for n in 0..before.len().max(after.len()) {
                let path = join(path, &n.to_string());
                match (before.get(n), after.get(n)) {
                    (Some(before), Some(after)) => compare(&path, before, after, into),
                    (before, after) => into.push(Change { path, before: before.cloned(), after: after.cloned() }),
                }
            }
        }
        (before, after) => {
            into.push(Change { path: path.to_owned(), before: Some(before.clone()), after: Some(after.clone()) });
        }
    }
}

/// A state may be an enum: an object whose one name says which it is. Another one is another state as a whole.
fn is_same_state(path: &str, before: &Map<String, Value>, after: &Map<String, Value>) -> bool {
    let is_variant = |fields: &Map<String, Value>| {
        fields.len() == 1 && fields.keys().all(|name| name.starts_with(|first: char| first.is_ascii_uppercase()))
    };
    !path.is_empty() || !is_variant(before) || !is_variant(after) || before.keys().eq(after.keys())
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// A value on a line: a text without its quotes, anything long cut.
fn short(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        value => value.to_string(),
    };
    if text.chars().nth(VALUE_CHARS_MAX).is_none() {
        return text;
    }
    text.chars().take(VALUE_CHARS_MAX).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn texts(before: &Value, after: &Value) -> Vec<String> {
        changes(before, after).iter().map(Change::text).collect()
    }

    #[test]
    fn what_changed_is_named_by_its_path() {
        let before = json!({ "Placed": { "status": "pending", "lines": [{ "n": 1 }, { "n": 2 }], "why": null } });
        let after = json!({ "Placed": { "status": "confirmed", "lines": [{ "n": 1 }], "at": 5, "why": null } });
        assert_eq!(
            texts(&before, &after),
            ["Placed.lines.1: gone, was {\"n\":2}", "Placed.status: pending → confirmed", "Placed.at: 5"]
        );
        assert!(texts(&after, &after).is_empty());
    }

    #[test]
    fn another_state_is_one_change() {
        assert_eq!(texts(&json!("Unknown"), &json!({ "Placed": 1 })), ["state: Unknown → {\"Placed\":1}"]);
        assert_eq!(texts(&json!({ "Open": 1 }), &json!({ "Ended": 1 })), ["state: {\"Open\":1} → {\"Ended\":1}"]);
        assert_eq!(texts(&json!({ "held": {} }), &json!({ "held": { "a": 2 } })), ["held.a: 2"]);
    }

    #[test]
    fn long_values_are_cut() {
        let text = texts(&json!({ "a": 1 }), &json!({ "a": "x".repeat(500) })).remove(0);
        assert!(text.ends_with('…') && text.chars().count() < 100, "{text}");
    }
}
