//! Every event in every version: what the program's types say today, and what is committed of earlier forms.

use super::stored;
use crate::events::unknown;
use anyhow::Context;
use event_schemas::{CATALOGUE, FILES};
use serde::Serialize;
use serde_json::Value;

/// What kind of event it is.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub(crate) enum What {
    /// It crosses the broker.
    Published {
        /// Where.
        topic: &'static str,
        /// The field that is its record's key.
        key: &'static str,
    },
    /// A service keeps it.
    Stored {
        /// Which.
        service: &'static str,
        /// The kind of aggregate that it happens to.
        aggregate: &'static str,
    },
}

/// An event in one of its versions.
#[derive(Clone, Debug)]
pub(crate) struct Described {
    /// Its name; that of a stored event begins with its aggregate: `order/order_placed`.
    pub(crate) name: String,
    pub(crate) what: What,
    pub(crate) version: u32,
    /// Whether it is written in this form today.
    pub(crate) is_current: bool,
    /// Its JSON Schema.
    pub(crate) schema: Value,
}

impl Described {
    fn folder(&self) -> &'static str {
        match self.what {
            What::Published { .. } => "",
            What::Stored { .. } => "stored/",
        }
    }

    /// Where its schema is committed, below `event-schemas`.
    pub(crate) fn schema_file(&self) -> String {
        format!("{}schemas/{}", self.folder(), self.file())
    }

    /// Where its sample is.
    pub(crate) fn sample_file(&self) -> String {
        format!("{}samples/{}", self.folder(), self.file())
    }

    fn file(&self) -> String {
        format!("{}.v{}.json", self.name.replace('/', "."), self.version)
    }

    /// Its example, if there is one.
    ///
    /// # Errors
    /// The file is no JSON.
    pub(crate) fn sample(&self) -> anyhow::Result<Option<Value>> {
        json(&self.sample_file())
    }

    /// What it is, in a line.
    pub(crate) fn summary(&self) -> &str {
        self.schema["description"].as_str().unwrap_or_default()
    }
}

/// An embedded file as JSON.
pub(super) fn json(path: &str) -> anyhow::Result<Option<Value>> {
    let text = event_schemas::file(path);
    text.map(serde_json::from_str).transpose().with_context(|| format!("{path} is damaged"))
}

/// Every event as it is written today.
pub(crate) fn today() -> Vec<Described> {
    let published = CATALOGUE.iter().map(|entry| Described {
        name: entry.name.to_owned(),
        what: What::Published { topic: entry.topic, key: entry.key },
        version: entry.version,
        is_current: true,
        schema: (entry.schema)().to_value(),
    });
    published.chain(stored::today()).collect()
}

/// Every event in every version that is committed or written today.
///
/// # Errors
/// A committed schema is no JSON.
pub(crate) fn every_version() -> anyhow::Result<Vec<Described>> {
    let mut all = Vec::new();
    for today in today() {
        for version in 1..today.version {
            let mut earlier = Described { version, is_current: false, ..today.clone() };
            if let Some(schema) = json(&earlier.schema_file())? {
                earlier.schema = schema;
                all.push(earlier);
            }
        }
        all.push(today);
    }
    Ok(all)
}

/// The event of this name in this version, or as it is written today. A stored event may be named without its aggregate,
/// where only one is called so.
///
/// # Errors
/// There is no such event, or no such version of it.
pub(crate) fn named(name: &str, version: Option<u32>) -> anyhow::Result<Described> {
    let all = every_version()?;
    let called = |described: &&Described| described.name == name;
    let mut found: Vec<&Described> = all.iter().filter(called).collect();
    if found.is_empty() {
        found = all.iter().filter(|described| described.name.split('/').nth(1) == Some(name)).collect();
        found.dedup_by_key(|described| described.name.split('/').next().map(str::to_owned));
        let kinds: Vec<&str> = found.iter().map(|described| described.name.as_str()).collect();
        if let [_, _, ..] = kinds[..] {
            anyhow::bail!(crate::exit::Failure::new(
                crate::exit::Code::Usage,
                format!("{name} is the name of several events: {}", kinds.join(", "))
            ));
        }
        let kind = kinds.first().map(|kind| (*kind).to_owned());
        found = all.iter().filter(|described| Some(&described.name) == kind.as_ref()).collect();
    }
    let Some(last) = found.last() else {
        return Err(unknown("event", name, all.iter().map(|described| described.name.as_str())));
    };
    let wanted = version.unwrap_or(last.version);
    let in_version = found.iter().find(|described| described.version == wanted);
    in_version.map(|described| (*described).clone()).ok_or_else(|| {
        let known: Vec<String> = found.iter().map(|described| described.version.to_string()).collect();
        let message = format!("{} has no version {wanted}: it has {}", last.name, known.join(", "));
        crate::exit::Failure::new(crate::exit::Code::Usage, message).into()
    })
}

/// Names of embedded files that belong to no event.
pub(crate) fn strays() -> anyhow::Result<Vec<&'static str>> {
    let known: std::collections::BTreeSet<String> =
        every_version()?.iter().flat_map(|described| [described.schema_file(), described.sample_file()]).collect();
    Ok(FILES.iter().map(|(name, _)| *name).filter(|name| !known.contains(*name)).collect())
}
