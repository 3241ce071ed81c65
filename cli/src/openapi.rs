//! `sagashop openapi`: the services' documents, and what a new one may not do to the clients of the one before it.

mod breaking;

use crate::args::OpenapiArgs;
use crate::exit::{Code, Failure};
use crate::output::{self, Format};
use crate::ports::Role;
use anyhow::Context;
use clap::ValueEnum;
use clap::builder::PossibleValue;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Whose document: a role's, or that of the payment provider for trying.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// A role of the shop.
    Role(Role),
    /// The payment provider: the protocol that `PAYMENT_PROVIDER=http` speaks.
    Psp,
}

impl Of {
    /// All that have one.
    pub const ALL: [Self; 7] = [
        Self::Role(Role::User),
        Self::Role(Role::Product),
        Self::Role(Role::Order),
        Self::Role(Role::Payment),
        Self::Role(Role::Notification),
        Self::Role(Role::Orchestrator),
        Self::Psp,
    ];

    /// The name, as in `sagashop openapi <name>`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Role(role) => role.name(),
            Self::Psp => "psp",
        }
    }

    /// What a person calls it.
    pub fn title(self) -> String {
        match self {
            Self::Role(role) => role.title(),
            Self::Psp => "payment provider".to_owned(),
        }
    }

    fn openapi(self) -> String {
        match self {
            Self::Role(role) => role.openapi(),
            Self::Psp => psp_service::openapi(),
        }
    }
}

impl ValueEnum for Of {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        match self {
            Self::Role(role) => role.to_possible_value(),
            Self::Psp => Some(PossibleValue::new(self.name()).help("A payment provider for trying")),
        }
    }
}

/// Prints a document, or writes all of them.
///
/// # Errors
/// A file cannot be read or written; a document would break its clients, and its version says nothing of it.
pub fn run(format: Format, args: &OpenapiArgs) -> anyhow::Result<Code> {
    if let Some(of) = args.of {
        let document = of.openapi();
        match format {
            Format::Jsonl => output::text(&serde_json::from_str::<Value>(&document)?.to_string())?,
            Format::Table | Format::Json | Format::Mermaid => output::text(&document)?,
        }
    }
    let Some(folder) = &args.all else { return Ok(Code::Done) };
    std::fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    let mut faults = Vec::new();
    for of in Of::ALL {
        let broken = breaks(folder, of)?;
        if broken.is_empty() {
            let path = path(folder, of);
            std::fs::write(&path, document(of)?).with_context(|| format!("{} cannot be written", path.display()))?;
        }
        faults.extend(broken.into_iter().map(|broken| format!("{}: {broken}", of.title())));
    }
    if faults.is_empty() {
        return Ok(Code::Done);
    }
    let message = format!("these changes break clients and need a new version of the API:\n  {}", faults.join("\n  "));
    Err(Failure::new(Code::Violated, message).into())
}

/// Where a folder holds a document.
pub fn path(folder: &Path, of: Of) -> PathBuf {
    folder.join(format!("{}.json", of.name()))
}

/// A document as it is committed: its members sorted, an indented line each.
///
/// # Errors
/// It is no JSON.
pub fn document(of: Of) -> anyhow::Result<String> {
    let document: Value = serde_json::from_str(&of.openapi())?;
    Ok(serde_json::to_string_pretty(&document)? + "\n")
}

/// What in a document of today breaks the clients of the one in the folder; nothing where there is none, or where
/// the version says that it breaks.
///
/// # Errors
/// The file cannot be read, or one of both is no OpenAPI document.
pub fn breaks(folder: &Path, of: Of) -> anyhow::Result<Vec<String>> {
    let path = path(folder, of);
    let before = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("{} cannot be read", path.display())),
    };
    let before: Value = serde_json::from_str(&before).with_context(|| format!("{} is damaged", path.display()))?;
    let after: Value = serde_json::from_str(&of.openapi())?;
    let version = |document: &Value| document["info"]["version"].as_str().unwrap_or_default().to_owned();
    if may_break(&version(&before), &version(&after)) {
        return Ok(Vec::new());
    }
    Ok(breaking::breaking(&before, &after))
}

/// Whether a version promises less than the one before it did: by its major number, and while that is 0 by its minor.
fn may_break(before: &str, after: &str) -> bool {
    let promise = |version: &str| {
        let mut numbers = version.split('.').map(|number| number.parse::<u64>().unwrap_or(0));
        let (major, minor) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        if major == 0 { (0, minor) } else { (major, 0) }
    };
    promise(after) > promise(before)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_role_has_a_document() {
        assert!(Role::ALL.iter().all(|role| Of::ALL.contains(&Of::Role(*role))));
    }

    #[test]
    fn a_new_version_may_break() {
        for (before, after) in [("1.4.0", "2.0.0"), ("0.1.0", "0.2.0"), ("0.9.9", "1.0.0")] {
            assert!(may_break(before, after), "{before} {after}");
        }
        for (before, after) in
            [("1.4.0", "1.5.0"), ("0.1.0", "0.1.1"), ("2.0.0", "1.9.0"), ("1.0.0", "1.0.0"), ("", "")]
        {
            assert!(!may_break(before, after), "{before} {after}");
        }
    }

    #[test]
    fn documents_are_written_where_they_break_nobody() {
        let folder = tempfile::tempdir().expect("a folder");
        let args = OpenapiArgs { of: None, all: Some(folder.path().to_owned()) };
        assert_eq!(run(Format::Json, &args).expect("written"), Code::Done);
        for of in Of::ALL {
            let written = std::fs::read_to_string(path(folder.path(), of)).expect("a file");
            assert_eq!(written, document(of).expect("JSON"));
        }
        // The one before had a path that is gone today.
        let path = path(folder.path(), Of::Role(Role::Order));
        let mut before: Value = serde_json::from_str(&document(Of::Role(Role::Order)).expect("JSON")).expect("JSON");
        before["paths"]["/baskets"] = serde_json::json!({ "get": { "responses": { "200": {} } } });
        std::fs::write(&path, before.to_string()).expect("written");
        let error = run(Format::Json, &args).expect_err("refused");
        assert!(error.to_string().contains("order service: GET /baskets is gone"), "{error}");
        assert_eq!(std::fs::read_to_string(&path).expect("a file"), before.to_string(), "it is left as it was");
        before["info"]["version"] = "0.0.1".into();
        std::fs::write(&path, before.to_string()).expect("written");
        assert_eq!(run(Format::Json, &args).expect("written"), Code::Done);
    }
}
