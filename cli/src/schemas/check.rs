//! `schemas check`: what the program's types say, held against the versions that are committed.

use super::catalogue::{self, Described, What};
use super::{asyncapi, folder, stored, topics};
use crate::args::SchemasCheckArgs;
use crate::events::kinds::Kind;
use crate::exit::{Code, Failure};
use crate::output::{self, Format, Row};
use anyhow::Context;
use event_schemas::compatibility::{self, Rule};
use event_schemas::{Entry, FILES};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// A rule that is broken.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Finding {
    pub(super) event: String,
    pub(super) version: u32,
    pub(super) rule: &'static str,
    /// Who cannot read whom.
    pub(super) breaks: &'static str,
    pub(super) at: String,
    pub(super) what: String,
}

impl Row for Finding {
    const COLUMNS: &'static [&'static str] = &["event", "version", "rule", "breaks", "at", "what"];

    fn cells(&self) -> Vec<String> {
        let Self { event, version, rule, breaks, at, what } = self;
        vec![event.clone(), version.to_string(), (*rule).to_owned(), (*breaks).to_owned(), at.clone(), what.clone()]
    }
}

impl Finding {
    fn new(event: &str, version: u32, rule: Rule, at: &str, what: impl Into<String>) -> Self {
        let breaks = rule.direction().as_str();
        Self { event: event.to_owned(), version, rule: rule.as_str(), breaks, at: at.to_owned(), what: what.into() }
    }
}

/// Checks and prints what is found. Exits with [`Code::Violated`] when something is.
pub(super) fn check(format: Format, args: &SchemasCheckArgs) -> anyhow::Result<Code> {
    let before = committed(args.against.as_deref())?;
    let findings = match &args.of {
        Some(of) => findings_of(&before, &committed(Some(of))?),
        None => findings(&before, &catalogue::today())?,
    };
    if !findings.is_empty() || format != Format::Table {
        output::rows(format, &findings)?;
    }
    if findings.is_empty() {
        eprintln!("{} schemas were checked: nothing breaks who reads them.", before.schemas.len());
        return Ok(Code::Done);
    }
    eprintln!("A field may come that may be missing. Whatever else changes needs a new version; a stored event's, an");
    eprintln!("upcaster too: docs/decisions/0020-forms-of-events.md.");
    Ok(Code::Violated)
}

/// What was committed: schemas and samples by their file names.
#[derive(Default)]
pub(super) struct Committed {
    pub(super) schemas: BTreeMap<String, Value>,
    samples: BTreeMap<String, Value>,
    asyncapi: Option<Value>,
}

/// What a folder holds; without one, what the program was built with.
///
/// # Errors
/// The folder cannot be read, holds no schemas, or one of its files is damaged.
pub(super) fn committed(folder: Option<&Path>) -> anyhow::Result<Committed> {
    let mut committed = Committed::default();
    let mut take = |name: &str, text: &str| -> anyhow::Result<()> {
        let value = serde_json::from_str(text).with_context(|| format!("{name} is damaged"))?;
        let into = if name.contains("schemas/") { &mut committed.schemas } else { &mut committed.samples };
        into.insert(name.to_owned(), value);
        Ok(())
    };
    let Some(folder) = folder else {
        FILES.iter().try_for_each(|(name, text)| take(name, text))?;
        // The committed one: a test compares.
        committed.asyncapi = Some(asyncapi::document()?);
        return Ok(committed);
    };
    for below in ["schemas", "samples", "stored/schemas", "stored/samples"] {
        let Ok(entries) = std::fs::read_dir(folder.join(below)) else { continue };
        for entry in entries {
            let path = entry?.path();
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            if !name.ends_with(".json") {
                continue;
            }
            let text = std::fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display()))?;
            take(&format!("{below}/{name}"), &text)?;
        }
    }
    if committed.schemas.is_empty() {
        let message = format!("{} holds no schemas: name a folder such as event-schemas", folder.display());
        return Err(Failure::new(Code::Unchecked, message).into());
    }
    let asyncapi = std::fs::read_to_string(folder.join("asyncapi.json")).ok();
    committed.asyncapi = asyncapi.and_then(|text| serde_json::from_str(&text).ok());
    Ok(committed)
}

