//! Where a body departs from its schema.
//!
//! The framework has refused the body already, and its message often names types instead of fields. This walks body
//! and schema side by side, for that answer alone: it is not what decides.

use poem_openapi::types::ParseFromJSON;
use regex::Regex;
use serde_json::Value;
use uuid::Uuid;

use crate::Amount;
use crate::types::line;

/// A caller is told of so many faults at once.
const FAULTS_MAX: usize = 20;

/// One fault and where it is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// `lines[0].quantity`; empty for the body itself.
    pub field: String,
    pub message: String,
    /// A field that the schema does not know.
    pub unknown: bool,
}

/// The faults of `body` against a schema of the document.
pub(super) fn faults(document: &Value, schema: &Value, body: &Value) -> Vec<Fault> {
    let mut walk = Walk { document, faults: Vec::new() };
    walk.check(schema, body, "");
    walk.faults
}

struct Walk<'a> {
    document: &'a Value,
    faults: Vec<Fault>,
}

impl<'a> Walk<'a> {
    fn report(&mut self, field: &str, message: impl Into<String>, unknown: bool) {
        if self.faults.len() < FAULTS_MAX {
            self.faults.push(Fault { field: field.to_owned(), message: message.into(), unknown });
        }
    }

    fn check(&mut self, schema: &'a Value, value: &Value, at: &str) {
        if let Some(name) = schema["$ref"].as_str().and_then(|path| path.rsplit('/').next()) {
            let document = self.document;
            return self.check(&document["components"]["schemas"][name], value, at);
        }
        for part in schema["allOf"].as_array().into_iter().flatten() {
            self.check(part, value, at);
        }
        if value.is_null() && schema["nullable"] == true {
            return;
        }
        match (schema["type"].as_str(), value) {
            (Some("object"), Value::Object(_)) => self.object(schema, value, at),
            (Some("array"), Value::Array(items)) => self.array(schema, items, at),
            (Some("string"), Value::String(text)) => self.string(schema, text, at),
            // A decimal may come as text, so that no client has to put it through a double.
            (Some("number"), Value::Number(_) | Value::String(_)) if schema["format"] == "decimal" => {
                self.decimal(value, at);
            }
            (Some("integer" | "number"), Value::Number(_)) => self.number(schema, value, at),
            (Some("boolean"), Value::Bool(_)) => {}
            (Some(expected), found) => {
                let message = format!("expected {}, found {}", with_article(expected), kind(found));
                self.report(at, message, false);
            }
            (None, _) => {}
        }
    }

    fn object(&mut self, schema: &'a Value, value: &Value, at: &str) {
        let path = |field: &str| if at.is_empty() { field.to_owned() } else { format!("{at}.{field}") };
        let Some(properties) = schema["properties"].as_object() else { return };
        let required = schema["required"].as_array().map_or(&[][..], Vec::as_slice);
        for name in required.iter().filter_map(Value::as_str).filter(|name| value[*name].is_null()) {
            self.report(&path(name), "is required", false);
        }
        // A map has a schema there.
        let closed = matches!(schema["additionalProperties"], Value::Null | Value::Bool(false));
        for (name, value) in value.as_object().into_iter().flatten() {
            match properties.get(name) {
                // Nothing stands for nothing: what is required was reported above.
                Some(_) if value.is_null() => {}
                Some(property) => self.check(property, value, &path(name)),
                None if closed => self.report(&path(name), "unknown field", true),
                None => {}
            }
        }
    }

    fn array(&mut self, schema: &'a Value, items: &[Value], at: &str) {
        if schema["minItems"].as_u64().is_some_and(|min| (items.len() as u64) < min) {
            self.report(at, format!("must have at least {} items", schema["minItems"]), false);
        }
        if schema["maxItems"].as_u64().is_some_and(|max| items.len() as u64 > max) {
            return self.report(at, format!("must have at most {} items", schema["maxItems"]), false);
        }
        for (index, item) in items.iter().enumerate() {
            self.check(&schema["items"], item, &format!("{at}[{index}]"));
        }
    }

