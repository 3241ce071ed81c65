//! `schemas show`: one event's form and example.

use super::catalogue::{self, Described, What};
use super::topics;
use crate::args::SchemasShowArgs;
use crate::exit::Code;
use crate::output::{self, Format, Row};
use crate::ports::Role;
use event_schemas::Entry;
use serde::Serialize;
use serde_json::Value;

/// All there is to say of it.
#[derive(Serialize)]
struct Shown {
    name: String,
    version: u32,
    #[serde(flatten)]
    what: What,
    /// Who writes it.
    producer: String,
    /// Who acts on it; of a stored event, the messages that it becomes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    consumers: Vec<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    published_as: Vec<&'static str>,
    schema: Value,
    example: Option<Value>,
}

impl Row for Shown {
    const COLUMNS: &'static [&'static str] =
        &["event", "version", "is", "producer", "consumers", "published as", "about"];

    fn cells(&self) -> Vec<String> {
        let is = match &self.what {
            What::Published { topic, key } => format!("published on {topic}, by {key}"),
            What::Stored { service, aggregate } => format!("stored by the {service} in streams of {aggregate}"),
        };
        let about = self.schema["description"].as_str().unwrap_or_default().to_owned();
        let (consumers, published) = (self.consumers.join(", "), self.published_as.join(", "));
        vec![self.name.clone(), self.version.to_string(), is, self.producer.clone(), consumers, published, about]
    }
}

/// Prints it.
pub(super) fn show(format: Format, args: &SchemasShowArgs) -> anyhow::Result<Code> {
    let described = catalogue::named(&args.name, args.version)?;
    let sample = described.sample()?;
    if args.schema {
        output::text(&format!("{:#}", described.schema))?;
        return Ok(Code::Done);
    }
    if args.example {
        output::text(&sample.map(|sample| format!("{sample:#}")).unwrap_or_default())?;
        return Ok(Code::Done);
    }
    let shown = shown(described, sample);
    output::one(format, &shown)?;
    if format == Format::Table {
        output::text(&format!("\nSchema\n{:#}", shown.schema))?;
        if let Some(example) = &shown.example {
            output::text(&format!("\nExample\n{example:#}"))?;
        }
    }
    Ok(Code::Done)
}

fn shown(described: Described, example: Option<Value>) -> Shown {
    let role_of = |service: &str| Role::ALL.into_iter().find(|role| role.name() == service);
    let (mut consumers, mut published_as) = (Vec::new(), Vec::new());
    let producer = match described.what {
        What::Published { topic, .. } => {
            if let (Some(entry), Some(sample)) = (Entry::named(&described.name), &example) {
                consumers = topics::actors(entry, sample).into_iter().map(Role::name).collect();
            }
            crate::restore::owner(topic).name().to_owned()
        }
        What::Stored { service, aggregate } => {
            if let (Some(role), Some(sample)) = (role_of(service), &example) {
                published_as = topics::published_as(role, aggregate, &described, sample);
            }
            service.to_owned()
        }
    };
    let Described { name, what, version, schema, .. } = described;
    Shown { name, version, what, producer, consumers, published_as, schema, example }
}
