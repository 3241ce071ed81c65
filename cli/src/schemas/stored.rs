//! The events that the services keep.

use super::catalogue::{Described, What};
use crate::events::kinds::{KINDS, Kind};
use crate::ports::Role;
use event_store::{OPERATION, Operation};
use kernel::upcast;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// Whose that is what every service keeps.
const EACH: &str = "each service";

/// Reads an event and writes it again.
type Understood = fn(&Value) -> serde_json::Result<Value>;

/// Every stored event as it is written today.
pub(super) fn today() -> impl Iterator<Item = Described> {
    KINDS.iter().flat_map(of_kind).chain(claims()).chain([operation()])
}

/// How events are read whose streams are no aggregates: claims of addresses, and what operators did.
pub(super) fn understood(aggregate: &str) -> Option<Understood> {
    match aggregate {
        OPERATION => Some(|event| serde_json::to_value(Operation::deserialize(event)?)),
        other if other == user_service::claims::described().0 => Some(user_service::claims::understood),
        _ => None,
    }
}

fn claims() -> Vec<Described> {
    let (aggregate, schema) = user_service::claims::described();
    let schema = schema.to_value();
    let described = |event_type: &str| Described {
        name: format!("{aggregate}/{event_type}"),
        what: What::Stored { service: Role::User.name(), aggregate },
        version: 1,
        is_current: true,
        schema: variant(&schema, event_type).unwrap_or_default(),
    };
    ["email_claimed", "email_released"].map(described).to_vec()
}

/// All acts have one form, and the act's name as their type.
fn operation() -> Described {
    Described {
        name: format!("{OPERATION}/any"),
        what: What::Stored { service: EACH, aggregate: OPERATION },
        version: 1,
        is_current: true,
        schema: sorted(schemars::schema_for!(Operation).to_value()),
    }
}

fn of_kind(kind: &'static Kind) -> Vec<Described> {
    let schema = kind.schema();
    let described = |(event_type, tag): (String, &str)| Described {
        name: format!("{}/{event_type}", kind.name),
        what: What::Stored { service: kind.role.name(), aggregate: kind.name },
        version: upcast::current(kind.upcasters(), &event_type),
        is_current: true,
        schema: variant(&schema, tag).unwrap_or_default(),
    };
    kind.tags().map(described).collect()
}

/// The schema of one variant, as a document of its own with the definitions that it needs.
fn variant(schema: &Value, tag: &str) -> Option<Value> {
    let variants = schema["oneOf"].as_array()?;
    let mut variant = variants.iter().find(|variant| variant["properties"].get(tag).is_some())?.clone();
    let all = schema["$defs"].as_object().cloned().unwrap_or_default();
    let needed = needed(&variant, &all);
    let document = variant.as_object_mut()?;
    document.insert("$schema".to_owned(), schema["$schema"].clone());
    document.insert("title".to_owned(), tag.into());
    if !needed.is_empty() {
        let definitions: Map<String, Value> = all.into_iter().filter(|(name, _)| needed.contains(name)).collect();
        document.insert("$defs".to_owned(), Value::Object(definitions));
    }
    Some(sorted(variant))
}

/// The definitions that a schema refers to, and those that they refer to.
fn needed(schema: &Value, all: &Map<String, Value>) -> BTreeSet<String> {
    let (mut needed, mut waiting) = (BTreeSet::new(), vec![schema]);
    while let Some(value) = waiting.pop() {
        match value {
            Value::Object(members) => {
                let name = members.get("$ref").and_then(Value::as_str).and_then(|path| path.strip_prefix("#/$defs/"));
                if let Some(name) = name
                    && needed.insert(name.to_owned())
                {
                    waiting.extend(all.get(name));
                }
                waiting.extend(members.values());
            }
            Value::Array(values) => waiting.extend(values),
            _ => {}
        }
    }
    needed
}

/// Its members by name, as they are written.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let mut members: Vec<(String, Value)> = members.into_iter().collect();
            members.sort_by(|(a, _), (b, _)| a.cmp(b));
            Value::Object(members.into_iter().map(|(name, value)| (name, sorted(value))).collect())
        }
        Value::Array(values) => Value::Array(values.into_iter().map(sorted).collect()),
        other => other,
    }
}