    fn string(&mut self, schema: &Value, text: &str, at: &str) {
        let length = text.chars().count() as u64;
        if schema["minLength"].as_u64().is_some_and(|min| length < min) {
            self.report(at, format!("must have at least {} characters", schema["minLength"]), false);
        }
        if schema["maxLength"].as_u64().is_some_and(|max| length > max) {
            self.report(at, format!("must have at most {} characters", schema["maxLength"]), false);
        }
        match schema["pattern"].as_str() {
            // Nothing at all is too short already.
            Some(line::PATTERN) if text.is_empty() => {}
            Some(line::PATTERN) if text.trim().is_empty() => self.report(at, "must not be empty", false),
            Some(line::PATTERN) if text.chars().any(char::is_control) => {
                self.report(at, "must not contain control characters", false);
            }
            Some(pattern) if Regex::new(pattern).is_ok_and(|pattern| !pattern.is_match(text)) => {
                self.report(at, format!("must match {pattern}"), false);
            }
            _ => {}
        }
        if schema["format"] == "uuid" && Uuid::parse_str(text).is_err() {
            self.report(at, "is not a UUID", false);
        }
        if let Some(words) = schema["enum"].as_array().filter(|words| !words.iter().any(|word| word == text)) {
            let words = words.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ");
            self.report(at, format!("must be one of {words}"), false);
        }
    }

    fn decimal(&mut self, value: &Value, at: &str) {
        if Amount::parse_from_json(Some(value.clone())).is_err() {
            self.report(at, "is not a decimal number such as 999.99", false);
        }
    }

    fn number(&mut self, schema: &Value, value: &Value, at: &str) {
        let integer = schema["type"] == "integer";
        let signed = schema["format"] == "int64";
        if integer && value.as_i64().is_none() && (signed || value.as_u64().is_none()) {
            return self.report(at, "is not a whole number in range", false);
        }
        let (least, most) = match schema["format"].as_str().filter(|_| integer) {
            Some("int32") => (f64::from(i32::MIN), f64::from(i32::MAX)),
            Some("uint32") => (0.0, f64::from(u32::MAX)),
            Some("uint64") => (0.0, f64::MAX),
            _ => (f64::MIN, f64::MAX),
        };
        let number = value.as_f64().unwrap_or_default();
        let least = schema["minimum"].as_f64().unwrap_or(least);
        let most = schema["maximum"].as_f64().unwrap_or(most);
        if number < least || (number <= least && schema["exclusiveMinimum"] == true) {
            let than = if schema["exclusiveMinimum"] == true { "more than" } else { "at least" };
            self.report(at, format!("must be {than} {least}"), false);
        }
        if number > most || (number >= most && schema["exclusiveMaximum"] == true) {
            let than = if schema["exclusiveMaximum"] == true { "less than" } else { "at most" };
            self.report(at, format!("must be {than} {most}"), false);
        }
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

fn with_article(kind: &str) -> String {
    let article = if kind.starts_with(['a', 'i', 'o']) { "an" } else { "a" };
    format!("{article} {kind}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_fault_is_named_with_its_path() {
        let document = json!({ "components": { "schemas": {
            "Line": { "type": "object", "required": ["product_id", "quantity"], "properties": {
                "product_id": { "type": "string", "format": "uuid" },
                "quantity": { "type": "integer", "format": "uint32", "minimum": 1.0 },
            }},
        }}});
        let schema = json!({ "type": "object", "required": ["lines", "currency"], "properties": {
            "lines": { "type": "array", "minItems": 1, "items": { "$ref": "#/components/schemas/Line" } },
            "currency": { "type": "string", "enum": ["EUR", "USD"] },
            "price": { "type": "number", "format": "decimal" },
            "fee": { "type": "number", "format": "decimal" },
            "tax": { "type": "number", "format": "decimal" },
            "note": { "type": "string", "maxLength": 3 },
            "stock": { "type": "integer", "format": "int64" },
        }});
        let body = json!({
            "lines": [{ "product_id": "x", "quantity": 0, "colour": "red" }, { "quantity": "two" }, 5],
            "currency": "GBP", "price": "9.99", "fee": "much", "tax": true, "note": "long", "role": "admin",
            "stock": u64::MAX,
        });
        let mut found = faults(&document, &schema, &body);
        found.sort_by(|a, b| a.field.cmp(&b.field));
        let found = found.iter().map(|f| (f.field.as_str(), f.message.as_str(), f.unknown)).collect::<Vec<_>>();
        assert_eq!(
            found,
            [
                ("currency", "must be one of EUR, USD", false),
                ("fee", "is not a decimal number such as 999.99", false),
                ("lines[0].colour", "unknown field", true),
                ("lines[0].product_id", "is not a UUID", false),
                ("lines[0].quantity", "must be at least 1", false),
                ("lines[1].product_id", "is required", false),
                ("lines[1].quantity", "expected an integer, found a string", false),
                ("lines[2]", "expected an object, found a number", false),
                ("note", "must have at most 3 characters", false),
                ("role", "unknown field", true),
                ("stock", "is not a whole number in range", false),
                ("tax", "expected a number, found a boolean", false),
            ]
        );
    }
}
