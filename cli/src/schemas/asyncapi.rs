//! The AsyncAPI document of all topics. <https://www.asyncapi.com/docs/reference/specification/v3.0.0>

use super::catalogue::json;
use super::topics::{self, Topic};
use crate::ports::Role;
use event_schemas::{CATALOGUE, Entry};
use serde_json::{Map, Value, json as value};

const DESCRIPTION: &str = "What crosses Sagashop's broker. Records are CloudEvents 1.0 in Kafka's binary mode: the envelope \
     stands in the headers, the value is the JSON data. Readers ignore fields that they do not know, and act on each id once: \
     a message may come again. Records with one key keep their order.";

/// The document.
///
/// # Errors
/// A sample is damaged.
pub fn document() -> anyhow::Result<Value> {
    let (mut channels, mut operations, mut messages) = (Map::new(), Map::new(), Map::new());
    let mut schemas = Map::from_iter([("Envelope".to_owned(), envelope())]);
    for topic in topics::all() {
        channels.insert(topic.name.to_owned(), channel(&topic));
        operations.extend(operations_of(&topic)?);
    }
    for entry in CATALOGUE {
        messages.insert(entry.name.to_owned(), message(entry, &mut schemas)?);
    }
    Ok(value!({
        "asyncapi": "3.0.0",
        "info": { "title": "Sagashop", "version": web::VERSION, "description": DESCRIPTION },
        "defaultContentType": "application/json",
        "servers": {
            "kafka": {
                "host": "localhost:9092",
                "protocol": "kafka",
                "description": "Where KAFKA_BROKER says; without it, the same topics lie in PostgreSQL."
            }
        },
        "channels": channels,
        "operations": operations,
        "components": { "messages": messages, "schemas": schemas }
    }))
}

fn channel(topic: &Topic) -> Value {
    let messages = topics::messages(topic.name)
        .map(|entry| (entry.name.to_owned(), value!({ "$ref": format!("#/components/messages/{}", entry.name) })));
    value!({
        "address": topic.name,
        "description": topic.about,
        "servers": [{ "$ref": "#/servers/kafka" }],
        "messages": Map::from_iter(messages),
        "bindings": { "kafka": { "topic": topic.name, "bindingVersion": "0.5.0" } }
    })
}

/// What its producer sends, and what each of its consumers acts on.
fn operations_of(topic: &Topic) -> anyhow::Result<Vec<(String, Value)>> {
    let refer = |entry: &Entry| value!({ "$ref": format!("#/channels/{}/messages/{}", topic.name, entry.name) });
    let operation = |role: Role, action: &str, summary: String, messages: Vec<Value>| {
        let verb = if action == "send" { "publishes" } else { "follows" };
        let operation = value!({
            "action": action,
            "channel": { "$ref": format!("#/channels/{}", topic.name) },
            "summary": summary,
            "tags": [{ "name": role.name() }],
            "messages": messages
        });
        (format!("{}_{verb}_{}", role.name(), topic.name), operation)
    };
    let all: Vec<Value> = topics::messages(topic.name).map(refer).collect();
    let publishes = format!("The {} publishes {}.", topic.producer.title(), topic.name);
    let mut operations = vec![operation(topic.producer, "send", publishes, all)];
    for (role, _) in topics::followers(topic.name) {
        let mut acted_on = Vec::new();
        for entry in topics::messages(topic.name) {
            if topics::actors(entry, &sample(entry)?).contains(role) {
                acted_on.push(refer(entry));
            }
        }
        let summary = if acted_on.is_empty() {
            format!("The {} follows {} and acts on none of it so far.", role.title(), topic.name)
        } else {
            format!("The {} follows {} and acts on these.", role.title(), topic.name)
        };
        operations.push(operation(*role, "receive", summary, acted_on));
    }
    Ok(operations)
}

fn message(entry: &Entry, schemas: &mut Map<String, Value>) -> anyhow::Result<Value> {
    let mut schema = (entry.schema)().to_value();
    let summary = schema["description"].as_str().unwrap_or_default().to_owned();
    let title = schema["title"].clone();
    if let Some(Value::Object(definitions)) = schema.as_object_mut().and_then(|schema| schema.remove("$defs")) {
        schemas.extend(definitions.into_iter().map(|(name, definition)| (name, relocated(definition))));
    }
    if let Some(schema) = schema.as_object_mut() {
        schema.remove("$schema");
    }
    Ok(value!({
        "name": entry.name,
        "title": title,
        "summary": summary,
        "contentType": "application/json",
        "headers": { "$ref": "#/components/schemas/Envelope" },
        "payload": relocated(schema),
        "bindings": { "kafka": { "key": { "type": "string", "format": "uuid" }, "bindingVersion": "0.5.0" } },
        "examples": [{ "name": entry.name, "payload": sample(entry)? }],
        "x-topic": entry.topic,
        "x-key": entry.key,
        "x-version": entry.version
    }))
}

fn sample(entry: &Entry) -> anyhow::Result<Value> {
    Ok(json(&format!("samples/{}.v{}.json", entry.name, entry.version))?.unwrap_or_default())
}

/// References to a schema's own definitions lead to those of the document.
fn relocated(schema: Value) -> Value {
    match schema {
        Value::Object(members) => {
            let member =
                |(name, value): (String, Value)| match value.as_str().and_then(|path| path.strip_prefix("#/$defs/")) {
                    Some(definition) if name == "$ref" => {
                        let path = format!("#/components/schemas/{definition}");
                        (name, Value::String(path))
                    }
                    _ => (name, relocated(value)),
                };
            Value::Object(members.into_iter().map(member).collect())
        }
        Value::Array(values) => Value::Array(values.into_iter().map(relocated).collect()),
        other => other,
    }
}

fn envelope() -> Value {
    let text = |description: &str| value!({ "type": "string", "description": description });
    let id = |description: &str| value!({ "type": "string", "format": "uuid", "description": description });
    value!({
        "type": "object",
        "description": "CloudEvents attributes, each as a header.",
        "required": [
            "ce_specversion", "ce_id", "ce_type", "ce_source", "ce_time", "ce_correlationid", "ce_causationid", "content-type"
        ],
        "properties": {
            "ce_specversion": { "type": "string", "const": "1.0" },
            "ce_id": id("The message's own: the same however often it comes. A command's is that of its step."),
            "ce_type": text("The message's name."),
            "ce_source": text("The service that published it."),
            "ce_time": { "type": "string", "format": "date-time", "description": "When the event was recorded." },
            "ce_subject": text("The aggregate that it happened to."),
            "ce_sequence": text("The event's place in its stream."),
            "ce_correlationid": id("The whole story's: the first request's."),
            "ce_causationid": id("The event that it was made from."),
            "ce_dataversion": text("The version of the data's form, where it is not the first."),
            "content-type": { "type": "string", "const": "application/json" },
            "traceparent": text("W3C trace context."),
            "replay": text("The replay that published it again. Who is no part of that replay passes it by.")
        }
    })
}
