//! A schema as what it admits, whichever of JSON Schema's ways it says that in.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

/// Longer chains of references are circles.
const REFERENCES_MAX: usize = 16;

/// What a schema admits.
#[derive(Debug, Default)]
pub(super) struct Shape<'a> {
    /// Without `null`; all, if there is none.
    pub(super) types: BTreeSet<&'a str>,
    pub(super) nullable: bool,
    /// The values that there are, if not all of the type are.
    pub(super) values: Option<BTreeSet<String>>,
    pub(super) format: Option<&'a str>,
    pub(super) pattern: Option<&'a str>,
    pub(super) limits: BTreeMap<&'static str, f64>,
    pub(super) fields: BTreeMap<&'a str, &'a Value>,
    pub(super) required: BTreeSet<&'a str>,
    /// Fields that it does not name may be there.
    pub(super) open: bool,
    /// The elements of an array.
    pub(super) items: Option<&'a Value>,
    /// The values below names that are not fixed.
    pub(super) others: Option<&'a Value>,
    /// One of these, by what tells which.
    pub(super) variants: BTreeMap<String, &'a Value>,
}

impl<'a> Shape<'a> {
    /// Of a schema within its document.
    pub(super) fn of(document: &'a Value, schema: &'a Value) -> Self {
        let schema = definition(document, schema);
        let mut shape = Self { open: true, ..Self::default() };
        let alternatives = list(&schema["anyOf"]).iter().chain(list(&schema["oneOf"]));
        let (nulls, others): (Vec<&Value>, Vec<&Value>) =
            alternatives.map(|one| definition(document, one)).partition(|one| one["type"] == "null");
        match (nulls.is_empty(), others.as_slice()) {
            (_, []) => {}
            // A type that may be null.
            (false, [one]) => shape = Self::of(document, one),
            (_, several) => shape.alternatives(several),
        }
        shape.nullable |= !nulls.is_empty();
        shape.own(schema);
        shape
    }

    fn own(&mut self, schema: &'a Value) {
        let types = schema["type"].as_str().into_iter().chain(list(&schema["type"]).iter().filter_map(Value::as_str));
        for name in types {
            if name == "null" {
                self.nullable = true;
            } else {
                self.types.insert(name);
            }
        }
        let values = list(&schema["enum"]).iter().chain(schema.get("const"));
        let values: BTreeSet<String> = values.filter(|value| !value.is_null()).map(text).collect();
        if !values.is_empty() {
            self.values.get_or_insert_default().extend(values);
        }
        self.format = schema["format"].as_str().or(self.format);
        self.pattern = schema["pattern"].as_str().or(self.pattern);
        for limit in Limit::ALL {
            if let Some(value) = schema[limit.name()].as_f64() {
                self.limits.insert(limit.name(), value);
            }
        }
        self.fields
            .extend(schema["properties"].as_object().into_iter().flat_map(Map::iter).map(|(n, v)| (n.as_str(), v)));
        self.required.extend(list(&schema["required"]).iter().filter_map(Value::as_str));
        self.open &= schema["additionalProperties"] != Value::Bool(false);
        self.items = schema.get("items").or(self.items);
        self.others = schema.get("additionalProperties").filter(|others| others.is_object()).or(self.others);
    }

    /// Alternatives that are single values are values; the others are told by the one field that they must have.
    fn alternatives(&mut self, several: &[&'a Value]) {
        let is_value = |one: &&&Value| one.get("const").is_some() || one.get("enum").is_some();
        if several.iter().all(|one| is_value(&one)) {
            return several.iter().for_each(|one| self.own(one));
        }
        for (n, one) in several.iter().enumerate() {
            let values = list(&one["enum"]).iter().chain(one.get("const"));
            let mut tags: Vec<String> = values.map(text).collect();
            if tags.is_empty() {
                tags.extend(list(&one["required"]).first().and_then(Value::as_str).map(str::to_owned));
            }
            if tags.is_empty() {
                tags.push(format!("alternative {}", n + 1));
            }
            self.variants.extend(tags.into_iter().map(|tag| (tag, *one)));
        }
    }
}

/// A bound of numbers or lengths.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limit {
    name: &'static str,
    is_least: bool,
}

impl Limit {
    pub(super) const ALL: [Self; 8] = [
        Self { name: "minimum", is_least: true },
        Self { name: "maximum", is_least: false },
        Self { name: "minLength", is_least: true },
        Self { name: "maxLength", is_least: false },
        Self { name: "minItems", is_least: true },
        Self { name: "maxItems", is_least: false },
        Self { name: "minProperties", is_least: true },
        Self { name: "maxProperties", is_least: false },
    ];

    pub(super) fn name(self) -> &'static str {
        self.name
    }

    /// `Less` where the new one admits less than the old one.
    pub(super) fn compare(self, old: Option<f64>, new: Option<f64>) -> Ordering {
        match (old, new) {
            (None, None) => Ordering::Equal,
            (None, Some(_)) => Ordering::Less,
            (Some(_), None) => Ordering::Greater,
            (Some(old), Some(new)) if self.is_least => old.total_cmp(&new),
            (Some(old), Some(new)) => new.total_cmp(&old),
        }
    }
}

/// Where a reference leads, and on from there.
fn definition<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    let mut at = schema;
    for _ in 0..REFERENCES_MAX {
        let Some(pointer) = at["$ref"].as_str().and_then(|reference| reference.strip_prefix('#')) else { break };
        at = document.pointer(pointer).unwrap_or(&Value::Null);
    }
    at
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}
