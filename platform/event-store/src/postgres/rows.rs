//! Appends as columns: one array a column, so that a group is one INSERT whatever its size.

use sqlx::postgres::PgArguments;
use sqlx::{Arguments, PgConnection, PgPool};

use super::translate;
use crate::{Append, Error, StreamId};

/// The INSERT of all events given as arrays $1..$7. Rows take their positions in the arrays' order.
macro_rules! insert_events {
    () => {
        "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
         SELECT e.aggregate_type, e.aggregate_id, e.sequence, e.event_type, e.event_version, e.payload::json, e.metadata::json
           FROM UNNEST($1::text[], $2::text[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[])
                AS e(aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)"
    };
}
pub(super) use insert_events;

/// The arrays of [`insert_events`].
#[derive(Default)]
pub(super) struct EventRows {
    aggregate_types: Vec<&'static str>,
    aggregate_ids: Vec<String>,
    sequences: Vec<i64>,
    event_types: Vec<String>,
    event_versions: Vec<String>,
    payloads: Vec<String>,
    metadata: Vec<String>,
}

impl EventRows {
    /// How many arguments they are.
    pub(super) const ARGUMENTS: usize = 7;

    pub(super) fn of<'a>(appends: impl IntoIterator<Item = &'a Append>) -> Self {
        let mut rows = Self::default();
        for append in appends {
            for (event, sequence) in append.events.iter().zip(append.expected + 1..) {
                rows.aggregate_types.push(append.stream.aggregate_type);
                rows.aggregate_ids.push(append.stream.aggregate_id.clone());
                rows.sequences.push(i64::try_from(sequence).unwrap_or(i64::MAX));
                rows.event_types.push(event.event_type.clone());
                rows.event_versions.push(event.event_version.clone());
                rows.payloads.push(event.payload.clone());
                rows.metadata.push(event.metadata.to_json());
            }
        }
        rows
    }

    pub(super) fn into_arguments(self) -> Result<PgArguments, Error> {
        let mut arguments = PgArguments::default();
        let add = |arguments: &mut PgArguments| -> Result<(), sqlx::error::BoxDynError> {
            arguments.add(self.aggregate_types)?;
            arguments.add(self.aggregate_ids)?;
            arguments.add(self.sequences)?;
            arguments.add(self.event_types)?;
            arguments.add(self.event_versions)?;
            arguments.add(self.payloads)?;
            arguments.add(self.metadata)
        };
        add(&mut arguments).map_err(|error| Error::Failed(error.to_string()))?;
        Ok(arguments)
    }
}

/// Which of the appends no longer stand at the sequence that their decision saw. Asked after a
/// unique violation, which names one row but not all of them.
pub(super) async fn stale<'a>(
    pool: &PgPool,
    appends: impl Iterator<Item = &'a Append> + Clone,
) -> Result<Vec<StreamId>, Error> {
    let mut connection = pool.acquire().await.map_err(translate)?;
    let heads = heads(&mut connection, appends.clone().map(|append| &append.stream)).await?;
    Ok(appends
        .zip(heads)
        .filter(|(append, head)| append.expected != *head)
        .map(|(append, _)| append.stream.clone())
        .collect())
}

/// The last sequence of each stream, in the order asked; 0 where there is none.
async fn heads(connection: &mut PgConnection, streams: impl Iterator<Item = &StreamId>) -> Result<Vec<u64>, Error> {
    let (types, ids): (Vec<&str>, Vec<&str>) =
        streams.map(|stream| (stream.aggregate_type, stream.aggregate_id.as_str())).unzip();
    let heads: Vec<i64> = sqlx::query_scalar(
        "SELECT COALESCE((SELECT max(e.sequence) FROM events e
                           WHERE e.aggregate_type = s.aggregate_type AND e.aggregate_id = s.aggregate_id), 0)
           FROM UNNEST($1::text[], $2::text[]) WITH ORDINALITY AS s(aggregate_type, aggregate_id, n)
          ORDER BY s.n",
    )
    .bind(types)
    .bind(ids)
    .fetch_all(connection)
    .await
    .map_err(translate)?;
    Ok(heads.into_iter().map(|head| u64::try_from(head).unwrap_or(0)).collect())
}