/// Every rule that today's events break against what was committed.
pub(super) fn findings(before: &Committed, today: &[Described]) -> anyhow::Result<Vec<Finding>> {
    let mut findings = forms(before, today);
    for (file, sample) in &before.samples {
        let Some((name, version)) = event_of(file) else { continue };
        let event = today.iter().find(|event| event.name == name);
        if let Some(error) = event.and_then(|event| unreadable(event, version, sample)) {
            findings.push(Finding::new(&name, version, Rule::Removed, "", error));
        }
    }
    let place = |event: &Described| match event.what {
        What::Published { topic, key } => Some((topic.to_owned(), key.to_owned())),
        What::Stored { .. } => None,
    };
    moved(before, today, &place, &mut findings);
    Ok(findings)
}

/// Every rule that the events of a folder break. Whether this program reads the samples of before says nothing of them.
fn findings_of(before: &Committed, of: &Committed) -> Vec<Finding> {
    let events = folder::latest(of);
    let mut findings = forms(before, &events);
    let place = |event: &Described| {
        let message = of.asyncapi.as_ref()?["components"]["messages"].get(&event.name)?;
        Some((message["x-topic"].as_str()?.to_owned(), message["x-key"].as_str()?.to_owned()))
    };
    moved(before, &events, &place, &mut findings);
    findings
}

/// What is gone, and what in a version has another form.
fn forms(before: &Committed, today: &[Described]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (file, schema) in &before.schemas {
        let Some((name, version)) = event_of(file) else { continue };
        let Some(event) = today.iter().find(|event| event.name == name) else {
            findings.push(Finding::new(&name, version, Rule::Removed, "", "there is no such event any more"));
            continue;
        };
        if version > event.version {
            let what = format!("today's version is {}, and this one was written already", event.version);
            findings.push(Finding::new(&name, version, Rule::Removed, "", what));
        } else if version == event.version {
            for compatibility::Broken { rule, at, what } in compatibility::compare(schema, &event.schema) {
                findings.push(Finding::new(&name, version, rule, &at, what));
            }
        }
    }
    findings
}

/// Why a sample of a version cannot be read today.
pub(super) fn unreadable(event: &Described, version: u32, sample: &Value) -> Option<String> {
    match event.what {
        // Messages of earlier versions are not kept: they are gone with the topic's retention.
        What::Published { .. } if version < event.version => None,
        What::Published { .. } => {
            let entry = Entry::named(&event.name)?;
            (entry.understood)(sample).err().map(|error| format!("its sample cannot be read: {error}"))
        }
        What::Stored { aggregate, .. } => {
            if let Some(understood) = stored::understood(aggregate) {
                return understood(sample).err().map(|error| format!("its sample cannot be read: {error}"));
            }
            let kind = Kind::named(aggregate)?;
            let row = topics::recorded(aggregate, &Described { version, ..event.clone() }, sample);
            kind.read(&row.stored()).err().map(|error| format!("its sample cannot be read: {error}"))
        }
    }
}

/// Messages that go to another topic, or with another key, than the document of all topics said.
fn moved(
    before: &Committed,
    today: &[Described],
    place: &dyn Fn(&Described) -> Option<(String, String)>,
    findings: &mut Vec<Finding>,
) {
    let Some(asyncapi) = &before.asyncapi else { return };
    for event in today {
        let Some((topic, key)) = place(event) else { continue };
        let message = &asyncapi["components"]["messages"][&event.name];
        for (rule, was, is) in
            [(Rule::TopicChanged, &message["x-topic"], topic), (Rule::KeyChanged, &message["x-key"], key)]
        {
            if let Some(was) = was.as_str().filter(|was| *was != is) {
                findings.push(Finding::new(&event.name, event.version, rule, "", format!("was {was} and is {is}")));
            }
        }
    }
}

