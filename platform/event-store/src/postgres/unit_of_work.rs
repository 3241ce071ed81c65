//! The unit of work as ONE statement: one transaction, one round trip, one flush.
//!
//! Its parts are data-modifying CTEs. Decisions were loaded before the statement began, so the
//! transaction takes its id after the load: one stream's order cannot be reversed.

use std::collections::BTreeMap;

use broker::TopicPartition;
use sqlx::postgres::PgArguments;
use sqlx::{Arguments, PgPool};
use uuid::Uuid;

use super::answers::{self, bind_answers, insert_answers};
use super::mending;
use super::rows::{self, EventRows, insert_events};
use super::{Kept, is_unique_violation, printable, translate};
use crate::{Answer, DeadLetter, Error, OffsetAdvance, StreamId, TimerChange, UnitOfWork};

/// Raised by the statement itself when not every offset matched: it divides by zero.
const DIVISION_BY_ZERO: &str = "22012";

pub(super) type Added = Result<(), sqlx::error::BoxDynError>;

/// A statement under construction: CTEs, what they are asked for, and their arguments.
pub(super) struct Statement {
    parts: Vec<String>,
    /// Sentences about the affected rows that must be true at the end.
    conditions: Vec<String>,
    arguments: PgArguments,
    bound: usize,
}

impl Statement {
    /// `$n` of the next argument.
    pub(super) fn bind<'q, T>(&mut self, value: T) -> Result<String, sqlx::error::BoxDynError>
    where
        T: sqlx::Encode<'q, sqlx::Postgres> + sqlx::Type<sqlx::Postgres> + 'q,
    {
        self.arguments.add(value)?;
        self.bound += 1;
        Ok(format!("${}", self.bound))
    }

    pub(super) fn part(&mut self, name: &str, sql: &str) {
        self.parts.push(format!("{name} AS ({sql})"));
    }

    /// A part that must return so many rows, or all of the statement fails.
    pub(super) fn changing(&mut self, name: &str, sql: &str, rows: usize) -> Added {
        self.part(name, sql);
        // Bound, not written: one statement for all counts.
        let rows = self.bind(i64::try_from(rows)?)?;
        self.conditions.push(format!("(SELECT count(*) FROM {name}) = {rows}::bigint"));
        Ok(())
    }

    /// How many parts there are by now.
    pub(super) fn parts_count(&self) -> usize {
        self.parts.len()
    }
}

pub(super) async fn commit(kept: &Kept, work: UnitOfWork) -> Result<(), Error> {
    let Some(statement) = build(&work).map_err(|error| Error::Failed(error.to_string()))? else { return Ok(()) };
    // Few shapes (which parts there are), so the prepared ones are found again.
    let sql = format!(
        "WITH {} SELECT {}",
        statement.parts.join(", "),
        if statement.conditions.is_empty() {
            "1".to_owned()
        } else {
            // Sentences about the affected rows that the database itself enforces.
            format!("1 / (CASE WHEN {} THEN 1 ELSE 0 END)", statement.conditions.join(" AND "))
        }
    );
    let mut connection = kept.lend().await.map_err(translate)?;
    let done = sqlx::query_with(&sql, statement.arguments).execute(&mut *connection).await;
    let (done, pool) = (connection.done(done), kept.pool());
    match done {
        Ok(_) => Ok(()),
        Err(error) if is_unique_violation(&error) => Err(conflict(pool, &work, error).await),
        Err(error) if error.as_database_error().and_then(|e| e.code()).as_deref() == Some(DIVISION_BY_ZERO) => {
            Err(match lease_lost(pool, &work).await {
                Some(lost) => lost,
                None => Error::Outdated,
            })
        }
        Err(error) => Err(translate(error)),
    }
}

fn build(work: &UnitOfWork) -> Result<Option<Statement>, sqlx::error::BoxDynError> {
    let mut statement =
        Statement { parts: Vec::new(), conditions: Vec::new(), arguments: PgArguments::default(), bound: 0 };
    if work.appends.iter().any(|append| !append.events.is_empty()) {
        // First, so that its arguments are $1..$7.
        statement.arguments = EventRows::of(&work.appends).into_arguments()?;
        statement.bound = EventRows::ARGUMENTS;
        statement.part("appended", insert_events!());
    }
    if !work.inbox.is_empty() {
        inbox(&mut statement, &work.inbox)?;
    }
    if !work.timers.is_empty() {
        timers(&mut statement, &work.timers)?;
    }
    if !work.dead_letters.is_empty() {
        dead_letters(&mut statement, &work.dead_letters)?;
    }
    mending::add(&mut statement, &work.mends)?;
    if !work.offsets.is_empty() {
        offsets(&mut statement, &work.offsets)?;
    }
    if !work.answers.is_empty() {
        let insert = insert_answers(statement.bound + 1);
        bind_answers(&mut statement.arguments, work.answers.iter())?;
        statement.bound += 6;
        statement.part("answered", &insert);
    }
    Ok(if statement.parts.is_empty() { None } else { Some(statement) })
}

