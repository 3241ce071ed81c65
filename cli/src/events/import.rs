//! `sagashop events import`: an export's events into a store that has none.
//!
//! In the order of the lines, thousands in a transaction ([`fill`]). What stands beside events (read models, offsets,
//! timers) is not in an export: read models are made from the events at the next start, and the relay counts as having
//! published them all, unless it is to publish them again.

mod fill;
mod lines;

use super::export::path;
use crate::args::{ActArgs, EventsImportArgs, GlobalArgs};
use crate::exit::{Code, Failure};
use crate::output::{self, Row};
use crate::ports::Role;
use crate::postgres::Server;
use crate::restore::Store;
use crate::shop;
use anyhow::Context;
use lines::Source;
use serde::Serialize;
use sqlx::Executor;
use std::path::{Path, PathBuf};

/// Imports.
///
/// # Errors
/// A file is no export, a store has events already, or its services run.
pub(super) async fn import(global: &GlobalArgs, args: &EventsImportArgs) -> anyhow::Result<Code> {
    let sources = sources(&args.from, &args.service)?;
    let mut lines = Vec::new();
    if args.dry_run {
        for source in &sources {
            lines.push(read_only(source).with_context(|| source.name())?);
        }
        output::rows(global.output, &lines)?;
        eprintln!("Nothing was imported.");
        return Ok(Code::Done);
    }
    let named: Vec<&str> = sources.iter().map(|source| source.role.name()).collect();
    let act = ActArgs { yes: args.yes, ..ActArgs::default() };
    act.agreed(&format!("Import the events of {} into stores that have none?", named.join(", ")))?;
    let server = Server::open(&args.database.options(global)?).await?;
    let imported = async {
        for source in &sources {
            lines.push(one(&server, source, args).await.with_context(|| source.name())?);
        }
        anyhow::Ok(())
    }
    .await;
    server.stop().await?;
    // What was imported before another file failed is told, too.
    output::rows(global.output, &lines)?;
    imported.map(|()| Code::Done)
}

/// The files of a folder, of the stores that are wanted, or of all that it has.
fn sources(from: &Path, wanted: &[Role]) -> anyhow::Result<Vec<Source>> {
    if from == Path::new("-") {
        let [role] = wanted else {
            return Err(Failure::new(Code::Usage, "stdin has the events of one store: name it with --service").into());
        };
        return Ok(vec![Source { role: *role, file: None }]);
    }
    let mut sources = Vec::new();
    for role in Role::ALL {
        let files: Vec<PathBuf> =
            [false, true].into_iter().map(|is_zstd| path(from, role, is_zstd)).filter(|path| path.is_file()).collect();
        match (files.as_slice(), wanted.contains(&role)) {
            ([], true) => {
                let message = format!("{} has no {}.jsonl and no {0}.jsonl.zst", from.display(), role.name());
                return Err(Failure::new(Code::Failed, message).into());
            }
            ([_, _, ..], is_wanted) if is_wanted || wanted.is_empty() => {
                let message = format!("which events of the {}? {} has two files of them", role.title(), from.display());
                return Err(Failure::new(Code::Usage, message).into());
            }
            ([file], is_wanted) if is_wanted || wanted.is_empty() => {
                sources.push(Source { role, file: Some(file.clone()) });
            }
            _ => {}
        }
    }
    if sources.is_empty() {
        let message = format!("{} has no file of an export, such as order.jsonl", from.display());
        return Err(Failure::new(Code::Failed, message).into());
    }
    Ok(sources)
}

/// Reads a file to its end.
fn read_only(source: &Source) -> anyhow::Result<Line> {
    let mut lines = source.open()?;
    let mut streams = 0;
    while let Some(event) = lines.next(source.role)? {
        streams += i64::from(event.sequence == 1);
    }
    lines.finish();
    Ok(Line::new(source, lines.number(), streams))
}

async fn one(server: &Server, source: &Source, args: &EventsImportArgs) -> anyhow::Result<Line> {
    let role = source.role;
    let mut is_begun = false;
    // Before our own connections are among those that may still be going.
    if server.has_database(role.database()).await? {
        let store = Store::open(server, role).await?;
        store.refuse_company().await?;
        is_begun = runtime::unfinished::of(&mut *store.pool.acquire().await?).await?.is_some();
        store.pool.close().await;
    }
    // One that is begun is migrated, and refused to all but imports.
    if !is_begun {
        shop::migrate(server, role, role.database()).await?;
    }
    let store = Store::open(server, role).await?;
    let mut connection = store.pool.acquire().await?;
    let filled = fill::fill(&mut connection, source, args.publish, args.anew).await?;
    connection.execute("VACUUM (ANALYZE) events").await?;
    Ok(Line { added: filled.added, ..Line::new(source, filled.events, filled.streams) })
}

/// A store's import as a line.
#[derive(Serialize)]
struct Line {
    service: &'static str,
    events: i64,
    /// By this run.
    added: i64,
    streams: i64,
    file: String,
}

impl Line {
    fn new(source: &Source, events: i64, streams: i64) -> Self {
        Self { service: source.role.name(), events, added: 0, streams, file: source.name() }
    }
}

impl Row for Line {
    const COLUMNS: &'static [&'static str] = &["service", "events", "added", "streams", "file"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.service.to_owned(),
            self.events.to_string(),
            self.added.to_string(),
            self.streams.to_string(),
            self.file.clone(),
        ]
    }
}
