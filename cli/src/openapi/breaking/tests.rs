use super::breaking;
use serde_json::{Value, json};

/// A document with something of each kind.
fn document() -> Value {
    json!({
        "info": { "version": "1.0.0" },
        "paths": {
            "/orders": {
                "get": {
                    "parameters": [{ "in": "query", "name": "limit", "required": false,
                                     "schema": { "type": "integer", "minimum": 1, "maximum": 200 } }],
                    "responses": { "200": { "content": { "application/json": {
                        "schema": { "type": "array", "items": { "$ref": "#/components/schemas/Order" } } } } } }
                },
                "post": {
                    "requestBody": { "required": true, "content": { "application/json": {
                        "schema": { "$ref": "#/components/schemas/CreateOrder" } } } },
                    "responses": {
                        "201": { "headers": { "Location": {} }, "content": { "application/json": {
                            "schema": { "$ref": "#/components/schemas/Order" } } } },
                        "422": {}
                    }
                }
            },
            "/orders/{id}": { "get": {
                "parameters": [{ "in": "path", "name": "id", "required": true, "schema": { "type": "string" } }],
                "responses": { "200": { "content": { "application/json": {
                    "schema": { "$ref": "#/components/schemas/Order" } } } } }
            } }
        },
        "components": { "schemas": {
            "CreateOrder": { "type": "object", "required": ["product_id"], "properties": {
                "product_id": { "type": "string", "format": "uuid" },
                "quantity": { "type": "integer", "format": "int32", "minimum": 1 },
                "note": { "type": "string", "nullable": true }
            } },
            "Order": { "type": "object", "required": ["id", "status"], "properties": {
                "id": { "type": "string", "format": "uuid" },
                "status": { "type": "string", "enum": ["pending", "confirmed"] },
                "parts": { "type": "array", "items": { "$ref": "#/components/schemas/Order" } }
            } }
        } }
    })
}

/// What is found when this member of the document is another, or gone.
fn changed(pointer: &str, to: Value) -> Vec<String> {
    let mut after = document();
    let (parent, name) = pointer.rsplit_once('/').expect("a pointer");
    let name = &name.replace("~1", "/");
    let parent = after.pointer_mut(parent).unwrap_or_else(|| panic!("nothing at {parent}"));
    if let Value::Array(list) = parent {
        list.push(to);
    } else if to.is_null() {
        parent.as_object_mut().expect("an object").remove(name).unwrap_or_else(|| panic!("nothing at {pointer}"));
    } else {
        parent[name.as_str()] = to;
    }
    breaking(&document(), &after)
}

#[test]
fn the_same_breaks_nobody() {
    assert_eq!(breaking(&document(), &document()), Vec::<String>::new());
}

#[test]
fn what_is_gone_breaks() {
    let (order, create) = ("/components/schemas/Order", "/components/schemas/CreateOrder");
    for (pointer, found) in [
        ("/paths/~1orders~1{id}", "GET /orders/{id} is gone"),
        ("/paths/~1orders/post", "POST /orders is gone"),
        ("/paths/~1orders/post/responses/422", "POST /orders: 422 is answered no more"),
        ("/paths/~1orders/post/responses/201/headers/Location", "POST /orders: 201 has no header Location any more"),
        ("/paths/~1orders/post/requestBody", "POST /orders takes no body any more"),
        ("/paths/~1orders/get/parameters", "GET /orders: limit is gone"),
        (&format!("{create}/properties/note"), "POST /orders: body.note is gone"),
        (&format!("{order}/properties/id"), "GET /orders: 200[].id is gone"),
    ] {
        let told = changed(pointer, Value::Null);
        assert!(told.contains(&found.to_owned()), "{pointer}: {told:?}");
    }
}

