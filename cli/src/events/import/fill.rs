//! Fills a store, thousands of events a transaction. How far it has come is written with them, so that whatever an import
//! was ended by, the same command goes on with it. No service starts on a store that is not filled yet.
//!
//! The events get the oldest transaction id and their lines' numbers as positions.

use super::lines::{Lines, Source};
use crate::events::cloud::Exported;
use crate::events::rows::{COPY_IN, Rows};
use crate::events::store::COLUMNS;
use crate::exit::{Code, Failure};
use crate::ports::Role;
use crate::restore::OLDEST;
use runtime::relay::FOLLOWER;
use runtime::unfinished;
use sqlx::{Acquire, Executor, PgConnection};

/// Events of a transaction: a few megabytes that are read again after a kill.
const CHUNK_EVENTS: i64 = 20_000;
/// Rows that are sent at once.
const SEND_BYTES: usize = 1 << 20;
const UNIQUE_VIOLATION: &str = "23505";

/// What is in the store now.
pub(super) struct Filled {
    pub(super) events: i64,
    /// By this run.
    pub(super) added: i64,
    pub(super) streams: i64,
}

/// Imports what is not imported yet.
///
/// # Errors
/// The store has events of its own, or of another export; a line is not accepted; the streams have gaps.
pub(super) async fn fill(
    connection: &mut PgConnection,
    source: &Source,
    publish: bool,
    anew: bool,
) -> anyhow::Result<Filled> {
    // A store of millions is counted, and looked through for gaps.
    connection.execute("SET statement_timeout = 0").await?;
    let begun = begun(connection, source, anew).await?;
    let mut lines = source.open()?;
    let before = match begun {
        Begun::Not => 0,
        Begun::Until(before) => {
            if !begins_with(connection, source, &mut lines, before).await? {
                return Err(others(connection, source, before).await?.into());
            }
            eprintln!("{}: goes on behind the {before} events that are imported already", source.name());
            before
        }
        // Of several stores some are done when an import is ended.
        Begun::All(events) => {
            let is_same = begins_with(connection, source, &mut lines, events).await? && lines.skip(1)? == 0;
            lines.finish();
            if !is_same {
                return Err(not_empty(source, events).into());
            }
            return Ok(Filled { events, added: 0, streams: contiguous(connection).await? });
        }
    };
    let mut imported = before;
    let filled = chunks(connection, source.role, publish, &mut lines, &mut imported).await;
    if filled.is_err() && imported > 0 {
        eprintln!("{}: {imported} events are imported; the same command goes on behind them", source.name());
    }
    let streams = filled?;
    lines.finish();
    Ok(Filled { events: imported, added: imported - before, streams })
}

/// What earlier imports have left.
enum Begun {
    /// There is nothing.
    Not,
    /// One was ended when so many events were in.
    Until(i64),
    /// There are so many, all of an import that has ended well; nothing was recorded since.
    All(i64),
}

async fn begun(connection: &mut PgConnection, source: &Source, anew: bool) -> anyhow::Result<Begun> {
    let begun = unfinished::of(&mut *connection).await?;
    let (there, are_imported): (i64, bool) = sqlx::query_as(
        "SELECT count(*), coalesce(max(transaction_id::text::numeric) = $1 AND max(position) = count(*), false) FROM events",
    )
    .bind(i64::try_from(OLDEST)?)
    .fetch_one(&mut *connection)
    .await?;
    match begun {
        None if there == 0 => Ok(Begun::Not),
        None if are_imported => Ok(Begun::All(there)),
        None => Err(not_empty(source, there).into()),
        Some(_) if anew => {
            let mut transaction = connection.begin().await?;
            transaction.execute("TRUNCATE events").await?;
            unfinished::end(&mut transaction).await?;
            transaction.commit().await?;
            Ok(Begun::Not)
        }
        Some(begun) if begun == there => Ok(Begun::Until(begun)),
        Some(begun) => {
            let database = source.role.database();
            let message = format!("{database} has {there} events, {begun} of which were imported: begin with --anew");
            Err(Failure::new(Code::Failed, message).into())
        }
    }
}

