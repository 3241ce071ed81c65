//! `sagashop events export`: a store's events as lines of CloudEvents, in commit order.
//!
//! Each page is read by a statement of its own, up to where no older transaction could bring anything more when the
//! export began: a shop goes on meanwhile, and no long transaction holds its readers up. A file that is there is gone
//! on with: whatever an export was ended by, the same command completes it, and later it adds what has come since.

mod file;

use super::cloud::Exported;
use super::store::{self, COLUMNS, Store, failed};
use crate::args::{EventsExportArgs, GlobalArgs};
use crate::exit::{Code, Failure};
use crate::output::{self, Row};
use crate::ports::Role;
use crate::progress::Progress;
use anyhow::Context;
use event_store::Cursor;
use file::{Plain, Sink, Zstd};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Events that are taken at once: some megabytes.
const PAGE_EVENTS: i64 = 4_000;

/// Exports.
///
/// # Errors
/// A store cannot be read, or a file cannot be written, or is an export of something else.
pub(super) async fn export(global: &GlobalArgs, args: &EventsExportArgs) -> anyhow::Result<Code> {
    let roles = args.stores.roles();
    let is_stdout = args.to == Path::new("-");
    if is_stdout && roles.len() > 1 {
        let message = "stdout takes the events of one store: name it with --service, or name a folder";
        return Err(Failure::new(Code::Usage, message).into());
    }
    let server = store::server_of_any(global, &args.stores.database).await?;
    let exported = async {
        let mut stores = store::open_on(&server, &roles).await?;
        let mut lines = Vec::new();
        if !is_stdout {
            std::fs::create_dir_all(&args.to).with_context(|| args.to.display().to_string())?;
        }
        for store in &mut stores {
            if is_stdout {
                to_stdout(store, args.zstd).await?;
            } else {
                lines.push(to_file(store, &args.to, args.zstd).await?);
            }
        }
        store::close(stores).await;
        anyhow::Ok(lines)
    }
    .await;
    server.stop().await?;
    let lines = exported?;
    if !is_stdout {
        output::rows(global.output, &lines)?;
    }
    Ok(Code::Done)
}

/// The file of a store's events in a folder.
pub(super) fn path(folder: &Path, role: Role, is_zstd: bool) -> PathBuf {
    folder.join(format!("{}.jsonl{}", role.name(), if is_zstd { ".zst" } else { "" }))
}

async fn to_file(store: &mut Store, folder: &Path, is_zstd: bool) -> anyhow::Result<Line> {
    let path = path(folder, store.role, is_zstd);
    let named = || path.display().to_string();
    let file = file::open(&path)?;
    let kept = if is_zstd { file::kept_zstd(&file) } else { file::kept(&file) };
    let kept = kept.with_context(named)?;
    let from = match &kept.last {
        Some(line) => place_of(store, line).await.with_context(named)?,
        None => Cursor::default(),
    };
    file::cut(&file, kept.bytes).with_context(named)?;
    let mut sink: Box<dyn Sink> = if is_zstd { Box::new(Zstd::new(&file)) } else { Box::new(Plain::new(&file)) };
    let added = copy(store, from, &mut *sink).await.with_context(named)?;
    drop(sink);
    file.sync_all().with_context(named)?;
    let bytes = file.metadata().with_context(named)?.len();
    Ok(Line { service: store.role.name(), events: kept.lines + added, added, bytes, file: named() })
}

async fn to_stdout(store: &mut Store, is_zstd: bool) -> anyhow::Result<()> {
    let stdout = std::io::stdout().lock();
    let mut sink: Box<dyn Sink> = if is_zstd { Box::new(Zstd::new(stdout)) } else { Box::new(Plain::new(stdout)) };
    copy(store, Cursor::default(), &mut *sink).await?;
    Ok(())
}

