//! `sagashop schemas`: the forms of all events, what a change may not do to them, and the documents that tell of them.

pub mod asyncapi;
mod catalogue;
mod check;
mod diff;
mod folder;
pub mod page;
mod show;
mod stored;
mod topics;
mod write;

pub use write::files;

use catalogue::What;

use crate::args::{GlobalArgs, SchemasCommand, SchemasListArgs};
use crate::exit::Code;
use crate::output::{self, Row};
use anyhow::Context;
use serde::Serialize;

/// Runs one of the commands.
///
/// # Errors
/// Something unknown was asked for, a file cannot be read or written, or a change breaks somebody.
pub fn run(global: &GlobalArgs, command: &SchemasCommand) -> anyhow::Result<Code> {
    match command {
        SchemasCommand::List(args) => list(global, args),
        SchemasCommand::Show(args) => show::show(global.output, args),
        SchemasCommand::Check(args) => check::check(global.output, args),
        SchemasCommand::Diff(args) => diff::diff(global.output, args),
        SchemasCommand::Write(args) => write::write(global.output, args),
    }
}

/// A form as one line.
#[derive(Serialize)]
struct Listed {
    name: String,
    version: u32,
    #[serde(flatten)]
    what: What,
    current: bool,
    file: String,
}

impl Row for Listed {
    const COLUMNS: &'static [&'static str] = &["event", "version", "is", "of", "key", "file"];

    fn cells(&self) -> Vec<String> {
        let version =
            if self.current { self.version.to_string() } else { format!("{} (read as today's)", self.version) };
        let (is, of, key) = match &self.what {
            What::Published { topic, key } => ("published", (*topic).to_owned(), (*key).to_owned()),
            What::Stored { service, .. } => ("stored", format!("the {service}'s store"), String::new()),
        };
        vec![self.name.clone(), version, is.to_owned(), of, key, self.file.clone()]
    }
}

fn list(global: &GlobalArgs, args: &SchemasListArgs) -> anyhow::Result<Code> {
    let all = catalogue::every_version()?;
    let wanted = all.into_iter().filter(|described| match described.what {
        What::Published { .. } => !args.stored,
        What::Stored { .. } => !args.published,
    });
    let wanted = wanted.filter(|described| args.part.iter().all(|part| described.name.contains(part)));
    let lines: Vec<Listed> = wanted
        .map(|described| Listed {
            file: described.schema_file(),
            current: described.is_current,
            name: described.name,
            version: described.version,
            what: described.what,
        })
        .collect();
    output::rows(global.output, &lines)?;
    Ok(Code::Done)
}

/// Checks that each version of each event has a sample, that today's code reads it, that what is written today is read and
/// written again as it is, and that no file belongs to nobody.
///
/// # Errors
/// The first that is not so.
pub fn samples() -> anyhow::Result<()> {
    for described in catalogue::every_version()? {
        let file = described.sample_file();
        let sample = described.sample()?.with_context(|| format!("{file} is missing"))?;
        let today = catalogue::named(&described.name, None)?;
        if let Some(error) = check::unreadable(&today, described.version, &sample) {
            anyhow::bail!("{file}: {error}");
        }
        let written = topics::written(&described, &sample)?;
        anyhow::ensure!(
            !described.is_current || written == [sample],
            "{file} is read, and written as something else: {written:?}"
        );
        anyhow::ensure!(!written.is_empty(), "{file} means nothing today");
    }
    let strays = catalogue::strays()?;
    anyhow::ensure!(strays.is_empty(), "no event has these files: {}", strays.join(", "));
    Ok(())
}