fn inbox(statement: &mut Statement, entries: &[(String, Uuid)]) -> Added {
    let consumers = statement.bind(entries.iter().map(|(consumer, _)| consumer.clone()).collect::<Vec<_>>())?;
    let commands = statement.bind(entries.iter().map(|(_, id)| *id).collect::<Vec<_>>())?;
    statement.part(
        "handled",
        &format!(
            "INSERT INTO inbox (consumer, command_id) SELECT * FROM UNNEST({consumers}::text[], {commands}::uuid[])
             ON CONFLICT DO NOTHING"
        ),
    );
    Ok(())
}

fn timers(statement: &mut Statement, changes: &[TimerChange]) -> Added {
    let (mut types, mut ids, mut due, mut traces, mut stories) = (vec![], vec![], vec![], vec![], vec![]);
    let (mut cleared_types, mut cleared_ids, mut cleared_due) = (vec![], vec![], vec![]);
    for change in last_changes(changes) {
        match change {
            TimerChange::Set { stream, due_at, traceparent, correlation_id } => {
                types.push(stream.aggregate_type);
                ids.push(stream.aggregate_id.clone());
                due.push(due_at);
                traces.push(traceparent.clone());
                stories.push(correlation_id);
            }
            TimerChange::Clear { stream } => {
                cleared_types.push(stream.aggregate_type);
                cleared_ids.push(stream.aggregate_id.clone());
                cleared_due.push(None);
            }
            TimerChange::Expire { stream, due_at } => {
                cleared_types.push(stream.aggregate_type);
                cleared_ids.push(stream.aggregate_id.clone());
                cleared_due.push(Some(due_at));
            }
        }
    }
    if !types.is_empty() {
        let (types, ids) = (statement.bind(types)?, statement.bind(ids)?);
        let (due, traces, stories) = (statement.bind(due)?, statement.bind(traces)?, statement.bind(stories)?);
        statement.part(
            "set_timers",
            &format!(
                "INSERT INTO timers (aggregate_type, aggregate_id, due_at, traceparent, correlation_id)
                 SELECT * FROM UNNEST({types}::text[], {ids}::text[], {due}::timestamptz[], {traces}::text[], {stories}::uuid[])
                 ON CONFLICT (aggregate_type, aggregate_id) DO UPDATE
                    SET due_at = EXCLUDED.due_at, traceparent = EXCLUDED.traceparent,
                        correlation_id = EXCLUDED.correlation_id"
            ),
        );
    }
    if !cleared_types.is_empty() {
        let (types, ids) = (statement.bind(cleared_types)?, statement.bind(cleared_ids)?);
        let due = statement.bind(cleared_due)?;
        statement.part(
            "cleared_timers",
            &format!(
                "DELETE FROM timers t
                  USING UNNEST({types}::text[], {ids}::text[], {due}::timestamptz[]) AS c(aggregate_type, aggregate_id, due_at)
                  WHERE t.aggregate_type = c.aggregate_type AND t.aggregate_id = c.aggregate_id
                    AND t.due_at = COALESCE(c.due_at, t.due_at)"
            ),
        );
    }
    Ok(())
}

/// One change a stream, as if they had been made one after the other: within one statement none
/// would see the other.
fn last_changes(changes: &[TimerChange]) -> impl Iterator<Item = TimerChange> {
    let mut last: BTreeMap<&StreamId, TimerChange> = BTreeMap::new();
    for change in changes {
        match (change, last.get(change.stream())) {
            (TimerChange::Expire { stream, due_at }, Some(TimerChange::Set { due_at: set, .. })) => {
                if due_at == set {
                    last.insert(stream, TimerChange::Clear { stream: stream.clone() });
                }
            }
            (TimerChange::Expire { .. }, Some(TimerChange::Clear { .. })) => {}
            _ => {
                last.insert(change.stream(), change.clone());
            }
        }
    }
    last.into_values()
}

