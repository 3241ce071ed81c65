//! Comparing a read model with the fold of its streams, row by row, on live data: the rows, the checkpoint that they were
//! committed with and the events up to it are all read in one snapshot.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use event_store::Cursor;
use parking_lot::Mutex;
use sqlx::PgConnection;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::copy::{Rows, Tuples, cells, is_same, shown};
use super::database::{checkpoint, events_about, quantiles, types};
use super::model::ReadModel;
use super::progress::{Pace, Progress, Stage};
use super::streams::{Range, Streams, literal, place};
use super::{Database, Error, shadow};

/// Streams that are folded before their rows are looked at.
const BATCH_STREAMS: usize = 2_000;
const BATCH_BYTES_MAX: usize = 4 << 20;
const PARTS: usize = 32;

/// How it is compared.
#[derive(Debug, Clone)]
pub struct Options {
    /// Workers.
    pub parallel: usize,
    /// This share of the streams, by the hash of their ids; without it all of them.
    pub sample: Option<f64>,
    /// At most so many differences are told; all are counted.
    pub told_max: usize,
    /// How much of the machine it takes.
    pub pace: Pace,
}

impl Default for Options {
    fn default() -> Self {
        Self { parallel: 1, sample: None, told_max: 100, pace: Pace::default() }
    }
}

/// Which table.
#[derive(Debug, Clone, Copy)]
pub enum Place {
    /// The one that serves, at its checkpoint.
    Serving,
    /// The one that is being filled, which nobody changes now.
    New {
        /// What it has.
        at: Cursor,
    },
}

/// What was found.
#[derive(Debug, Clone, Default)]
pub struct Verified {
    /// Events that were folded.
    pub events: u64,
    /// Rows that the fold gives.
    pub rows: u64,
    /// Up to where.
    pub at: Cursor,
    /// Of the fold's rows, whatever their order.
    pub checksum_fold: u64,
    /// Of the table's.
    pub checksum_table: u64,
    /// Rows that are not as the fold has them.
    pub found: u64,
    /// The first of them.
    pub differences: Vec<Difference>,
    /// How long it took.
    pub took: Duration,
}

/// A row that is not as the fold has it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Difference {
    /// Whose.
    pub key: String,
    /// Where; without it the whole row is missing, or too much.
    pub column: Option<&'static str>,
    /// What the table has; none: no row.
    pub table: Option<String>,
    /// What the events say; none: no row.
    pub events: Option<String>,
}

/// Compares; none when it was interrupted.
///
/// # Errors
/// Those of the database, and of events that cannot be read.
pub async fn compare(
    database: &Database,
    model: &Arc<dyn ReadModel>,
    which: Place,
    options: &Options,
    progress: &Arc<Progress>,
    stop: &CancellationToken,
) -> Result<Option<Verified>, Error> {
    let (began, table) = (Instant::now(), model.table());
    progress.enter(Stage::Verifying);
    let mut leader = database.connect().await?;
    let kinds = types(&mut leader, table).await?;
    let about = events_about(&mut leader, table).await?;
    let bounds = quantiles(&mut leader, table, about, if about > 20_000 { PARTS } else { 1 }).await?;
    progress.of(about, 0, 0);
    sqlx::query("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY").execute(&mut leader).await?;
    let snapshot: String = sqlx::query_scalar("SELECT pg_export_snapshot()").fetch_one(&mut leader).await?;
    let (name, at) = match which {
        Place::Serving => (format!("public.{}", table.name), checkpoint(&mut leader, table).await?),
        Place::New { at } => (shadow::name(table), at),
    };
    let ends = bounds.iter().cloned().map(Some);
    let parts = [None].into_iter().chain(ends.clone()).zip(ends.chain([None])).collect();
    let work = Arc::new(Work {
        database: database.clone(),
        model: Arc::clone(model),
        kinds,
        name,
        at,
        snapshot,
        options: options.clone(),
        parts: Mutex::new(parts),
        found: Mutex::default(),
        progress: Arc::clone(progress),
        stop: stop.child_token(),
    });
    let workers = options.parallel.clamp(1, PARTS);
    let mut tasks = JoinSet::new();
    for _ in 0..workers {
        tasks.spawn(worker(Arc::clone(&work), workers));
    }
    let mut rows_seen = 0;
    while let Some(ended) = tasks.join_next().await {
        rows_seen += ended.context("a worker died")??;
    }
    if stop.is_cancelled() {
        return Ok(None);
    }
    if options.sample.is_none() {
        work.rows_without_streams(&mut leader, rows_seen).await?;
    }
    let mut verified = std::mem::take(&mut *work.found.lock());
    verified.differences.sort();
    verified.differences.truncate(options.told_max);
    (verified.at, verified.took) = (at, began.elapsed());
    Ok(Some(verified))
}