#[test]
fn what_asks_for_more_breaks() {
    let (create, parameters) = ("/components/schemas/CreateOrder", "/paths/~1orders/get/parameters");
    for (pointer, to, found) in [
        (
            format!("{create}/required"),
            json!(["product_id", "quantity"]),
            "POST /orders: body.quantity is required now",
        ),
        (
            format!("{create}/properties/product_id/format"),
            json!("email"),
            "changed its format from \"uuid\" to \"email\"",
        ),
        (
            format!("{create}/properties/quantity/type"),
            json!("string"),
            "changed its type from \"integer\" to \"string\"",
        ),
        (format!("{create}/properties/quantity/minimum"), json!(2), "limited more closely: minimum 2"),
        (format!("{create}/properties/quantity/maximum"), json!(9), "limited more closely: maximum 9"),
        (format!("{create}/properties/note/nullable"), json!(false), "must not be null any more"),
        (format!("{create}/properties/note/pattern"), json!("^x"), "has another pattern"),
        (format!("{create}/properties/note/enum"), json!(["a"]), "has another set of values"),
        (format!("{parameters}/0/required"), json!(true), "GET /orders: limit is required now"),
        (format!("{parameters}/0/schema/maximum"), json!(100), "limited more closely: maximum 100"),
        (format!("{parameters}/-"), json!({ "in": "query", "name": "day", "required": true }), "GET /orders needs day"),
        ("/paths/~1orders/get/security".to_owned(), json!([{ "bearer": [] }]), "GET /orders needs authentication"),
        (
            "/paths/~1orders/get/requestBody".to_owned(),
            json!({ "required": true, "content": {} }),
            "GET /orders needs a body",
        ),
    ] {
        let told = changed(&pointer, to);
        assert!(told.len() == 1 && told[0].contains(found), "{pointer}: {told:?}");
    }
}

#[test]
fn what_answers_less_or_strange_things_breaks() {
    let order = "/components/schemas/Order";
    for (pointer, to, found) in [
        (format!("{order}/required"), json!(["id"]), ".status may be missing now"),
        (format!("{order}/properties/id/nullable"), json!(true), ".id may be null now"),
        (format!("{order}/properties/id/type"), json!("integer"), ".id changed its type"),
        (format!("{order}/properties/status/enum"), json!(["pending", "confirmed", "lost"]), "may be \"lost\" now"),
        (
            "/paths/~1orders~1{id}/get/responses/200/content".to_owned(),
            json!({ "text/plain": {} }),
            "is application/json no more",
        ),
    ] {
        let told = changed(&pointer, to);
        assert!(told.first().is_some_and(|first| first.contains(found)), "{pointer}: {told:?}");
    }
}

#[test]
fn what_offers_more_breaks_nobody() {
    let (order, create) = ("/components/schemas/Order", "/components/schemas/CreateOrder");
    for (pointer, to) in [
        ("/paths/~1payments".to_owned(), json!({ "get": { "responses": { "200": {} } } })),
        ("/paths/~1orders/put".to_owned(), json!({ "responses": { "200": {} } })),
        ("/paths/~1orders/post/responses/409".to_owned(), json!({})),
        ("/paths/~1orders/get/parameters/-".to_owned(), json!({ "in": "query", "name": "day", "required": false })),
        ("/paths/~1orders/get/parameters/0/schema/maximum".to_owned(), json!(500)),
        ("/paths/~1orders~1{id}/get/parameters/0/name".to_owned(), json!("order_id")),
        ("/paths/~1orders/post/requestBody/required".to_owned(), json!(false)),
        (format!("{create}/properties/address_id"), json!({ "type": "string" })),
        (format!("{create}/required"), json!([])),
        (format!("{create}/properties/quantity/minimum"), json!(0)),
        (format!("{order}/properties/total"), json!({ "type": "number" })),
        (format!("{order}/required"), json!(["id", "status", "parts"])),
        (format!("{order}/properties/status/enum"), json!(["pending"])),
        (format!("{order}/properties/id/description"), json!("Which one")),
    ] {
        assert_eq!(changed(&pointer, to), Vec::<String>::new(), "{pointer}");
    }
}
