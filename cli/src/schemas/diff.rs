//! `schemas diff`: how two versions of an event differ, or a committed one and today's.

use super::catalogue::{self, Described};
use super::check::committed;
use crate::args::SchemasDiffArgs;
use crate::exit::{Code, Failure};
use crate::output::{self, Format, Row};
use crate::stream::changes;
use event_schemas::compatibility;
use serde::Serialize;
use serde_json::Value;

/// A place that differs.
#[derive(Serialize)]
struct Differs {
    at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<Value>,
    /// The rule that this would break within one version.
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<&'static str>,
}

impl Row for Differs {
    const COLUMNS: &'static [&'static str] = &["at", "before", "after", "within one version"];

    fn cells(&self) -> Vec<String> {
        let text = |value: &Option<Value>| value.as_ref().map(Value::to_string).unwrap_or_default();
        let rule = self.rule.map(|rule| format!("breaks {rule}")).unwrap_or_default();
        vec![self.at.clone(), text(&self.before), text(&self.after), rule]
    }
}

/// Prints the differences.
pub(super) fn diff(format: Format, args: &SchemasDiffArgs) -> anyhow::Result<Code> {
    let (before, after, between) = both(args)?;
    let mut lines: Vec<Differs> = compatibility::compare(&before, &after)
        .into_iter()
        .map(|broken| Differs {
            at: broken.at,
            before: None,
            after: Some(broken.what.into()),
            rule: Some(broken.rule.as_str()),
        })
        .collect();
    lines.extend(changes(&before, &after).into_iter().map(|change| Differs {
        at: format!("schema: {}", change.path),
        before: change.before,
        after: change.after,
        rule: None,
    }));
    if lines.is_empty() && format == Format::Table {
        eprintln!("{between} are alike.");
    } else {
        output::rows(format, &lines)?;
    }
    Ok(Code::Done)
}

/// Both schemas, and what they are.
fn both(args: &SchemasDiffArgs) -> anyhow::Result<(Value, Value, String)> {
    let after = catalogue::named(&args.name, args.to)?;
    if let Some(folder) = &args.against {
        let before = committed(Some(folder))?.schemas.remove(&after.schema_file());
        let missing = || Failure::new(Code::Failed, format!("{} has no {}", folder.display(), after.schema_file()));
        let between = format!("{} version {} there and here", after.name, after.version);
        return Ok((before.ok_or_else(missing)?, after.schema, between));
    }
    let Some(from) = args.from.or_else(|| after.version.checked_sub(1).filter(|from| *from > 0)) else {
        let message = format!(
            "{} has one version alone: name a folder with --against to compare it with what was committed elsewhere",
            after.name
        );
        return Err(Failure::new(Code::Usage, message).into());
    };
    let before: Described = catalogue::named(&after.name, Some(from))?;
    let between = format!("{} versions {} and {}", after.name, before.version, after.version);
    Ok((before.schema, after.schema, between))
}