struct Work {
    database: Database,
    model: Arc<dyn ReadModel>,
    /// The columns' types.
    kinds: Vec<String>,
    /// The table's name.
    name: String,
    at: Cursor,
    snapshot: String,
    options: Options,
    parts: Mutex<VecDeque<(Option<String>, Option<String>)>>,
    found: Mutex<Verified>,
    progress: Arc<Progress>,
    stop: CancellationToken,
}

/// How many of the table's rows it has seen.
async fn worker(work: Arc<Work>, workers: usize) -> Result<u64, Error> {
    let (mut events, mut rows) = (work.database.reader().await?, work.database.reader().await?);
    for connection in [&mut events, &mut rows] {
        sqlx::query("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY").execute(&mut *connection).await?;
        sqlx::query(&format!("SET TRANSACTION SNAPSHOT {}", literal(&work.snapshot))).execute(connection).await?;
    }
    let sample = work.options.sample.map(|share| (share.clamp(0.0, 1.0) * 65_536.0).ceil() as u32);
    let (mut seen, mut steps) = (0, work.options.pace.steps(workers));
    loop {
        let Some((after, up_to)) = work.parts.lock().pop_front() else { return Ok(seen) };
        let range = Range { after: after.as_deref(), up_to: up_to.as_deref(), sample };
        let mut streams = Streams::of_range(&mut events, work.model.as_ref(), range, work.at).await?;
        let mut batch = Batch::default();
        loop {
            let stream = streams.next().await?;
            let is_done = stream.is_none();
            if let Some(stream) = stream {
                batch.events += stream.events;
                let added = batch.rows.add(work.kinds.len(), |row| stream.fold.row(row));
                added.with_context(|| format!("{} {}", work.model.table().name, stream.id))?;
                batch.ids.push(stream.id);
            }
            if batch.ids.len() >= BATCH_STREAMS || batch.rows.size() >= BATCH_BYTES_MAX || is_done {
                if work.stop.is_cancelled() {
                    return Ok(seen);
                }
                seen += work.look(&mut rows, &batch).await?;
                steps.done(batch.events).await;
                batch = Batch::default();
            }
            if is_done {
                break;
            }
        }
    }
}

/// Streams, and the rows that they fold to.
#[derive(Default)]
struct Batch {
    ids: Vec<String>,
    rows: Rows,
    events: u64,
}

impl Work {
    /// Compares the rows of these streams. How many the table has.
    async fn look(&self, connection: &mut PgConnection, batch: &Batch) -> Result<u64, Error> {
        if batch.ids.is_empty() {
            return Ok(0);
        }
        let table = self.model.table();
        let ids = batch.ids.join(",");
        let statement = format!(
            "COPY (SELECT {} FROM {} WHERE {} = ANY ({}::{}[])) TO STDOUT (FORMAT binary)",
            table.columns.join(", "),
            self.name,
            table.key(),
            literal(&format!("{{{ids}}}")),
            self.kinds[0]
        );
        let mut verified = Verified { events: batch.events, rows: batch.rows.len() as u64, ..Verified::default() };
        let key = |tuple: &[u8]| cells(tuple).next().flatten().map(<[u8]>::to_vec).unwrap_or_default();
        let mut expected: HashMap<Vec<u8>, &[u8]> = batch.rows.iter().map(|tuple| (key(tuple), tuple)).collect();
        let mut seen = 0;
        let mut tuples = Tuples::begin(connection, &statement).await?;
        while let Some(tuple) = tuples.next().await? {
            seen += 1;
            let sum = digest(tuple);
            verified.checksum_table = verified.checksum_table.wrapping_add(sum);
            match expected.remove(&key(tuple)) {
                Some(fold) if fold == tuple => verified.checksum_fold = verified.checksum_fold.wrapping_add(sum),
                fold => self.note(&mut verified, fold, Some(tuple)),
            }
        }
        for fold in expected.into_values() {
            self.note(&mut verified, Some(fold), None);
        }
        self.progress.passed(verified.events, verified.rows);
        self.add(verified);
        Ok(seen)
    }

