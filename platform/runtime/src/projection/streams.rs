//! The events of a read model's streams, stream after stream, and what they fold to.

use std::collections::HashMap;

use anyhow::Context;
use chrono::DateTime;
use event_store::{Cursor, Stored};
use sqlx::PgConnection;

use super::copy::{EPOCH_MICROS, Tuples, cells};
use super::model::{Fold, ReadModel, Table};

/// The most kinds of streams that one row is folded from.
pub(super) const KINDS_MAX: usize = 2;

/// One stream (or those of one id), folded.
pub(super) struct Stream {
    pub(super) id: String,
    pub(super) fold: Box<dyn Fold>,
    /// How many events it was folded from.
    pub(super) events: u64,
    /// The last sequence of each kind.
    pub(super) sequences: [i64; KINDS_MAX],
}

/// Which streams.
#[derive(Debug, Clone, Copy)]
pub(super) struct Range<'a> {
    /// Ids above this one.
    pub(super) after: Option<&'a str>,
    /// Up to this one.
    pub(super) up_to: Option<&'a str>,
    /// Of 65,536 ids, by their hash.
    pub(super) sample: Option<u32>,
}

/// Reads streams one after the other; no more than one is held.
pub(super) struct Streams<'c, 'm> {
    tuples: Tuples<'c>,
    model: &'m dyn ReadModel,
    /// Has begun, and may go on.
    open: Option<Stream>,
    /// What earlier rounds have folded: only what came after that is read.
    kept: Option<&'m mut HashMap<String, Stream>>,
}

impl<'c, 'm> Streams<'c, 'm> {
    /// Those of a range, up to a place in the store.
    pub(super) async fn of_range(
        connection: &'c mut PgConnection,
        model: &'m dyn ReadModel,
        range: Range<'_>,
        up_to: Cursor,
    ) -> anyhow::Result<Self> {
        let statement = of_range(model.table(), range, up_to);
        Ok(Self { tuples: Tuples::begin(connection, &statement).await?, model, open: None, kept: None })
    }

    /// Those of these ids, up to a place in the store.
    pub(super) async fn of_ids(
        connection: &'c mut PgConnection,
        model: &'m dyn ReadModel,
        ids: &[String],
        up_to: Cursor,
        kept: &'m mut HashMap<String, Stream>,
    ) -> anyhow::Result<Self> {
        let statement = of_ids(model.table(), ids, up_to, kept);
        Ok(Self { tuples: Tuples::begin(connection, &statement).await?, model, open: None, kept: Some(kept) })
    }

    /// The next stream, whole.
    pub(super) async fn next(&mut self) -> anyhow::Result<Option<Stream>> {
        loop {
            let Some(tuple) = self.tuples.next().await? else { return Ok(self.open.take()) };
            let event = stored(tuple).context("an event cannot be read")?;
            let id = event.aggregate_id;
            let ended = self.open.take_if(|open| open.id != id);
            let stream = match &mut self.open {
                Some(stream) => stream,
                none => {
                    let kept = self.kept.as_mut().and_then(|kept| kept.remove(id));
                    none.insert(kept.unwrap_or_else(|| Stream::begin(self.model, id)))
                }
            };
            stream.take(self.model.table(), &event)?;
            if ended.is_some() {
                return Ok(ended);
            }
        }
    }
}

impl Stream {
    fn begin(model: &dyn ReadModel, id: &str) -> Self {
        Self { id: id.to_owned(), fold: model.begin(), events: 0, sequences: [0; KINDS_MAX] }
    }

    fn take(&mut self, table: &Table, event: &Stored<'_>) -> anyhow::Result<()> {
        self.fold.take(event)?;
        self.events += 1;
        if let Some(kind) = table.kinds.iter().position(|kind| *kind == event.aggregate_type) {
            self.sequences[kind] = i64::try_from(event.sequence)?;
        }
        Ok(())
    }
}

/// What is read of an event.
const COLUMNS: &str =
    "e.aggregate_type, e.aggregate_id, e.sequence, e.event_type, e.event_version, e.payload, e.recorded_at";

/// A place as PostgreSQL compares it.
pub(super) fn place(at: Cursor) -> String {
    format!("('{}'::xid8, {}::bigint)", at.transaction_id, at.position)
}

/// A text as a literal: COPY takes no parameters.
pub(super) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// The index gives a kind's streams in their order; those of several kinds are sorted, range by range.
fn of_range(table: &Table, range: Range<'_>, up_to: Cursor) -> String {
    let mut which = format!("(e.transaction_id, e.position) <= {}", place(up_to));
    if let Some(after) = range.after {
        which += &format!(" AND e.aggregate_id > {}", literal(after));
    }
    if let Some(last) = range.up_to {
        which += &format!(" AND e.aggregate_id <= {}", literal(last));
    }
    if let Some(sample) = range.sample {
        which += &format!(" AND hashtextextended(e.aggregate_id, 0) & 65535 < {sample}");
    }
    let of_kind = |kind: &&str| {
        format!("SELECT {COLUMNS} FROM events AS e WHERE e.aggregate_type = {} AND {which}", literal(kind))
    };
    let all = table.kinds.iter().map(of_kind).collect::<Vec<_>>().join(" UNION ALL ");
    format!("COPY ({all} ORDER BY aggregate_id, sequence) TO STDOUT (FORMAT binary)")
}

/// One index range for each stream, whatever the planner thinks of the list.
fn of_ids(table: &Table, ids: &[String], up_to: Cursor, kept: &HashMap<String, Stream>) -> String {
    let list = ids.iter().map(|id| {
        let [first, second] = kept.get(id).map_or([0; KINDS_MAX], |stream| stream.sequences);
        format!("({}, {first}::bigint, {second}::bigint)", literal(id))
    });
    let list = list.collect::<Vec<_>>().join(", ");
    let of_kind = |(kind, after): (&&str, &str)| {
        format!(
            "(SELECT {COLUMNS} FROM events AS e
               WHERE e.aggregate_type = {} AND e.aggregate_id = i.id AND e.sequence > i.{after}
                 AND (e.transaction_id, e.position) <= {}
               ORDER BY e.sequence OFFSET 0)",
            literal(kind),
            place(up_to)
        )
    };
    let all = table.kinds.iter().zip(["first", "second"]).map(of_kind).collect::<Vec<_>>().join(" UNION ALL ");
    format!(
        "COPY (SELECT e.* FROM (VALUES {list}) AS i(id, first, second) CROSS JOIN LATERAL ({all}) AS e)
           TO STDOUT (FORMAT binary)"
    )
}

fn stored(tuple: &[u8]) -> Option<Stored<'_>> {
    let mut cells = cells(tuple);
    let mut cell = || cells.next()?;
    Some(Stored {
        aggregate_type: text(cell()?)?,
        aggregate_id: text(cell()?)?,
        sequence: u64::try_from(number(cell()?)?).ok()?,
        event_type: text(cell()?)?,
        event_version: text(cell()?)?,
        payload: text(cell()?)?,
        recorded_at: DateTime::from_timestamp_micros(number(cell()?)?.checked_add(EPOCH_MICROS)?)?,
    })
}

fn text(cell: &[u8]) -> Option<&str> {
    std::str::from_utf8(cell).ok()
}

fn number(cell: &[u8]) -> Option<i64> {
    Some(i64::from_be_bytes(cell.try_into().ok()?))
}