fn not_empty(source: &Source, events: i64) -> Failure {
    let database = source.role.database();
    Failure::new(Code::Failed, format!("{database} has {events} events, and an import needs a store that has none"))
}

async fn others(connection: &mut PgConnection, source: &Source, events: i64) -> anyhow::Result<Failure> {
    let message = format!(
        "{} holds the first {events} events of another export, whose last one is {}: import that, or begin with --anew",
        source.role.database(),
        at(connection, events).await?.place()
    );
    Ok(Failure::new(Code::Failed, message))
}

/// Skips what is imported already. Whether the last of it is the same event.
async fn begins_with(
    connection: &mut PgConnection,
    source: &Source,
    lines: &mut Lines,
    imported: i64,
) -> anyhow::Result<bool> {
    let last = at(connection, imported).await?;
    Ok(lines.skip(imported - 1)? == imported - 1 && lines.next(source.role)?.is_some_and(|event| event == last))
}

/// The event that this line was.
async fn at(connection: &mut PgConnection, line: i64) -> anyhow::Result<Exported> {
    let query =
        format!("SELECT {COLUMNS} FROM events AS e WHERE e.transaction_id = $1::text::xid8 AND e.position = $2");
    let row = sqlx::query(&query).bind(OLDEST.to_string()).bind(line).fetch_one(connection).await?;
    Exported::of(&row).map(|(event, _)| event)
}

/// Imports the rest; how many streams there are then.
async fn chunks(
    connection: &mut PgConnection,
    role: Role,
    publish: bool,
    lines: &mut Lines,
    imported: &mut i64,
) -> anyhow::Result<i64> {
    loop {
        let mut transaction = connection.begin().await?;
        transaction.execute("LOCK TABLE events IN EXCLUSIVE MODE").await?;
        let is_end = chunk(&mut transaction, role, lines).await?;
        if is_end {
            let streams = contiguous(&mut transaction).await?;
            end(&mut transaction, role, publish, lines.number()).await?;
            transaction.commit().await?;
            *imported = lines.number();
            return Ok(streams);
        }
        unfinished::moved(&mut transaction, OLDEST, *imported, lines.number()).await?;
        transaction.commit().await?;
        *imported = lines.number();
    }
}

/// Writes some events; whether they were the last ones.
async fn chunk(connection: &mut PgConnection, role: Role, lines: &mut Lines) -> anyhow::Result<bool> {
    let before = lines.number();
    let mut copy = connection.copy_in_raw(COPY_IN).await?;
    let (mut rows, mut is_end) = (Rows::new(), false);
    while !is_end && lines.number() < before + CHUNK_EVENTS {
        match lines.next(role) {
            Ok(Some(event)) => rows.add(&event, lines.number()),
            Ok(None) => is_end = true,
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
    let (written, read) = (copy.finish().await.map_err(twice)?, lines.number() - before);
    anyhow::ensure!(i64::try_from(written)? == read, "{written} of {read} events were written");
    Ok(is_end)
}

/// All events are there: the next one comes after them.
async fn end(connection: &mut PgConnection, role: Role, publish: bool, events: i64) -> anyhow::Result<()> {
    sqlx::query("SELECT setval(pg_get_serial_sequence('events', 'position'), greatest($1, 1), $1 > 0)")
        .bind(events)
        .execute(&mut *connection)
        .await?;
    if !publish && role != Role::Notification {
        sqlx::query("INSERT INTO checkpoints (follower, transaction_id, position) VALUES ($1, $2::text::xid8, $3)")
            .bind(FOLLOWER)
            .bind(OLDEST.to_string())
            .bind(events)
            .execute(&mut *connection)
            .await?;
    }
    unfinished::end(connection).await?;
    Ok(())
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
