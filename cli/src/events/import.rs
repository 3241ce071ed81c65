//! `sagashop events import`: an export's events into a store that has none.
//!
//! All of a file or nothing, in one transaction, in the order of its lines. The events get the oldest transaction id and
//! their lines' numbers as positions. What stands beside events (read models, offsets, timers) is not in an export: read
//! models are made from the events at the next start, and the relay counts as having published them all, unless it is
//! to publish them again.

use super::cloud::Exported;
use super::export::path;
use super::names;
use super::rows::{COPY_IN, Rows};
use crate::args::{ActArgs, EventsImportArgs, GlobalArgs};
use crate::exit::{Code, Failure};
use crate::output::{self, Row};
use crate::ports::Role;
use crate::postgres::Server;
use crate::progress::Progress;
use crate::restore::{OLDEST, Store};
use crate::shop;
use anyhow::{Context, anyhow};
use runtime::relay::FOLLOWER;
use serde::Serialize;
use sqlx::{Acquire, Executor, PgConnection};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

/// Rows that are sent at once.
const SEND_BYTES: usize = 1 << 20;
/// No event is larger by far: a file of one endless line is no export.
const LINE_BYTES_MAX: u64 = 64 << 20;
const BUFFER_BYTES: usize = 256 << 10;
/// What every frame of zstd begins with.
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
const UNIQUE_VIOLATION: &str = "23505";

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
            lines.push(one(&server, source, args.publish).await.with_context(|| source.name())?);
        }
        anyhow::Ok(())
    }
    .await;
    server.stop().await?;
    // What was imported before another file failed is told, too.
    output::rows(global.output, &lines)?;
    imported.map(|()| Code::Done)
}

/// Where a store's events come from.
struct Source {
    role: Role,
    /// None is stdin.
    file: Option<PathBuf>,
}

impl Source {
    fn name(&self) -> String {
        self.file.as_ref().map_or_else(|| "stdin".to_owned(), |path| path.display().to_string())
    }

    fn open(&self) -> anyhow::Result<Lines> {
        let (raw, bytes): (Box<dyn Read + Send>, _) = match &self.file {
            Some(path) => {
                let file = File::open(path)?;
                let bytes = file.metadata()?.len();
                (Box::new(file), Some(bytes))
            }
            None => (Box::new(io::stdin()), None),
        };
        Lines::new(raw, bytes, &format!("Importing {}", self.role.name()))
    }
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

/// The lines of an export, one after the other; how far they are read is shown.
struct Lines {
    reader: Box<dyn BufRead + Send>,
    line: Vec<u8>,
    number: i64,
    progress: Progress,
}

impl Lines {
    fn new(raw: Box<dyn Read + Send>, bytes: Option<u64>, what: &str) -> anyhow::Result<Self> {
        let progress = Progress::new(what, "bytes", bytes);
        let counted = Counted { raw, progress: progress.clone() };
        let mut reader = BufReader::with_capacity(BUFFER_BYTES, counted);
        let is_zstd = reader.fill_buf()?.starts_with(&ZSTD);
        let reader: Box<dyn BufRead + Send> = if is_zstd {
            Box::new(BufReader::with_capacity(BUFFER_BYTES, zstd::Decoder::with_buffer(reader)?))
        } else {
            Box::new(reader)
        };
        Ok(Self { reader, line: Vec::new(), number: 0, progress })
    }

    /// The next event of a role; none at the end.
    fn next(&mut self, role: Role) -> anyhow::Result<Option<Exported>> {
        self.line.clear();
        let number = self.number + 1;
        let read = (&mut self.reader).take(LINE_BYTES_MAX).read_until(b'\n', &mut self.line);
        if read.with_context(|| format!("line {number}"))? == 0 {
            return Ok(None);
        }
        self.number = number;
        let refused =
            |error: anyhow::Error| Failure::new(Code::Failed, format!("line {number} is not accepted: {error:#}"));
        if self.line.pop() != Some(b'\n') {
            return Err(refused(anyhow!("the export ends within it; the same export again completes it")).into());
        }
        let line = std::str::from_utf8(&self.line).map_err(|error| refused(error.into()))?;
        let event = Exported::read(line, role.name()).map_err(refused)?;
        if names::kinds(role).all(|known| known != event.aggregate_type) {
            return Err(refused(anyhow!("the {} has no {}", role.title(), event.aggregate_type)).into());
        }
        Ok(Some(event))
    }
}

/// Shows how much was read.
struct Counted {
    raw: Box<dyn Read + Send>,
    progress: Progress,
}

impl Read for Counted {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.raw.read(into)?;
        self.progress.advance(read as u64);
        Ok(read)
    }
}

/// Reads a file to its end.
fn read_only(source: &Source) -> anyhow::Result<Line> {
    let mut lines = source.open()?;
    let mut streams = 0;
    while let Some(event) = lines.next(source.role)? {
        streams += i64::from(event.sequence == 1);
    }
    lines.progress.finish();
    Ok(Line::new(source, lines.number, streams))
}

