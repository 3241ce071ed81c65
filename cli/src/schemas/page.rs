//! `docs/event-catalogue.md`.

use super::catalogue::{self, Described, What, json};
use super::topics;
use crate::ports::Role;
use event_schemas::Entry;
use serde_json::Value;
use std::fmt::Write as _;

const INTRODUCTION: &str = "\
# Event catalogue

Written by `sagashop schemas write`: the types, publishers and consumers of the program itself. A test compares.

Two kinds of events: what a service keeps is its own affair and may change with an upcaster; what it publishes is a promise
to others. Both have a JSON Schema and a golden sample of each version under [event-schemas](../event-schemas), and
[asyncapi.json](../event-schemas/asyncapi.json) has all topics. How they may change: [decision 20](decisions/0020-forms-of-events.md).
`sagashop schemas list`, `show`, `diff` and `check` tell the same, and what a change would break.

Every record has the same envelope in its headers (CloudEvents 1.0): `ce_id`, `ce_type`, `ce_source`, `ce_time`,
`ce_subject`, `ce_sequence`, `ce_correlationid`, `ce_causationid`, and `traceparent` where there is a trace. A record may come
again, with the same `ce_id`. One with the header `replay` was published again for a new consumer: all others pass it by.
";

/// The page.
///
/// # Errors
/// A sample is damaged.
pub fn page() -> anyhow::Result<String> {
    let mut page = INTRODUCTION.to_owned();
    page.push_str("\n## Topics\n\n| topic | about | key | published by | followed by |\n|---|---|---|---|---|\n");
    for topic in topics::all() {
        let mut keys: Vec<&str> = topics::messages(topic.name).map(|entry| entry.key).collect();
        keys.dedup();
        let followers: Vec<&str> = topics::followers(topic.name).map(|(role, _)| role.name()).collect();
        let (name, about, producer) = (topic.name, topic.about, topic.producer.name());
        writeln!(
            page,
            "| [{name}](#{name}) | {about} | `{}` | {producer} | {} |",
            keys.join("`, `"),
            followers.join(", ")
        )?;
    }
    page.push_str("\n# Published messages\n");
    let today = catalogue::today();
    for topic in topics::all() {
        write!(page, "\n## {}\n\n{}\n", topic.name, topic.about)?;
        for entry in topics::messages(topic.name) {
            message(&mut page, entry, &made_from(&today, entry)?)?;
        }
    }
    page.push_str("\n# Stored events\n");
    let mut last = "";
    for event in catalogue::every_version()? {
        let What::Stored { service, aggregate } = event.what else { continue };
        if aggregate != last {
            write!(page, "\n## {aggregate}\n\nIn the store of {}.\n", title(service))?;
            last = aggregate;
        }
        stored(&mut page, &event, service, aggregate)?;
    }
    Ok(page)
}

fn message(page: &mut String, entry: &Entry, made_from: &[String]) -> anyhow::Result<()> {
    let schema = (entry.schema)().to_value();
    let sample = json(&format!("samples/{}.v{}.json", entry.name, entry.version))?.unwrap_or_default();
    let actors: Vec<&str> = topics::actors(entry, &sample).into_iter().map(Role::name).collect();
    let actors = if actors.is_empty() { "nobody so far".to_owned() } else { actors.join(", ") };
    writeln!(page, "\n### {}\n\n{}\n", entry.name, schema["description"].as_str().unwrap_or_default())?;
    writeln!(
        page,
        "Version {}, key `{}`, acted on by {actors}, made from {}.\n",
        entry.version,
        entry.key,
        made_from.join(", ")
    )?;
    fields(page, &schema, &schema)?;
    example(page, &sample)
}

/// The stored events that become this message.
fn made_from(today: &[Described], entry: &Entry) -> anyhow::Result<Vec<String>> {
    let mut made_from = Vec::new();
    for event in today {
        let What::Stored { service, aggregate } = event.what else { continue };
        let (Some(sample), Some(role)) = (event.sample()?, role(service)) else { continue };
        if topics::published_as(role, aggregate, event, &sample).contains(&entry.name) {
            made_from.push(format!("`{}`", event.name));
        }
    }
    // A command's sample holds one of the commands: the event is the same for all.
    if made_from.is_empty() {
        made_from.push("`order_fulfilment/command_issued`".to_owned());
    }
    Ok(made_from)
}

