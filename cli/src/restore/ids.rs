//! Places in the event table: transaction ids and positions, the checkpoints of those who follow them, and the leases of
//! whoever was at work when the backup was taken.

use super::Store;
use crate::diagnosis::{Diagnosis, Verdict};
use anyhow::ensure;
use sqlx::{Executor, PgConnection};

/// The first id that any server hands out: below every transaction of this one. All events get it, so that their new
/// positions alone say their order.
pub(crate) const OLDEST: u64 = 3;

/// A process that was at work when the backup was taken may still be; a new lease's epoch is beyond all that it can hold.
pub(crate) const EPOCHS: i64 = 1_000_000;

/// Every event with its new position. Of a database whose services went on after the restore, what was appended since has
/// this server's ids, and positions behind the restored ones.
const RENUMBER: &str = "
CREATE TEMPORARY TABLE renumbered ON COMMIT DROP AS
WITH this AS MATERIALIZED (SELECT pg_snapshot_xmax(pg_current_snapshot()) AS next),
     restored AS MATERIALIZED (SELECT max(position) AS last FROM events WHERE transaction_id >= (SELECT next FROM this)),
     placed AS (
        SELECT aggregate_type, aggregate_id, sequence, transaction_id, position,
               coalesce(transaction_id < (SELECT next FROM this) AND position > (SELECT last FROM restored), false) AS is_later
          FROM events)
SELECT *, row_number() OVER (ORDER BY is_later, transaction_id, position) AS number FROM placed";

/// How things stand.
struct State {
    events: i64,
    streams: i64,
    gaps: i64,
    reversed: i64,
    last_position: i64,
    last_value: i64,
    leases: i64,
    timeline: String,
}

impl State {
    async fn of(store: &Store) -> Result<Self, sqlx::Error> {
        let (events, streams, gaps, reversed, last_position): (i64, i64, i64, i64, i64) = sqlx::query_as(
            "SELECT count(*), count(*) FILTER (WHERE number = 1), count(*) FILTER (WHERE number <> sequence),
                    count(*) FILTER (WHERE (transaction_id, position) <= (id_before, position_before)),
                    coalesce(max(position), 0)
               FROM (SELECT sequence, transaction_id, position, row_number() OVER stream AS number,
                            lag(transaction_id) OVER stream AS id_before, lag(position) OVER stream AS position_before
                       FROM events
                     WINDOW stream AS (PARTITION BY aggregate_type, aggregate_id ORDER BY sequence)) AS placed",
        )
        .fetch_one(&store.pool)
        .await?;
        let (last_value, leases, timeline) = sqlx::query_as(
            "SELECT coalesce(pg_sequence_last_value(pg_get_serial_sequence('events', 'position')::regclass), 0),
                    (SELECT count(*) FROM consumer_offsets WHERE owner IS NOT NULL AND lease_until < clock_timestamp()),
                    'timeline ' || (SELECT timeline_id FROM pg_control_checkpoint())
                        || CASE WHEN pg_is_in_recovery() THEN ', in recovery' ELSE '' END",
        )
        .fetch_one(&store.pool)
        .await?;
        Ok(Self { events, streams, gaps, reversed, last_position, last_value, leases, timeline })
    }
}

/// Tells how things stand.
pub(super) async fn look(store: &Store, found: &mut Diagnosis) -> anyhow::Result<()> {
    let of = store.role.database();
    let state = State::of(store).await?;
    if state.timeline.ends_with("recovery") {
        let advice = "let it come up: SELECT pg_promote(), or restore with recovery_target_action = promote";
        found.add(Verdict::Fail, "server", of, state.timeline, advice);
    } else {
        found.ok("server", of, state.timeline);
    }
    let foreign = runtime::foreign::count(&store.pool).await?;
    if foreign.is_none() {
        found.ok("transaction ids", of, "of this server");
    } else {
        let advice = "mended by --yes: all get the oldest id, in their order; the checkpoints follow";
        found.add(Verdict::Fail, "transaction ids", of, foreign.to_string(), advice);
    }
    if state.gaps == 0 {
        found.ok("contiguous streams", of, format!("{} events in {} streams", state.events, state.streams));
    } else {
        let told = format!("{} events stand at another place than their sequence says", state.gaps);
        found.add(Verdict::Fail, "contiguous streams", of, told, "the backup is damaged: restore another one");
    }
    match (state.reversed, foreign.is_none()) {
        (0, _) => found.ok("order of streams", of, "readers see each stream in its order"),
        (reversed, false) => {
            let told = format!("{reversed} events come before an earlier one of their stream");
            found.add(Verdict::Fail, "order of streams", of, told, "mended by --yes");
        }
        (reversed, true) => {
            let told = format!("{reversed} events come before an earlier one of their stream");
            let advice = "services ran on the restored dump before it was mended: restore it again, and mend it first";
            found.add(Verdict::Fail, "order of streams", of, told, advice);
        }
    }
    if state.last_value >= state.last_position {
        found.ok("positions", of, format!("the next one is beyond {}", state.last_position));
    } else {
        let told = format!("the next one is {}, and {} is given", state.last_value + 1, state.last_position);
        found.add(Verdict::Fail, "positions", of, told, "mended by --yes");
    }
    if state.leases == 0 {
        found.ok("leases", of, "none of another time");
    } else {
        let told = format!("{} of instances that are gone", state.leases);
        found.add(Verdict::Fail, "leases", of, told, "mended by --yes: they end, and their epochs are passed");
    }
    Ok(())
}

