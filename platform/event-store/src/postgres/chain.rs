//! Chaining what is appended: see [`crate::chain`].

use sqlx::{PgPool, Row};

use super::translate;
use crate::chain::{self, HashChain, Link};
use crate::{Append, Error};

/// The lateral subquery keeps each event one look into the primary key.
const LAST: &str = "
SELECT s.n, e.event_type, e.event_version, e.payload, e.metadata
  FROM UNNEST($1::text[], $2::text[], $3::bigint[]) WITH ORDINALITY AS s(aggregate_type, aggregate_id, sequence, n)
 CROSS JOIN LATERAL (
       SELECT event_type, event_version, payload::text AS payload, metadata::text AS metadata
         FROM events
        WHERE aggregate_type = s.aggregate_type AND aggregate_id = s.aggregate_id AND sequence = s.sequence
       OFFSET 0) AS e";

/// Chains the events of each append to those before. An event never changes, so it does not matter that it is read
/// before the append's own transaction; one that is not there is a conflict, which the append will meet.
pub(super) async fn chain<'a>(
    pool: &PgPool,
    mode: HashChain,
    appends: impl Iterator<Item = &'a mut Append>,
) -> Result<(), Error> {
    if mode == HashChain::Off {
        return Ok(());
    }
    let unreadable = |error: serde_json::Error| Error::Failed(format!("the event before cannot be hashed: {error}"));
    let (new, existing): (Vec<_>, Vec<_>) =
        appends.filter(|append| !append.events.is_empty()).partition(|append| append.expected == 0);
    if mode == HashChain::On {
        for append in new {
            let genesis = append.stream.genesis();
            chain::link(append, genesis).map_err(unreadable)?;
        }
    }
    if existing.is_empty() {
        return Ok(());
    }
    let types: Vec<&str> = existing.iter().map(|append| append.stream.aggregate_type).collect();
    let ids: Vec<&str> = existing.iter().map(|append| append.stream.aggregate_id.as_str()).collect();
    let sequences: Vec<i64> =
        existing.iter().map(|append| i64::try_from(append.expected).unwrap_or(i64::MAX)).collect();
    let rows = sqlx::query(LAST).bind(types).bind(ids).bind(sequences).fetch_all(pool).await.map_err(translate)?;
    let mut existing: Vec<Option<&mut Append>> = existing.into_iter().map(Some).collect();
    for row in rows {
        let n = usize::try_from(row.try_get::<i64, _>("n").map_err(translate)?).unwrap_or(0);
        let Some(append) = n.checked_sub(1).and_then(|n| existing.get_mut(n)).and_then(Option::take) else { continue };
        let text = |column: &str| row.try_get::<&str, _>(column).map_err(translate);
        let link = Link {
            aggregate_type: append.stream.aggregate_type,
            aggregate_id: &append.stream.aggregate_id,
            sequence: append.expected,
            event_type: text("event_type")?,
            event_version: text("event_version")?,
            payload: text("payload")?,
            metadata: text("metadata")?,
        };
        if mode == HashChain::Continue && link.before().is_none() {
            continue;
        }
        let before = link.hash().map_err(unreadable)?;
        chain::link(append, before).map_err(unreadable)?;
    }
    Ok(())
}