async fn one(server: &Server, source: &Source, publish: bool) -> anyhow::Result<Line> {
    let role = source.role;
    // Before our own connections are among those that may still be going.
    if server.has_database(role.database()).await? {
        let store = Store::open(server, role).await?;
        store.refuse_company().await?;
        store.pool.close().await;
    }
    shop::migrate(server, role, role.database()).await?;
    let store = Store::open(server, role).await?;
    let mut connection = store.pool.acquire().await?;
    let mut transaction = connection.begin().await?;
    transaction.execute("SET LOCAL statement_timeout = 0; LOCK TABLE events IN EXCLUSIVE MODE").await?;
    let there: i64 = sqlx::query_scalar("SELECT count(*) FROM events").fetch_one(&mut *transaction).await?;
    if there > 0 {
        let message = format!("{} has {there} events, and an import needs a store that has none", role.database());
        return Err(Failure::new(Code::Failed, message).into());
    }
    let events = fill(&mut transaction, source).await?;
    let streams = contiguous(&mut transaction).await?;
    // The next event comes after them.
    sqlx::query("SELECT setval(pg_get_serial_sequence('events', 'position'), greatest($1, 1), $1 > 0)")
        .bind(events)
        .execute(&mut *transaction)
        .await?;
    if !publish && role != Role::Notification {
        sqlx::query("INSERT INTO checkpoints (follower, transaction_id, position) VALUES ($1, $2::text::xid8, $3)")
            .bind(FOLLOWER)
            .bind(OLDEST.to_string())
            .bind(events)
            .execute(&mut *transaction)
            .await?;
    }
    transaction.commit().await?;
    connection.execute("VACUUM (ANALYZE) events").await?;
    Ok(Line::new(source, events, streams))
}

/// Writes the events; how many they are.
async fn fill(connection: &mut PgConnection, source: &Source) -> anyhow::Result<i64> {
    let mut lines = source.open()?;
    let mut copy = connection.copy_in_raw(COPY_IN).await?;
    let mut rows = Rows::new();
    loop {
        match lines.next(source.role) {
            Ok(Some(event)) => rows.add(&event, lines.number),
            Ok(None) => break,
            Err(error) => {
                // The transaction is rolled back in any case.
                let _ = copy.abort("a line is not accepted").await;
                return Err(error);
            }
        }
        if rows.len() >= SEND_BYTES {
            copy.send(rows.take()).await?;
        }
    }
    rows.end();
    copy.send(rows.take()).await?;
    lines.progress.finish();
    let written = copy.finish().await.map_err(twice)?;
    anyhow::ensure!(i64::try_from(written)? == lines.number, "{written} of {} events were written", lines.number);
    Ok(lines.number)
}

/// An event that is there twice has its place said by the database.
fn twice(error: sqlx::Error) -> anyhow::Error {
    let told = error.as_database_error().filter(|error| error.code().as_deref() == Some(UNIQUE_VIOLATION));
    let Some(told) = told else { return error.into() };
    let told = told.try_downcast_ref::<sqlx::postgres::PgDatabaseError>().and_then(|error| error.detail());
    Failure::new(Code::Failed, format!("an event is there twice: {}", told.unwrap_or("its place is taken"))).into()
}

/// How many streams there are, none of which has a gap, or an event before an earlier one.
async fn contiguous(connection: &mut PgConnection) -> anyhow::Result<i64> {
    let (streams, bad): (i64, Option<String>) = sqlx::query_as(
        "SELECT count(*) FILTER (WHERE number = 1),
                min(format('%s/%s/%s', aggregate_type, aggregate_id, sequence))
                    FILTER (WHERE number <> sequence OR position <= before)
           FROM (SELECT aggregate_type, aggregate_id, sequence, position, row_number() OVER stream AS number,
                        lag(position) OVER stream AS before
                   FROM events
                 WINDOW stream AS (PARTITION BY aggregate_type, aggregate_id ORDER BY sequence)) AS placed",
    )
    .fetch_one(connection)
    .await?;
    match bad {
        None => Ok(streams),
        Some(place) => {
            let message = format!("{place} does not follow the event before it: the export is damaged");
            Err(Failure::new(Code::Failed, message).into())
        }
    }
}

/// A store's import as a line.
#[derive(Serialize)]
struct Line {
    service: &'static str,
    events: i64,
    streams: i64,
    file: String,
}

impl Line {
    fn new(source: &Source, events: i64, streams: i64) -> Self {
        Self { service: source.role.name(), events, streams, file: source.name() }
    }
}

impl Row for Line {
    const COLUMNS: &'static [&'static str] = &["service", "events", "streams", "file"];

    fn cells(&self) -> Vec<String> {
        vec![self.service.to_owned(), self.events.to_string(), self.streams.to_string(), self.file.clone()]
    }
}
