//! Filling the new table: ranges of streams are folded by several workers, and written in batches. How far each range is
//! written is committed together with its rows.

use std::collections::VecDeque;
use std::sync::Arc;

use anyhow::Context;
use parking_lot::Mutex;
use sqlx::{Connection, PgConnection};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::begun::Begun;
use super::copy::Rows;
use super::database::types;
use super::model::{ReadModel, Table};
use super::progress::{Progress, Steps};
use super::streams::{Range, Streams};
use super::{Database, Error, Options, shadow};
use crate::failpoint;

/// A batch is written when it has so many rows or bytes: a transaction of tens of milliseconds.
const BATCH_ROWS_MAX: usize = 4_000;
const BATCH_BYTES_MAX: usize = 1 << 20;
/// Streams without a row are passed without a batch; so many, and it is written down how far that went.
const BATCH_STREAMS_MAX: u64 = 50_000;
/// Rows that are taken over at once.
const TAKEN_OVER_ROWS: i64 = 5_000;

/// A range that is not filled yet.
#[derive(Debug, Clone)]
struct Part {
    number: i32,
    after: Option<String>,
    up_to: Option<String>,
}

/// What is written at once.
struct Batch {
    part: i32,
    rows: Rows,
    /// How far the part was written before, and is then.
    from: Option<String>,
    to: Option<String>,
    events: u64,
    is_done: bool,
}

/// What all workers know.
struct Work {
    database: Database,
    model: Arc<dyn ReadModel>,
    begun: Arc<Begun>,
    parts: Mutex<VecDeque<Part>>,
    progress: Arc<Progress>,
    stop: CancellationToken,
}

/// Fills the table, unless it is interrupted. Whether it is filled.
pub(super) async fn fill(
    database: &Database,
    model: &Arc<dyn ReadModel>,
    begun: Arc<Begun>,
    options: &Options,
    progress: &Arc<Progress>,
    stop: &CancellationToken,
) -> Result<bool, Error> {
    let mut connection = database.connect().await?;
    let (parts, events, rows) = parts(&mut connection, model.table()).await?;
    progress.of(begun.events_total, events, rows);
    if begun.since.is_some() {
        return take_over(database, model.table(), &begun, parts, progress, stop).await;
    }
    let workers = options.parallel.clamp(1, parts.len().max(1));
    let work = Arc::new(Work {
        database: database.clone(),
        model: Arc::clone(model),
        begun,
        parts: Mutex::new(parts.into()),
        progress: Arc::clone(progress),
        stop: stop.child_token(),
    });
    let mut tasks = JoinSet::new();
    for _ in 0..workers {
        tasks.spawn(worker(Arc::clone(&work), options.pace.steps(workers)));
    }
    let mut failed = None;
    while let Some(ended) = tasks.join_next().await {
        let ended = ended.context("a worker died").map_err(Error::from).and_then(|ended| ended);
        if let Err(error) = ended {
            work.stop.cancel();
            failed.get_or_insert(error);
        }
    }
    failed.map_or(Ok(!stop.is_cancelled()), Err)
}

/// What is left to do, and how many events and rows were done.
async fn parts(connection: &mut PgConnection, table: &Table) -> Result<(Vec<Part>, u64, u64), Error> {
    type Found = (i32, Option<String>, Option<String>, bool, i64, i64);
    let found: Vec<Found> = sqlx::query_as(
        "SELECT part, after_id, up_to_id, is_done, events, rows FROM projection_rebuild_parts
          WHERE projection = $1 ORDER BY part",
    )
    .bind(table.name)
    .fetch_all(connection)
    .await?;
    let sum = |of: fn(&Found) -> i64| u64::try_from(found.iter().map(of).sum::<i64>()).unwrap_or(0);
    let (events, rows) = (sum(|found| found.4), sum(|found| found.5));
    let left = found.into_iter().filter(|found| !found.3);
    Ok((left.map(|(number, after, up_to, ..)| Part { number, after, up_to }).collect(), events, rows))
}

/// Reads and folds; what it has folded is written meanwhile.
async fn worker(work: Arc<Work>, mut steps: Steps) -> Result<(), Error> {
    let mut reader = work.database.reader().await?;
    let (batches, waiting) = mpsc::channel(1);
    let writing = tokio::spawn(write(Arc::clone(&work), waiting));
    let read = async {
        loop {
            let Some(part) = work.parts.lock().pop_front() else { return Ok(()) };
            if !read_part(&work, &mut reader, part, &batches, &mut steps).await? {
                return Ok(());
            }
        }
    };
    let read: Result<(), Error> = read.await;
    // Nothing more comes: what is on its way is written.
    drop(batches);
    let written = writing.await.context("a writer died")?;
    // If nothing can be written, that is why nothing more could be read.
    written.and(read)
}

