//! Finding and counting.

use super::filter::{Aggregate, Filter};
use super::merge;
use super::store::{COLUMNS, Store, failed};
use crate::args::{By, StoreArgs};
use crate::exit::{Code, Failure};
use crate::ports::Role;
use chrono::{DateTime, TimeDelta, Utc};
use event_store::RecordedEvent;
use sqlx::{Postgres, QueryBuilder, Row};
use uuid::Uuid;

/// The columns of [`COLUMNS`], once they are found.
const FOUND: &str = "e.aggregate_type, e.aggregate_id, e.sequence, e.event_type, e.event_version, e.payload, \
     e.metadata, e.position, e.xid, e.recorded_at";
/// An event's id tells when it was made; it is in the table so much later or earlier at most, by another clock.
const CLOCKS_APART_MAX: TimeDelta = TimeDelta::minutes(15);

/// An event, and whose.
pub(crate) struct Found {
    pub(crate) role: Role,
    pub(crate) event: RecordedEvent,
}

/// Which of those that match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Earliest,
    Latest,
}

/// Up to `limit` events of the stores, in commit order.
pub(super) async fn find(stores: &mut [Store], filter: &Filter, end: End, limit: u32) -> anyhow::Result<Vec<Found>> {
    let searches = stores.iter_mut().map(|store| in_store(store, filter, end, limit));
    let mut found = merge(futures::future::try_join_all(searches).await?);
    let limit = limit as usize;
    match end {
        End::Earliest => found.truncate(limit),
        End::Latest => drop(found.drain(..found.len().saturating_sub(limit))),
    }
    Ok(found)
}

async fn in_store(store: &mut Store, filter: &Filter, end: End, limit: u32) -> anyhow::Result<Vec<Found>> {
    let role = store.role;
    let mut events = store.events(query(role, filter, end, limit)).await?;
    if end == End::Latest {
        events.reverse();
    }
    Ok(events.into_iter().map(|event| Found { role, event }).collect())
}

/// Where few can match they are all found first: in commit order, the planner would rather look through the whole table
/// for the first of them.
fn query<'a>(role: Role, filter: &'a Filter, end: End, limit: u32) -> QueryBuilder<'a, Postgres> {
    let order = match end {
        End::Earliest => " ORDER BY e.transaction_id, e.position LIMIT ",
        End::Latest => " ORDER BY e.transaction_id DESC, e.position DESC LIMIT ",
    };
    let mut query = QueryBuilder::new("");
    if filter.is_narrow() {
        query.push("WITH chosen AS MATERIALIZED (SELECT e.transaction_id, ").push(COLUMNS);
        query.push(" FROM events AS e WHERE true");
        filter.push(role, &mut query);
        query.push(") SELECT ").push(FOUND).push(" FROM chosen AS e");
    } else {
        query.push("SELECT ").push(COLUMNS).push(" FROM events AS e WHERE true");
        filter.push(role, &mut query);
    }
    query.push(order).push_bind(i64::from(limit));
    query
}

/// How many events of a store match, by what they have in common.
pub(super) async fn count(store: &mut Store, filter: &Filter, by: Option<By>) -> anyhow::Result<Vec<(String, i64)>> {
    let name = match by {
        None | Some(By::Service) => "''",
        Some(By::Type) => "e.event_type",
        Some(By::Aggregate) => "e.aggregate_type",
        Some(By::Actor) => "coalesce(e.metadata ->> 'actor', 'system')",
        Some(By::Hour) => "to_char(e.recorded_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:00\"Z\"')",
        Some(By::Day) => "to_char(e.recorded_at AT TIME ZONE 'UTC', 'YYYY-MM-DD')",
    };
    let mut query = QueryBuilder::new(format!("SELECT {name}, count(*) FROM events AS e WHERE true"));
    filter.push(store.role, &mut query);
    query.push(" GROUP BY 1");
    let rows = query.build().fetch_all(&mut store.connection).await.map_err(|error| failed(store.role, error))?;
    let mut counted = Vec::with_capacity(rows.len());
    for row in rows {
        let name: String = row.try_get(0)?;
        counted.push((if by == Some(By::Service) { store.role.name().to_owned() } else { name }, row.try_get(1)?));
    }
    Ok(counted)
}

/// One event, by what names it.
pub(super) enum Which {
    Id(Uuid),
    Position(i64),
    Place { kind: &'static str, id: String, sequence: i64 },
}

impl Which {
    /// An id, a position, or TYPE/ID/SEQUENCE.
    ///
    /// # Errors
    /// When it is none of these, or a position of several stores.
    pub(super) fn parse(text: &str, stores: &StoreArgs) -> anyhow::Result<Self> {
        if let Ok(id) = Uuid::parse_str(text) {
            return Ok(Self::Id(id));
        }
        if let Ok(position) = text.parse() {
            if stores.roles().len() == 1 {
                return Ok(Self::Position(position));
            }
            return Err(Failure::new(Code::Usage, "a position is a store's own: name it with --service").into());
        }
        let place = text.rsplit_once('/').and_then(|(stream, n)| Some((stream, n.parse::<i64>().ok()?)));
        if let Some((stream, sequence)) = place
            && let Aggregate { kind: Some(kind), id: Some(id) } = Aggregate::parse(stream)?
        {
            return Ok(Self::Place { kind, id, sequence });
        }
        let message = format!("{text} names no event: give its id, its position, or TYPE/ID/SEQUENCE");
        Err(Failure::new(Code::Usage, message).into())
    }
}

pub(super) async fn one(store: &mut Store, which: &Which) -> anyhow::Result<Option<Found>> {
    let role = store.role;
    let select = || QueryBuilder::new(format!("SELECT {COLUMNS} FROM events AS e WHERE "));
    let mut query = select();
    match which {
        Which::Id(id) => {
            query.push("e.metadata ->> 'event_id' = ").push_bind(id.to_string());
            if let Some(at) = made_at(*id) {
                let mut near = select();
                near.push("e.metadata ->> 'event_id' = ").push_bind(id.to_string());
                near.push(" AND e.recorded_at BETWEEN ").push_bind(at - CLOCKS_APART_MAX);
                near.push(" AND ").push_bind(at + CLOCKS_APART_MAX);
                if let Some(event) = store.events(near).await?.pop() {
                    return Ok(Some(Found { role, event }));
                }
            }
        }
        Which::Position(position) => {
            query.push("e.position = ").push_bind(*position);
        }
        Which::Place { kind, id, sequence } => {
            query.push("e.aggregate_type = ").push_bind(*kind).push(" AND e.aggregate_id = ").push_bind(id);
            query.push(" AND e.sequence = ").push_bind(*sequence);
        }
    }
    Ok(store.events(query).await?.pop().map(|event| Found { role, event }))
}

/// When an id of version 7 was made.
fn made_at(id: Uuid) -> Option<DateTime<Utc>> {
    let (seconds, nanos) = id.get_timestamp()?.to_unix();
    DateTime::from_timestamp(i64::try_from(seconds).ok()?, nanos)
}
