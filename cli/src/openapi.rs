//! `sagashop openapi`: the services' documents, and what a new one may not do to the clients of the one before it.

mod breaking;

use crate::args::OpenapiArgs;
use crate::exit::{Code, Failure};
use crate::output::{self, Format};
use crate::ports::Role;
use anyhow::Context;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Prints a document, or writes all of them.
///
/// # Errors
/// A file cannot be read or written; a document would break its clients, and its version says nothing of it.
pub fn run(format: Format, args: &OpenapiArgs) -> anyhow::Result<Code> {
    if let Some(role) = args.role {
        let document = role.openapi();
        match format {
            Format::Jsonl => output::text(&serde_json::from_str::<Value>(&document)?.to_string())?,
            Format::Table | Format::Json | Format::Mermaid => output::text(&document)?,
        }
    }
    let Some(folder) = &args.all else { return Ok(Code::Done) };
    std::fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    let mut faults = Vec::new();
    for role in Role::ALL {
        let broken = breaks(folder, role)?;
        if broken.is_empty() {
            let path = path(folder, role);
            std::fs::write(&path, document(role)?).with_context(|| format!("{} cannot be written", path.display()))?;
        }
        faults.extend(broken.into_iter().map(|broken| format!("{}: {broken}", role.title())));
    }
    if faults.is_empty() {
        return Ok(Code::Done);
    }
    let message = format!("these changes break clients and need a new version of the API:\n  {}", faults.join("\n  "));
    Err(Failure::new(Code::Violated, message).into())
}

/// Where a folder holds a role's document.
pub fn path(folder: &Path, role: Role) -> PathBuf {
    folder.join(format!("{}.json", role.name()))
}

/// A role's document as it is committed: its members sorted, an indented line each.
///
/// # Errors
/// It is no JSON.
pub fn document(role: Role) -> anyhow::Result<String> {
    let document: Value = serde_json::from_str(&role.openapi())?;
    Ok(serde_json::to_string_pretty(&document)? + "\n")
}

/// What in a role's document of today breaks the clients of the one in the folder; nothing where there is none, or where
/// the version says that it breaks.
///
/// # Errors
/// The file cannot be read, or one of both is no OpenAPI document.
pub fn breaks(folder: &Path, role: Role) -> anyhow::Result<Vec<String>> {
    let path = path(folder, role);
    let before = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("{} cannot be read", path.display())),
    };
    let before: Value = serde_json::from_str(&before).with_context(|| format!("{} is damaged", path.display()))?;
    let after: Value = serde_json::from_str(&role.openapi())?;
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
        let args = OpenapiArgs { role: None, all: Some(folder.path().to_owned()) };
        assert_eq!(run(Format::Json, &args).expect("written"), Code::Done);
        for role in Role::ALL {
            let written = std::fs::read_to_string(path(folder.path(), role)).expect("a file");
            assert_eq!(written, document(role).expect("JSON"));
        }
        // The one before had a path that is gone today.
        let path = path(folder.path(), Role::Order);
        let mut before: Value = serde_json::from_str(&document(Role::Order).expect("JSON")).expect("JSON");
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
