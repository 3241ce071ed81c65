//! What the framework leaves out of schemas: that a body has no other fields than these, and that what may be left out
//! may be null as well.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

/// Where components stand.
const SCHEMAS: &str = "#/components/schemas/";

/// Says both of a document's schemas.
pub(super) fn complete(document: &mut Value) {
    let bodies = bodies(document);
    let Some(schemas) = document["components"]["schemas"].as_object_mut() else { return };
    for (name, schema) in schemas {
        let Some(schema) = schema.as_object_mut().filter(|schema| schema.contains_key("properties")) else { continue };
        if bodies.contains(name) {
            schema.entry("additionalProperties").or_insert(Value::Bool(false));
        }
        let required = schema.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
        let properties = schema.get_mut("properties").and_then(Value::as_object_mut);
        for (name, property) in properties.into_iter().flatten() {
            if !required.iter().any(|required| required == name) {
                make_nullable(property);
            }
        }
    }
}

/// The schemas that bodies of requests are made of.
fn bodies(document: &Value) -> BTreeSet<String> {
    let operations = document["paths"].as_object().into_iter().flat_map(Map::values);
    let operations = operations.filter_map(Value::as_object).flat_map(Map::values);
    let mut open: Vec<String> = operations.flat_map(|operation| referenced(&operation["requestBody"])).collect();
    let mut found = BTreeSet::new();
    while let Some(name) = open.pop() {
        if found.insert(name.clone()) {
            open.extend(referenced(&document["components"]["schemas"][&name]));
        }
    }
    found
}

/// The schemas that are named anywhere within.
fn referenced(value: &Value) -> Vec<String> {
    match value {
        Value::Object(members) => {
            let own = members.get("$ref").and_then(Value::as_str).and_then(|path| path.strip_prefix(SCHEMAS));
            own.map(str::to_owned).into_iter().chain(members.values().flat_map(referenced)).collect()
        }
        Value::Array(items) => items.iter().flat_map(referenced).collect(),
        _ => Vec::new(),
    }
}

fn make_nullable(property: &mut Value) {
    let Some(members) = property.as_object_mut() else { return };
    // Beside a reference nothing else counts.
    if let Some(reference) = members.remove("$ref") {
        members.insert("allOf".to_owned(), json!([{ "$ref": reference }]));
    }
    if members.contains_key("type") || members.contains_key("allOf") {
        members.insert("nullable".to_owned(), Value::Bool(true));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_closed_and_what_is_optional_may_be_null() {
        let mut document = json!({
            "paths": { "/orders": { "post": {
                "requestBody": { "content": { "application/json": { "schema": { "$ref": "#/components/schemas/Order" } } } },
                "responses": { "201": { "content": { "x": { "schema": { "$ref": "#/components/schemas/Placed" } } } } },
            } } },
            "components": { "schemas": {
                "Order": { "type": "object", "required": ["lines"], "properties": {
                    "lines": { "type": "array", "items": { "$ref": "#/components/schemas/Line" } },
                    "address": { "$ref": "#/components/schemas/Address" },
                    "note": { "type": "string" },
                } },
                "Line": { "type": "object", "properties": { "quantity": { "type": "integer" } } },
                "Address": { "type": "object", "properties": {}, "additionalProperties": true },
                "Placed": { "type": "object", "required": ["id"], "properties": { "id": { "type": "string" } } },
                "Status": { "type": "string", "enum": ["pending"] },
            } },
        });
        complete(&mut document);
        let schemas = &document["components"]["schemas"];
        assert_eq!(schemas["Order"]["additionalProperties"], false);
        assert_eq!(schemas["Line"]["additionalProperties"], false);
        assert_eq!(schemas["Address"]["additionalProperties"], true);
        assert!(schemas["Placed"].get("additionalProperties").is_none());
        let order = &schemas["Order"]["properties"];
        assert!(order["lines"].get("nullable").is_none());
        assert_eq!(order["note"]["nullable"], true);
        let address = json!({ "allOf": [{ "$ref": "#/components/schemas/Address" }], "nullable": true });
        assert_eq!(order["address"], address);
        assert_eq!(schemas["Status"], json!({ "type": "string", "enum": ["pending"] }));
    }
}
