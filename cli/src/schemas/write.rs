//! `schemas write`: writes all that can be generated, unless it would break somebody.

use super::{asyncapi, catalogue, check, page};
use crate::args::SchemasWriteArgs;
use crate::exit::{Code, Failure};
use crate::output::{self, Format, Row};
use anyhow::Context;
use serde::Serialize;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// A file that was written, or would be.
#[derive(Serialize)]
struct File {
    path: String,
    is: &'static str,
}

impl Row for File {
    const COLUMNS: &'static [&'static str] = &["file", ""];

    fn cells(&self) -> Vec<String> {
        vec![self.path.clone(), self.is.to_owned()]
    }
}

/// Writes the files whose text is another one now.
pub(super) fn write(format: Format, args: &SchemasWriteArgs) -> anyhow::Result<Code> {
    if args.folder.join("schemas").is_dir() {
        let findings = check::findings(&check::committed(Some(&args.folder))?, &catalogue::today())?;
        if !findings.is_empty() {
            output::rows(format, &findings)?;
            let message = "these changes break who reads the events, and need a new version: nothing was written";
            return Err(Failure::new(Code::Violated, message).into());
        }
    }
    let mut written = Vec::new();
    for (path, text) in files(&args.folder, &args.page)? {
        let before = std::fs::read_to_string(&path).ok();
        if before.as_deref() == Some(&text) {
            continue;
        }
        if !args.dry_run {
            let folder = path.parent().unwrap_or(Path::new("."));
            std::fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
            std::fs::write(&path, text).with_context(|| format!("{} cannot be written", path.display()))?;
        }
        let is = match (args.dry_run, before.is_some()) {
            (false, true) => "changed",
            (false, false) => "new",
            (true, true) => "would change",
            (true, false) => "would be new",
        };
        written.push(File { path: path.display().to_string(), is });
    }
    output::rows(format, &written)?;
    Ok(Code::Done)
}

/// Every generated file: where it is, and what must stand in it.
///
/// # Errors
/// A sample is damaged.
pub fn files(folder: &Path, page: &Path) -> anyhow::Result<Vec<(PathBuf, String)>> {
    let mut files: Vec<(PathBuf, String)> =
        catalogue::today().iter().map(|event| (folder.join(event.schema_file()), text(&event.schema))).collect();
    files.push((folder.join("asyncapi.json"), text(&asyncapi::document()?)));
    files.push((page.to_owned(), page::page()?));
    Ok(files)
}

fn text(document: &Value) -> String {
    format!("{document:#}\n")
}