/// Writes the events after a place; how many there were.
async fn copy(store: &mut Store, from: Cursor, sink: &mut dyn Sink) -> anyhow::Result<u64> {
    let gate = gate(store).await?;
    let progress = Progress::new(&format!("Exporting {}", store.role.name()), "events", None);
    progress.of(count(store, from, &gate).await?);
    let (mut at, mut events) = (from, 0);
    let mut line = Vec::new();
    loop {
        let rows = page(store, at, &gate).await?;
        for row in &rows {
            let (event, cursor) = Exported::of(row)?;
            line.clear();
            event.write(store.role.name(), &mut line)?;
            sink.line(&line)?;
            at = cursor;
        }
        events += rows.len() as u64;
        progress.advance(rows.len() as u64);
        if (rows.len() as i64) < PAGE_EVENTS {
            break;
        }
    }
    sink.end()?;
    progress.finish();
    Ok(events)
}

/// The oldest transaction that is not over: what is below it stays as it is.
async fn gate(store: &mut Store) -> anyhow::Result<String> {
    let query = "SELECT pg_snapshot_xmin(pg_current_snapshot())::text";
    sqlx::query_scalar(query).fetch_one(&mut store.connection).await.map_err(|error| failed(store.role, error))
}

async fn count(store: &mut Store, from: Cursor, gate: &str) -> anyhow::Result<u64> {
    let query = "SELECT count(*) FROM events AS e
                  WHERE (e.transaction_id, e.position) > ($1::text::xid8, $2) AND e.transaction_id < $3::text::xid8";
    let count: i64 = sqlx::query_scalar(query)
        .bind(from.transaction_id.to_string())
        .bind(from.position)
        .bind(gate)
        .fetch_one(&mut store.connection)
        .await
        .map_err(|error| failed(store.role, error))?;
    Ok(count.unsigned_abs())
}

async fn page(store: &mut Store, after: Cursor, gate: &str) -> anyhow::Result<Vec<sqlx::postgres::PgRow>> {
    let query = format!(
        "SELECT {COLUMNS} FROM events AS e
          WHERE (e.transaction_id, e.position) > ($1::text::xid8, $2) AND e.transaction_id < $3::text::xid8
          ORDER BY e.transaction_id, e.position LIMIT $4"
    );
    sqlx::query(&query)
        .bind(after.transaction_id.to_string())
        .bind(after.position)
        .bind(gate)
        .bind(PAGE_EVENTS)
        .fetch_all(&mut store.connection)
        .await
        .map_err(|error| failed(store.role, error))
}

/// Where the event of an export's last line stands, which must be in this store.
async fn place_of(store: &mut Store, line: &str) -> anyhow::Result<Cursor> {
    let last = Exported::read(line, store.role.name()).context("the last line")?;
    let query = format!(
        "SELECT {COLUMNS} FROM events AS e WHERE e.aggregate_type = $1 AND e.aggregate_id = $2 AND e.sequence = $3"
    );
    let row = sqlx::query(&query)
        .bind(&last.aggregate_type)
        .bind(&last.aggregate_id)
        .bind(last.sequence)
        .fetch_optional(&mut store.connection)
        .await
        .map_err(|error| failed(store.role, error))?;
    match row.as_ref().map(Exported::of).transpose()? {
        Some((event, cursor)) if event == last => Ok(cursor),
        _ => {
            let message = format!("an export of another store, which ends with {}: name another folder", last.place());
            Err(Failure::new(Code::Failed, message).into())
        }
    }
}

/// A store's export as a line.
#[derive(Serialize)]
struct Line {
    service: &'static str,
    /// In the file.
    events: u64,
    /// By this run.
    added: u64,
    bytes: u64,
    file: String,
}

impl Row for Line {
    const COLUMNS: &'static [&'static str] = &["service", "events", "added", "bytes", "file"];

    fn cells(&self) -> Vec<String> {
        let Self { service, events, added, bytes, file } = self;
        vec![(*service).to_owned(), events.to_string(), added.to_string(), bytes.to_string(), file.clone()]
    }
}