    /// The fold's row and the table's are not the same bytes.
    fn note(&self, verified: &mut Verified, fold: Option<&[u8]>, row: Option<&[u8]>) {
        if let Some(fold) = fold {
            verified.checksum_fold = verified.checksum_fold.wrapping_add(digest(fold));
        }
        let columns = self.model.table().columns;
        let key = fold.or(row).and_then(|tuple| cells(tuple).next()).flatten();
        let key = shown(key, &self.kinds[0]);
        let (Some(fold), Some(row)) = (fold, row) else {
            let told = |tuple: Option<&[u8]>| {
                let cells = tuple.map(|tuple| cells(tuple).zip(&self.kinds).map(|(cell, kind)| shown(cell, kind)));
                cells.map(|cells| cells.collect::<Vec<_>>().join(" | "))
            };
            let difference = Difference { key, column: None, table: told(row), events: told(fold) };
            verified.found += 1;
            return verified.differences.push(difference);
        };
        let pairs = cells(fold).zip(cells(row)).zip(columns.iter().zip(&self.kinds));
        let mut differences = pairs.filter(|((fold, row), (_, kind))| !is_same(*fold, *row, kind)).peekable();
        if differences.peek().is_none() {
            // Documents in another form: they count as the same.
            verified.checksum_fold = verified.checksum_fold.wrapping_add(digest(row)).wrapping_sub(digest(fold));
            return;
        }
        verified.found += 1;
        verified.differences.extend(differences.map(|((fold, row), (column, kind))| Difference {
            key: key.clone(),
            column: Some(column),
            table: Some(shown(row, kind)),
            events: Some(shown(fold, kind)),
        }));
    }

    fn add(&self, verified: Verified) {
        let mut all = self.found.lock();
        all.events += verified.events;
        all.rows += verified.rows;
        all.found += verified.found;
        all.checksum_fold = all.checksum_fold.wrapping_add(verified.checksum_fold);
        all.checksum_table = all.checksum_table.wrapping_add(verified.checksum_table);
        let room = self.options.told_max.saturating_sub(all.differences.len());
        all.differences.extend(verified.differences.into_iter().take(room));
    }

    /// Rows that no stream accounts for, if there are more rows than were seen.
    async fn rows_without_streams(&self, leader: &mut PgConnection, seen: u64) -> Result<(), Error> {
        let table = self.model.table();
        let count: i64 =
            sqlx::query_scalar(&format!("SELECT count(*) FROM {}", self.name)).fetch_one(&mut *leader).await?;
        if u64::try_from(count) == Ok(seen) {
            return Ok(());
        }
        let kinds: Vec<String> = table.kinds.iter().map(|kind| literal(kind)).collect();
        let statement = format!(
            "COPY (SELECT {} FROM {} AS r
                    WHERE NOT EXISTS (SELECT FROM events e
                                       WHERE e.aggregate_type IN ({}) AND e.aggregate_id = r.{}::text
                                         AND (e.transaction_id, e.position) <= {}))
               TO STDOUT (FORMAT binary)",
            table.columns.join(", "),
            self.name,
            kinds.join(", "),
            table.key(),
            place(self.at)
        );
        let mut tuples = Tuples::begin(leader, &statement).await?;
        while let Some(tuple) = tuples.next().await? {
            let mut verified = Verified { checksum_table: digest(tuple), ..Verified::default() };
            self.note(&mut verified, None, Some(tuple));
            self.add(verified);
        }
        Ok(())
    }
}

/// A row's share of the checksum: FNV-1a, mixed so that sums of similar rows differ.
fn digest(tuple: &[u8]) -> u64 {
    let hash = tuple
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3));
    let mixed = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed ^ (mixed >> 27)
}
