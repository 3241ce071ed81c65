//! Following what was recorded while the table was being filled: the streams that went on are folded anew, and their
//! rows written in the place of the earlier ones.

use std::collections::{BTreeSet, HashMap};

use anyhow::Context;
use event_store::Cursor;
use sqlx::{Connection, PgConnection};

use super::begun::Begun;
use super::copy::Rows;
use super::database::cursor;
use super::model::{ReadModel, Table};
use super::streams::{Stream, Streams};
use super::{Error, shadow};

/// Events of one round: a transaction of tens of milliseconds.
pub(super) const ROUND_EVENTS_MAX: i64 = 2_000;
/// Streams with more events than this are kept folded from round to round.
const LONG_EVENTS: u64 = 200;
/// So many of them; all are forgotten when there are more.
const KEPT_MAX: usize = 2_000;
/// Beyond every event.
pub(super) const EVERYTHING: Cursor = Cursor { transaction_id: u64::MAX, position: i64::MAX };

/// Brings the new table on.
pub(super) struct CatchingUp<'m> {
    model: &'m dyn ReadModel,
    epoch: i64,
    /// What the table has.
    pub(super) at: Cursor,
    kept: HashMap<String, Stream>,
    key_kind: String,
}

/// One step.
pub(super) struct Round {
    pub(super) events: u64,
    /// There was more than one step's worth.
    pub(super) more: bool,
}

impl<'m> CatchingUp<'m> {
    pub(super) fn new(model: &'m dyn ReadModel, begun: &Begun, key_kind: String) -> Self {
        Self { model, epoch: begun.epoch, at: begun.at, kept: HashMap::new(), key_kind }
    }

    /// One step, in a transaction of its own.
    pub(super) async fn round(&mut self, reader: &mut PgConnection, writer: &mut PgConnection) -> Result<Round, Error> {
        let Some(step) = self.step(reader, EVERYTHING).await? else {
            return Ok(Round { events: 0, more: false });
        };
        let round = Round { events: step.events, more: step.more };
        let mut transaction = writer.begin().await?;
        let to = self.write(&mut transaction, step).await?;
        transaction.commit().await?;
        self.at = to;
        Ok(round)
    }

    /// All up to a place that every reader has seen, within a transaction that ends with the new table in its place.
    /// False if that is too much to be done there.
    pub(super) async fn last_round(
        &mut self,
        reader: &mut PgConnection,
        transaction: &mut PgConnection,
        up_to: Cursor,
    ) -> Result<bool, Error> {
        if let Some(step) = self.step(reader, up_to).await? {
            if step.more {
                return Ok(false);
            }
            self.at = self.write(transaction, step).await?;
        }
        self.at = self.at.max(up_to);
        Ok(true)
    }

    /// What was rolled back is folded anew.
    pub(super) fn rolled_back(&mut self, at: Cursor) {
        self.kept.clear();
        self.at = at;
    }

    /// What came after the table's place: the rows of the streams that went on.
    async fn step(&mut self, reader: &mut PgConnection, up_to: Cursor) -> Result<Option<Step>, Error> {
        let table = self.model.table();
        let Some(changed) = changed(reader, table, self.at, up_to).await? else { return Ok(None) };
        let mut rows = Rows::default();
        if !changed.ids.is_empty() {
            let mut folded = Vec::new();
            let mut streams = Streams::of_ids(reader, self.model, &changed.ids, changed.to, &mut self.kept).await?;
            while let Some(stream) = streams.next().await? {
                let added = rows.add(table.columns.len(), |row| stream.fold.row(row));
                added.with_context(|| format!("{} {}", table.name, stream.id))?;
                if stream.events >= LONG_EVENTS {
                    folded.push(stream);
                }
            }
            drop(streams);
            if self.kept.len() + folded.len() > KEPT_MAX {
                self.kept.clear();
            }
            self.kept.extend(folded.into_iter().map(|stream| (stream.id.clone(), stream)));
        }
        Ok(Some(Step { rows, ids: changed.ids, to: changed.to, events: changed.events, more: changed.more }))
    }

    async fn write(&self, transaction: &mut PgConnection, mut step: Step) -> Result<Cursor, Error> {
        let table = self.model.table();
        let new = shadow::name(table);
        if !step.ids.is_empty() {
            let delete = format!("DELETE FROM {new} WHERE {} = ANY($1::text[]::{}[])", table.key(), self.key_kind);
            sqlx::query(&delete).bind(&step.ids).execute(&mut *transaction).await?;
            let copy = format!("COPY {new} ({}) FROM STDIN (FORMAT binary)", table.columns.join(", "));
            step.rows.copy_in(transaction, &copy).await?;
        }
        let moved = sqlx::query(
            "UPDATE projection_rebuilds
                SET transaction_id = $3::text::xid8, position = $4, updated_at = clock_timestamp()
              WHERE projection = $1 AND epoch = $2 AND (transaction_id, position) = ($5::text::xid8, $6)",
        )
        .bind(table.name)
        .bind(self.epoch)
        .bind(step.to.transaction_id.to_string())
        .bind(step.to.position)
        .bind(self.at.transaction_id.to_string())
        .bind(self.at.position)
        .execute(transaction)
        .await?;
        if moved.rows_affected() == 1 { Ok(step.to) } else { Err(Error::TakenOver { table: table.name }) }
    }
}

struct Step {
    rows: Rows,
    ids: Vec<String>,
    to: Cursor,
    events: u64,
    more: bool,
}

struct Changed {
    ids: Vec<String>,
    to: Cursor,
    events: u64,
    more: bool,
}

/// The streams that went on, as far as every reader may see; in commit order, as everybody follows events.
async fn changed(
    reader: &mut PgConnection,
    table: &Table,
    after: Cursor,
    up_to: Cursor,
) -> Result<Option<Changed>, Error> {
    let events: Vec<(String, i64, Option<String>)> = sqlx::query_as(
        "WITH gate AS MATERIALIZED (SELECT pg_snapshot_xmin(pg_current_snapshot()) AS xmin)
         SELECT e.transaction_id::text AS xid, e.position,
                CASE WHEN e.aggregate_type = ANY($5) THEN e.aggregate_id END
           FROM events AS e
          WHERE (e.transaction_id, e.position) > ($1::text::xid8, $2)
            AND (e.transaction_id, e.position) <= ($3::text::xid8, $4)
            AND e.transaction_id < (SELECT xmin FROM gate)
          ORDER BY e.transaction_id, e.position
          LIMIT $6",
    )
    .bind(after.transaction_id.to_string())
    .bind(after.position)
    .bind(up_to.transaction_id.to_string())
    .bind(up_to.position)
    .bind(table.kinds.to_vec())
    .bind(ROUND_EVENTS_MAX)
    .fetch_all(reader)
    .await?;
    let Some((transaction_id, position, _)) = events.last() else { return Ok(None) };
    let to = cursor(transaction_id, *position)?;
    let (count, more) = (events.len() as u64, events.len() as i64 >= ROUND_EVENTS_MAX);
    let ids: BTreeSet<String> = events.into_iter().filter_map(|(.., id)| id).collect();
    Ok(Some(Changed { ids: ids.into_iter().collect(), to, events: count, more }))
}