/// Makes the store one of this server: all or nothing, and nothing where there is nothing to do.
pub(super) async fn mend(store: &Store, mended: &mut Diagnosis) -> anyhow::Result<()> {
    let of = store.role.database();
    let is_foreign = !runtime::foreign::count(&store.pool).await?.is_none();
    let state = State::of(store).await?;
    let held: i64 = sqlx::query_scalar(
        "SELECT (SELECT count(*) FROM consumer_offsets WHERE owner IS NOT NULL) + (SELECT count(*) FROM consumer_members)",
    )
    .fetch_one(&store.pool)
    .await?;
    if !is_foreign && held == 0 && state.last_value >= state.last_position {
        return Ok(());
    }
    let mut transaction = store.pool.begin().await?;
    transaction
        .execute("LOCK TABLE events, checkpoints, consumer_offsets, consumer_members IN ACCESS EXCLUSIVE MODE")
        .await?;
    if is_foreign {
        let events = renumber(&mut transaction).await?;
        ensure!(events == u64::try_from(state.events)?, "{of}: {events} of {} events were renumbered", state.events);
        mended.ok("mended", of, format!("{events} events have ids of this server, in their old order"));
    }
    sqlx::query(
        "SELECT setval(pg_get_serial_sequence('events', 'position'), greatest(max(position), 1), count(*) > 0) FROM events",
    )
    .execute(&mut *transaction)
    .await?;
    let leases = end_leases(&mut transaction).await?;
    transaction.commit().await?;
    mended.ok("mended", of, format!("{leases} leases have ended, epochs beyond all that were held"));
    if is_foreign {
        // Every row was written anew.
        store.pool.execute("VACUUM (ANALYZE) events").await?;
    }
    Ok(())
}

async fn renumber(connection: &mut PgConnection) -> anyhow::Result<u64> {
    (&mut *connection).execute(RENUMBER).await?;
    let beyond: Vec<String> = sqlx::query_scalar(
        "SELECT c.follower FROM checkpoints c
           JOIN renumbered r ON (r.transaction_id, r.position) = (c.transaction_id, c.position) WHERE r.is_later",
    )
    .fetch_all(&mut *connection)
    .await?;
    ensure!(
        beyond.is_empty(),
        "{} went on behind what was hidden from it: restore the dump again, and run this before the services",
        beyond.join(", ")
    );
    // An identity column that is always generated cannot be updated.
    (&mut *connection).execute("ALTER TABLE events ALTER COLUMN position SET GENERATED BY DEFAULT").await?;
    let updated = format!(
        "UPDATE events e SET transaction_id = '{OLDEST}', position = r.number FROM renumbered r
          WHERE (e.aggregate_type, e.aggregate_id, e.sequence) = (r.aggregate_type, r.aggregate_id, r.sequence)"
    );
    let updated = (&mut *connection).execute(updated.as_str()).await?.rows_affected();
    (&mut *connection).execute("ALTER TABLE events ALTER COLUMN position SET GENERATED ALWAYS").await?;
    let moved = format!(
        "UPDATE checkpoints c SET (transaction_id, position) = (
            SELECT (CASE WHEN count(*) = 0 THEN '0' ELSE '{OLDEST}' END)::xid8, count(*) FROM renumbered r
             WHERE NOT r.is_later AND (r.transaction_id, r.position) <= (c.transaction_id, c.position))"
    );
    (&mut *connection).execute(moved.as_str()).await?;
    // Places are other ones now: what was begun by them begins anew.
    (&mut *connection).execute("DELETE FROM projection_rebuilds").await?;
    Ok(updated)
}

async fn end_leases(connection: &mut PgConnection) -> Result<u64, sqlx::Error> {
    let leases = sqlx::query("UPDATE consumer_offsets SET owner = NULL, lease_until = NULL, epoch = epoch + $1")
        .bind(EPOCHS)
        .execute(&mut *connection)
        .await?
        .rows_affected();
    connection.execute("DELETE FROM consumer_members").await?;
    Ok(leases)
}