fn stored(page: &mut String, event: &Described, service: &str, aggregate: &str) -> anyhow::Result<()> {
    let version = if event.is_current { String::new() } else { format!(", version {}", event.version) };
    let name = event.name.split('/').nth(1).unwrap_or_default();
    writeln!(page, "\n### {aggregate}/{name}{version}\n")?;
    if !event.summary().is_empty() {
        writeln!(page, "{}\n", event.summary())?;
    }
    let sample = event.sample()?.unwrap_or_default();
    if event.is_current {
        let published =
            role(service).map(|role| topics::published_as(role, aggregate, event, &sample)).unwrap_or_default();
        let published = match published.as_slice() {
            [] => "not published".to_owned(),
            names => {
                format!("published as {}", names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "))
            }
        };
        writeln!(page, "Version {}, {published}.\n", event.version)?;
        // What is tagged with its type has its fields below that.
        let tagged = &event.schema["properties"][event.schema["title"].as_str().unwrap_or_default()];
        fields(page, &event.schema, if tagged.is_null() { &event.schema } else { tagged })?;
    } else {
        writeln!(page, "Not written any more: read as what it means today.\n")?;
    }
    example(page, &sample)
}

/// The fields of an object.
fn fields(page: &mut String, document: &Value, schema: &Value) -> anyhow::Result<()> {
    let Some(properties) = schema["properties"].as_object().filter(|properties| !properties.is_empty()) else {
        return Ok(());
    };
    let required = schema["required"].as_array().cloned().unwrap_or_default();
    page.push_str("| field | type | |\n|---|---|---|\n");
    for (name, field) in properties {
        let about = field["description"].as_str().unwrap_or_default().replace('\n', " ");
        let may_be_missing = if required.iter().any(|field| field == name) { "" } else { ", may be missing" };
        writeln!(page, "| `{name}` | {}{may_be_missing} | {about} |", type_of(document, field))?;
    }
    page.push('\n');
    Ok(())
}

fn type_of(document: &Value, field: &Value) -> String {
    if let Some(path) = field["$ref"].as_str() {
        let name = path.rsplit('/').next().unwrap_or_default();
        let definition = path.strip_prefix('#').and_then(|pointer| document.pointer(pointer)).unwrap_or(&Value::Null);
        let values = values(definition);
        return if values.is_empty() { name.to_owned() } else { values };
    }
    if let Some(any) = field["anyOf"].as_array() {
        return any.iter().map(|one| type_of(document, one)).collect::<Vec<_>>().join(" or ");
    }
    let values = values(field);
    if !values.is_empty() {
        return values;
    }
    let named = |name: &str| match (name, field["format"].as_str()) {
        ("array", _) => format!("list of {}", type_of(document, &field["items"])),
        ("string", Some(format)) => format.to_owned(),
        (name, _) => name.to_owned(),
    };
    match &field["type"] {
        Value::String(name) => named(name),
        Value::Array(names) => names.iter().filter_map(Value::as_str).map(named).collect::<Vec<_>>().join(" or "),
        _ => "anything".to_owned(),
    }
}

/// The values of an enumeration.
fn values(schema: &Value) -> String {
    let several = schema["oneOf"].as_array().map(Vec::as_slice).unwrap_or_default();
    let of = |schema: &Value| {
        let values = schema["enum"].as_array().cloned().unwrap_or_default();
        values.into_iter().chain(schema.get("const").cloned()).map(|value| format!("`{value}`")).collect::<Vec<_>>()
    };
    let all = of(schema).into_iter().chain(several.iter().flat_map(of));
    all.collect::<Vec<_>>().join(", ").replace('"', "")
}

fn example(page: &mut String, sample: &Value) -> anyhow::Result<()> {
    writeln!(page, "```json\n{sample:#}\n```")?;
    Ok(())
}

fn role(service: &str) -> Option<Role> {
    Role::ALL.into_iter().find(|role| role.name() == service)
}

fn title(service: &str) -> String {
    role(service).map_or_else(|| service.to_owned(), |role| format!("the {}", role.title()))
}