fn dead_letters(statement: &mut Statement, letters: &[DeadLetter]) -> Added {
    // Rare, so one JSON array instead of ten arguments would do too; values are bytes, though.
    let headers: Vec<String> = letters.iter().map(|letter| headers_json(&letter.record)).collect();
    let consumers = statement.bind(letters.iter().map(|l| l.consumer.clone()).collect::<Vec<_>>())?;
    let topics = statement.bind(letters.iter().map(|l| l.partition.topic.to_string()).collect::<Vec<_>>())?;
    let partitions = statement.bind(letters.iter().map(|l| l.partition.partition).collect::<Vec<_>>())?;
    let at = statement.bind(letters.iter().map(|l| l.offset).collect::<Vec<_>>())?;
    let keys = statement.bind(letters.iter().map(|l| printable(&l.record.key)).collect::<Vec<_>>())?;
    let headers = statement.bind(headers)?;
    let values = statement.bind(letters.iter().map(|l| l.record.value.to_vec()).collect::<Vec<_>>())?;
    let times = statement.bind(letters.iter().map(|l| l.record.timestamp_ms).collect::<Vec<_>>())?;
    let reasons = statement.bind(letters.iter().map(|l| printable(&l.reason)).collect::<Vec<_>>())?;
    let parked = statement.bind(letters.iter().map(|l| l.parked).collect::<Vec<_>>())?;
    statement.part(
        "put_aside",
        &format!(
            "INSERT INTO dead_letters (consumer, topic, partition, \"offset\", key, headers, value, timestamp_ms, reason, parked, attempts)
             SELECT d.consumer, d.topic, d.partition, d.at, d.key, d.headers::json, d.value, d.time, d.reason, d.parked, (NOT d.parked)::int
               FROM UNNEST({consumers}::text[], {topics}::text[], {partitions}::int[], {at}::bigint[], {keys}::text[],
                           {headers}::text[], {values}::bytea[], {times}::bigint[], {reasons}::text[], {parked}::boolean[])
                    AS d(consumer, topic, partition, at, key, headers, value, time, reason, parked)
             ON CONFLICT DO NOTHING"
        ),
    );
    Ok(())
}

fn offsets(statement: &mut Statement, moves: &[OffsetAdvance]) -> Added {
    let consumers = statement.bind(moves.iter().map(|m| m.lease.consumer.clone()).collect::<Vec<_>>())?;
    let topics = statement.bind(moves.iter().map(|m| m.lease.partition.topic.to_string()).collect::<Vec<_>>())?;
    let partitions = statement.bind(moves.iter().map(|m| m.lease.partition.partition).collect::<Vec<_>>())?;
    let epochs = statement.bind(moves.iter().map(|m| m.lease.epoch).collect::<Vec<_>>())?;
    let old = statement.bind(moves.iter().map(|m| m.lease.next_offset).collect::<Vec<_>>())?;
    let new = statement.bind(moves.iter().map(|m| m.to).collect::<Vec<_>>())?;
    statement.part(
        "wanted",
        &format!(
            "SELECT * FROM UNNEST({consumers}::text[], {topics}::text[], {partitions}::int[], {epochs}::bigint[], {old}::bigint[], {new}::bigint[])
                 AS w(consumer, topic, partition, epoch, old, new)"
        ),
    );
    statement.part(
        "moved",
        "UPDATE consumer_offsets o SET next_offset = w.new FROM wanted w
          WHERE o.consumer = w.consumer AND o.topic = w.topic AND o.partition = w.partition
            AND o.epoch = w.epoch AND o.next_offset = w.old AND w.new >= w.old
        RETURNING 1",
    );
    statement.conditions.push("(SELECT count(*) FROM moved) = (SELECT count(*) FROM wanted)".to_owned());
    Ok(())
}

/// Headers as a JSON object of base64 values would hide them from the operator; those that are
/// not text are shown in a lossy form, the bytes that matter are in the value.
fn headers_json(record: &broker::Record) -> String {
    let map: std::collections::BTreeMap<&str, String> = record
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), printable(&String::from_utf8_lossy(value))))
        .collect();
    serde_json::to_string(&map).unwrap_or_else(|_| "{}".to_owned())
}

async fn conflict(pool: &PgPool, work: &UnitOfWork, error: sqlx::Error) -> Error {
    match answers::repeated(pool, &work.answers.iter().collect::<Vec<&Answer>>()).await {
        Ok(repeated) if repeated.is_empty() => {}
        Ok(_) => return Error::Repeated,
        Err(error) => return error,
    }
    match rows::stale(pool, work.appends.iter()).await {
        Ok(stale) => {
            work.appends.iter().find(|append| stale.contains(&append.stream)).or(work.appends.first()).map_or_else(
                || translate(error),
                |append| Error::Conflict { stream: append.stream.clone(), expected: append.expected },
            )
        }
        Err(error) => error,
    }
}

/// Names the lease that does not match any more; the first if it cannot be told, but for a unit of work that can have
/// failed of something else.
async fn lease_lost(pool: &PgPool, work: &UnitOfWork) -> Option<Error> {
    for advance in &work.offsets {
        let lease = &advance.lease;
        let found: Result<Option<(i64, i64)>, _> = sqlx::query_as(
            "SELECT epoch, next_offset FROM consumer_offsets WHERE consumer = $1 AND topic = $2 AND partition = $3",
        )
        .bind(&lease.consumer)
        .bind(lease.partition.topic.as_ref())
        .bind(lease.partition.partition)
        .fetch_optional(pool)
        .await;
        if !matches!(found, Ok(Some(held)) if held == (lease.epoch, lease.next_offset)) {
            return Some(lost(&lease.consumer, &lease.partition));
        }
    }
    let first = work.offsets.first().filter(|_| work.mends.is_empty());
    first.map(|advance| lost(&advance.lease.consumer, &advance.lease.partition))
}

fn lost(consumer: &str, partition: &TopicPartition) -> Error {
    Error::LeaseLost { consumer: consumer.to_owned(), partition: partition.clone() }
}
