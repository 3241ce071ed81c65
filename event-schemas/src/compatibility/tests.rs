use serde_json::json;

use super::*;
use crate::order::OrderCreated;

fn schema() -> Value {
    schemars::schema_for!(OrderCreated).to_value()
}

/// The rules that a change breaks, each with its place.
fn broken(change: impl FnOnce(&mut Value)) -> Vec<String> {
    let mut changed = schema();
    change(&mut changed);
    compare(&schema(), &changed).into_iter().map(|broken| format!("{} {}", broken.rule, broken.at)).collect()
}

fn require(schema: &mut Value, field: &str) {
    schema["required"].as_array_mut().unwrap().push(field.into());
}

#[test]
fn nothing_and_what_may_be_missing_break_nobody() {
    assert!(broken(|_| {}).is_empty());
    assert!(broken(|schema| schema["properties"]["gift_wrap"] = json!({ "type": ["boolean", "null"] })).is_empty());
    assert!(broken(|schema| schema["description"] = "Otherwise said.".into()).is_empty());
}

#[test]
fn each_rule_is_named() {
    let properties = |schema: &mut Value, name: &str| schema["properties"][name].take();
    assert_eq!(
        broken(|schema| {
            schema["properties"].as_object_mut().unwrap().remove("address_id");
        }),
        ["field-removed address_id"]
    );
    assert_eq!(
        broken(|schema| {
            schema["properties"]["gift_wrap"] = json!({ "type": "boolean" });
            require(schema, "gift_wrap");
        }),
        ["required-added gift_wrap"]
    );
    assert_eq!(
        broken(|schema| schema["required"].as_array_mut().unwrap().retain(|name| name != "total_price")),
        ["required-dropped total_price"]
    );
    assert_eq!(
        broken(|schema| schema["properties"]["total_price"]["type"] = "string".into()),
        ["type-changed total_price"]
    );
    assert_eq!(broken(|schema| schema["properties"]["order_id"]["format"] = "date".into()), ["type-changed order_id"]);
    assert_eq!(
        broken(|schema| {
            schema["$defs"]["OrderStatus"]["oneOf"].as_array_mut().unwrap().pop();
        }),
        ["enum-narrowed status"]
    );
    assert_eq!(
        broken(|schema| {
            let lost = json!({ "type": "string", "const": "lost" });
            schema["$defs"]["OrderStatus"]["oneOf"].as_array_mut().unwrap().push(lost);
        }),
        ["enum-widened status"]
    );
    let quantity = |schema: &mut Value, limit: u32| {
        schema["$defs"]["OrderLine"]["properties"]["quantity"]["maximum"] = limit.into();
    };
    assert_eq!(broken(|schema| quantity(schema, 10)), ["limit-narrowed lines[].quantity"]);
    assert_eq!(broken(|schema| quantity(schema, 10_000_000)), ["limit-widened lines[].quantity"]);
    assert_eq!(
        broken(|schema| schema["properties"]["payment_method"]["type"] = json!(["string", "null"])),
        ["null-allowed payment_method"]
    );
    assert_eq!(
        broken(|schema| {
            properties(schema, "address_id");
            schema["properties"]["address_id"] = json!({ "type": "string", "format": "uuid" });
        }),
        ["null-forbidden address_id"]
    );
    assert_eq!(broken(|schema| schema["additionalProperties"] = false.into()), ["closed (the whole)"]);
}

#[test]
fn variants_are_told_by_their_tags() {
    let step = |names: &[&str]| {
        let variant = |name: &&str| json!({ "type": "object", "properties": { *name: {} }, "required": [*name] });
        let all: Vec<Value> =
            names.iter().map(variant).chain([json!({ "type": "string", "const": "Plain" })]).collect();
        json!({ "oneOf": all })
    };
    let rules = |old: &[&str], new: &[&str]| -> Vec<_> {
        compare(&step(old), &step(new)).into_iter().map(|broken| broken.rule).collect()
    };
    assert!(rules(&["A", "B"], &["B", "A"]).is_empty());
    assert_eq!(rules(&["A", "B"], &["A"]), [Rule::EnumNarrowed]);
    assert_eq!(rules(&["A"], &["A", "B"]), [Rule::EnumWidened]);
}

#[test]
fn names_are_distinct() {
    let names: BTreeSet<&str> = Rule::ALL.iter().map(|rule| rule.as_str()).collect();
    assert_eq!(names.len(), Rule::ALL.len());
}