/// The event that a file is about, and its version.
pub(super) fn event_of(file: &str) -> Option<(String, u32)> {
    let (folder, file) = file.rsplit_once('/')?;
    let (name, version) = file.strip_suffix(".json")?.rsplit_once(".v")?;
    let name = if folder.starts_with("stored") { name.replacen('.', "/", 1) } else { name.to_owned() };
    Some((name, version.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rules(change: impl FnOnce(&mut Committed)) -> Vec<String> {
        let mut before = committed(None).expect("what it was built with");
        change(&mut before);
        let findings = findings(&before, &catalogue::today()).expect("comparable");
        findings
            .into_iter()
            .map(|found| format!("{} v{}: {} {}", found.event, found.version, found.rule, found.at))
            .collect()
    }

    #[test]
    fn what_is_committed_is_not_broken_today() {
        assert_eq!(rules(|_| {}), Vec::<String>::new());
    }

    #[test]
    fn a_break_is_told_by_its_rule() {
        // What was committed had a field more, a status more, another type, and one that need not be there.
        let broken = rules(|before| {
            let placed = before.schemas.get_mut("stored/schemas/order.order_placed.v1.json").expect("committed");
            placed["properties"]["order_placed"]["properties"]["gift"] = json!({ "type": "boolean" });
            let created = before.schemas.get_mut("schemas/order_created.v1.json").expect("committed");
            created["$defs"]["OrderStatus"]["oneOf"].as_array_mut().expect("values").push(json!({ "const": "lost" }));
            created["properties"]["payment_method"]["type"] = "integer".into();
            let required = created["required"].as_array_mut().expect("fields");
            required.retain(|field| field != "currency");
        });
        assert_eq!(
            broken,
            [
                "order_created v1: type-changed payment_method",
                "order_created v1: enum-narrowed status",
                "order_created v1: required-added currency",
                "order/order_placed v1: field-removed order_placed.gift",
            ]
            .map(str::to_owned)
        );
    }

    #[test]
    fn a_changed_copy_is_told_by_its_rules_as_a_program_would_be() {
        let (before, mut copy) = (committed(None).expect("built in"), committed(None).expect("built in"));
        let told = |copy: &Committed| {
            let told = findings_of(&before, copy).into_iter();
            told.map(|found| format!("{}: {} {}", found.event, found.rule, found.at)).collect::<Vec<_>>()
        };
        assert_eq!(told(&copy), Vec::<String>::new());
        let created = copy.schemas.get_mut("schemas/order_created.v1.json").expect("committed");
        created["properties"].as_object_mut().expect("fields").remove("payment_method");
        created["required"].as_array_mut().expect("fields").retain(|field| field != "payment_method");
        created["properties"]["total_price"]["type"] = "string".into();
        created["$defs"]["OrderStatus"]["oneOf"].as_array_mut().expect("values").pop();
        created["required"].as_array_mut().expect("fields").push("address_id".into());
        copy.schemas.remove("stored/schemas/order.order_placed.v1.json");
        // Nobody knows it, and nobody misses it.
        let foreign = copy.schemas["schemas/order_created.v1.json"].clone();
        copy.schemas.insert("schemas/basket_filled.v1.json".to_owned(), foreign);
        assert_eq!(
            told(&copy),
            [
                "order_created: field-removed payment_method",
                "order_created: enum-narrowed status",
                "order_created: type-changed total_price",
                "order_created: required-added address_id",
                "order/order_placed: removed ",
            ]
        );
    }

    #[test]
    fn what_is_gone_is_told() {
        let gone = rules(|before| {
            let schema = before.schemas["schemas/order_created.v1.json"].clone();
            before.schemas.insert("schemas/order_created.v2.json".to_owned(), schema.clone());
            before.schemas.insert("schemas/basket_filled.v1.json".to_owned(), schema);
            let unreadable = json!({ "stock_restocked": { "quantity": "many" } });
            before.samples.insert("stored/samples/stock.stock_restocked.v1.json".to_owned(), unreadable);
        });
        assert_eq!(
            gone,
            [
                "basket_filled v1: removed ".to_owned(),
                "order_created v2: removed ".to_owned(),
                "stock/stock_restocked v1: removed ".to_owned(),
            ]
        );
    }
}