/// Whether the part was read to its end, and not interrupted.
async fn read_part(
    work: &Work,
    reader: &mut PgConnection,
    part: Part,
    batches: &mpsc::Sender<Batch>,
    steps: &mut Steps,
) -> Result<bool, Error> {
    let columns = work.model.table().columns.len();
    let range = Range { after: part.after.as_deref(), up_to: part.up_to.as_deref(), sample: None };
    let mut streams = Streams::of_range(reader, work.model.as_ref(), range, work.begun.at).await?;
    let (mut from, mut rows, mut events, mut passed) = (part.after.clone(), Rows::default(), 0, 0_u64);
    loop {
        let stream = streams.next().await?;
        let is_done = stream.is_none();
        if let Some(stream) = &stream {
            let added = rows.add(columns, |row| stream.fold.row(row));
            added.with_context(|| format!("{} {}", work.model.table().name, stream.id))?;
            events += stream.events;
            passed += 1;
        }
        let is_full = rows.len() >= steps.batch_max(BATCH_ROWS_MAX)
            || rows.size() >= BATCH_BYTES_MAX
            || passed >= BATCH_STREAMS_MAX;
        if is_full || is_done {
            if work.stop.is_cancelled() {
                return Ok(false);
            }
            let to = stream.map(|stream| stream.id).or_else(|| from.clone());
            let full = std::mem::take(&mut rows);
            let batch = Batch { part: part.number, rows: full, from, to: to.clone(), events, is_done };
            if batches.send(batch).await.is_err() {
                // The writer says why.
                return Ok(false);
            }
            steps.done(events).await;
            (from, events, passed) = (to, 0, 0);
        }
        if is_done {
            return Ok(true);
        }
    }
}

async fn write(work: Arc<Work>, mut batches: mpsc::Receiver<Batch>) -> Result<(), Error> {
    let mut connection = work.database.filler().await?;
    let table = work.model.table();
    let columns = table.columns.join(", ");
    let copy = format!("COPY {} ({columns}) FROM STDIN (FORMAT binary)", shadow::name(table));
    while let Some(mut batch) = batches.recv().await {
        let rows = batch.rows.len();
        let mut transaction = connection.begin().await?;
        batch.rows.copy_in(&mut transaction, &copy).await?;
        advance(&mut transaction, table, work.begun.epoch, &batch, rows).await?;
        transaction.commit().await?;
        work.progress.passed(batch.events, rows as u64);
        failpoint::pass("rebuild.filled");
    }
    Ok(())
}

/// Writes down how far the part is written. If somebody else has written to it, nothing is.
async fn advance(
    connection: &mut PgConnection,
    table: &Table,
    epoch: i64,
    batch: &Batch,
    rows: usize,
) -> Result<(), Error> {
    let advanced = sqlx::query(
        "UPDATE projection_rebuild_parts
            SET after_id = $4, is_done = $5, events = events + $6, rows = rows + $7
          WHERE projection = $1 AND part = $2 AND after_id IS NOT DISTINCT FROM $3 AND NOT is_done
            AND EXISTS (SELECT FROM projection_rebuilds WHERE projection = $1 AND epoch = $8)",
    )
    .bind(table.name)
    .bind(batch.part)
    .bind(&batch.from)
    .bind(&batch.to)
    .bind(batch.is_done)
    .bind(i64::try_from(batch.events).unwrap_or(i64::MAX))
    .bind(i64::try_from(rows).unwrap_or(i64::MAX))
    .bind(epoch)
    .execute(connection)
    .await?;
    if advanced.rows_affected() == 1 { Ok(()) } else { Err(Error::TakenOver { table: table.name }) }
}

/// Takes the serving table's rows over, in the order of their keys. Those whose streams go on meanwhile are folded anew
/// afterwards.
async fn take_over(
    database: &Database,
    table: &Table,
    begun: &Begun,
    parts: Vec<Part>,
    progress: &Progress,
    stop: &CancellationToken,
) -> Result<bool, Error> {
    let Some(part) = parts.into_iter().next() else { return Ok(true) };
    let (mut connection, mut from) = (database.filler().await?, part.after);
    let (columns, key) = (table.columns.join(", "), table.key());
    let kind = types(&mut connection, table).await?.remove(0);
    let take_over = format!(
        "WITH taken AS (
             INSERT INTO {} ({columns})
             SELECT {columns} FROM public.{} WHERE $1::text IS NULL OR {key} > $1::text::{kind} ORDER BY {key} LIMIT $2
             RETURNING {key})
         SELECT count(*), (SELECT {key}::text FROM taken ORDER BY {key} DESC LIMIT 1) FROM taken",
        shadow::name(table),
        table.name
    );
    loop {
        if stop.is_cancelled() {
            return Ok(false);
        }
        let mut transaction = connection.begin().await?;
        let (taken, last): (i64, Option<String>) =
            sqlx::query_as(&take_over).bind(&from).bind(TAKEN_OVER_ROWS).fetch_one(&mut *transaction).await?;
        let (to, rows) = (last.or_else(|| from.clone()), usize::try_from(taken).unwrap_or(0));
        let is_done = taken < TAKEN_OVER_ROWS;
        let rows_of = Rows::default();
        let batch = Batch { part: part.number, rows: rows_of, from, to: to.clone(), events: 0, is_done };
        advance(&mut transaction, table, begun.epoch, &batch, rows).await?;
        transaction.commit().await?;
        progress.passed(0, rows as u64);
        failpoint::pass("rebuild.filled");
        if is_done {
            return Ok(true);
        }
        from = to;
    }
}
