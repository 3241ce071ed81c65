//! Store against broker: which of the two is older, and what follows from it.
//!
//! A broker that is older lacks messages: the relay goes back to before the first of them and publishes again, and
//! consumers that stand beyond its end go back there; what they read twice takes effect once. A store that is older lacks
//! events which others have acted on: nobody can invent them, so it is only told.

use super::Store;
use crate::args::ServerArgs;
use crate::audit::{Bounds, Topics, recorded};
use crate::diagnosis::{Diagnosis, Verdict};
use crate::ports::Role;
use crate::postgres::Server;
use anyhow::{Context, anyhow};
use broker::TopicPartition;
use event_schemas::topics;
use event_store::Cursor;
use runtime::Publish;
use runtime::message::derived_id;
use runtime::relay::FOLLOWER;
use std::collections::{BTreeMap, HashMap};
use uuid::Uuid;

/// Events a page: some megabytes.
const PAGE_EVENTS: i64 = 4_000;
/// So many of what the stores lack are named for each topic.
const NAMED_MAX: usize = 3;

const EVENTS: &str = "
SELECT aggregate_type, aggregate_id, sequence, event_type, event_version, payload::text AS payload,
       metadata::text AS metadata, position, transaction_id::text AS xid, recorded_at
  FROM events AS e
 WHERE (e.transaction_id, e.position) > ($1::text::xid8, $2)
 ORDER BY e.transaction_id, e.position
 LIMIT $3";

/// What the stores and the broker say of each other.
pub(super) struct Compared {
    /// By role: how many messages that its relay has passed are on no topic, and the place of the first one's event.
    missing: BTreeMap<Role, (usize, Cursor)>,
    /// By topic: messages of events that no store has.
    unknown: BTreeMap<&'static str, Unknown>,
    /// Consumers outside of their partition.
    outside: Vec<Outside>,
    messages: usize,
}

#[derive(Default)]
struct Unknown {
    count: usize,
    named: Vec<String>,
}

/// A message that a store's event means.
struct Meant {
    role: Role,
    /// The event's.
    cursor: Cursor,
    /// Whether its relay has passed it.
    is_published: bool,
}

struct Outside {
    role: Role,
    consumer: String,
    place: TopicPartition,
    next_offset: i64,
    bounds: (i64, i64),
}

/// Whose messages lie on a topic.
pub(crate) fn owner(topic: &str) -> Role {
    match topic {
        topics::ORDER_EVENTS => Role::Order,
        topics::PRODUCT_EVENTS => Role::Product,
        topics::PAYMENT_EVENTS => Role::Payment,
        topics::USER_EVENTS => Role::User,
        // Commands are its events.
        _ => Role::Orchestrator,
    }
}

/// What maps a role's events to messages, if it publishes any.
pub(crate) fn publisher(role: Role) -> Option<Box<dyn Publish>> {
    Some(match role {
        Role::User => Box::new(user_service::Publisher),
        Role::Product => Box::new(product_service::Publisher),
        Role::Order => Box::new(order_service::Publisher),
        Role::Payment => Box::new(payment_service::Publisher),
        Role::Orchestrator => Box::new(orchestrator::Publisher),
        Role::Notification => return None,
    })
}

/// Reads all that was published, and all that lies on the topics of these stores.
pub(super) async fn compare(server: &Server, servers: &ServerArgs, stores: &[Store]) -> anyhow::Result<Compared> {
    let topics = Topics::new(server, servers);
    let bounds = topics.bounds_of_any().await.map_err(|reason| anyhow!(reason))?;
    let mut meant: HashMap<Uuid, Meant> = HashMap::new();
    for store in stores {
        messages_of(store, &mut meant).await.with_context(|| store.role.database())?;
    }
    let messages = meant.values().filter(|meant| meant.is_published).count();
    let mut unknown: BTreeMap<&'static str, Unknown> = BTreeMap::new();
    let mut seen = std::collections::HashSet::new();
    for topic in topics::ALL.into_iter().filter(|topic| stores.iter().any(|store| store.role == owner(topic))) {
        for (place, of) in bounds.iter().filter(|(place, _)| *place.topic == *topic) {
            for (offset, id) in topics.ids(place, *of).await? {
                match id.filter(|id| meant.contains_key(id)) {
                    Some(id) => {
                        seen.insert(id);
                    }
                    None => unknown.entry(topic).or_default().add(place, offset, id),
                }
            }
        }
    }
    meant.retain(|id, meant| meant.is_published && !seen.contains(id));
    let mut missing: BTreeMap<Role, (usize, Cursor)> = BTreeMap::new();
    for Meant { role, cursor, .. } in meant.into_values() {
        let (count, first) = missing.entry(role).or_insert((0, cursor));
        (*count, *first) = (*count + 1, cursor.min(*first));
    }
    Ok(Compared { missing, unknown, outside: outside(stores, &bounds).await?, messages })
}

impl Unknown {
    fn add(&mut self, place: &TopicPartition, offset: i64, id: Option<Uuid>) {
        self.count += 1;
        if self.named.len() < NAMED_MAX {
            let id = id.map_or_else(|| "no message".to_owned(), |id| id.to_string());
            self.named.push(format!("{place} offset {offset}: {id}"));
        }
    }
}

/// All that a store's events mean outside, by message. What is beyond the relay's checkpoint is on its way, or was
/// published before the relay was set back.
async fn messages_of(store: &Store, into: &mut HashMap<Uuid, Meant>) -> anyhow::Result<()> {
    let Some(publisher) = publisher(store.role) else { return Ok(()) };
    let (role, relay) = (store.role, relay(store).await?);
    let mut at = Cursor::default();
    loop {
        let rows = sqlx::query(EVENTS)
            .bind(at.transaction_id.to_string())
            .bind(at.position)
            .bind(PAGE_EVENTS)
            .fetch_all(&store.pool)
            .await?;
        for row in &rows {
            let event = recorded(row)?;
            at = event.cursor;
            // What operators did is nobody's business outside.
            if event.is_operation() {
                continue;
            }
            for (index, outgoing) in publisher.publish(&event)?.into_iter().enumerate() {
                let id = outgoing.id.unwrap_or_else(|| derived_id(event.metadata.event_id, index));
                into.entry(id).or_insert(Meant { role, cursor: at, is_published: at <= relay });
            }
        }
        if rows.len() < usize::try_from(PAGE_EVENTS)? {
            return Ok(());
        }
    }
}

async fn relay(store: &Store) -> anyhow::Result<Cursor> {
    let found: Option<(String, i64)> =
        sqlx::query_as("SELECT transaction_id::text, position FROM checkpoints WHERE follower = $1")
            .bind(FOLLOWER)
            .fetch_optional(&store.pool)
            .await?;
    let Some((transaction_id, position)) = found else { return Ok(Cursor::default()) };
    Ok(Cursor { transaction_id: transaction_id.parse()?, position })
}

async fn outside(stores: &[Store], bounds: &Bounds) -> anyhow::Result<Vec<Outside>> {
    let mut outside = Vec::new();
    for store in stores {
        let rows: Vec<(String, String, i32, i64)> = sqlx::query_as(
            "SELECT consumer, topic, partition, next_offset FROM consumer_offsets
              WHERE topic = ANY($1) ORDER BY consumer, topic, partition",
        )
        .bind(topics::ALL.as_slice())
        .fetch_all(&store.pool)
        .await?;
        for (consumer, topic, partition, next_offset) in rows {
            let place = TopicPartition::new(topic, partition);
            let Some(bounds) = bounds.get(&place).copied() else { continue };
            if next_offset < bounds.0 || next_offset > bounds.1 {
                outside.push(Outside { role: store.role, consumer, place, next_offset, bounds });
            }
        }
    }
    Ok(outside)
}

/// Tells what was found.
pub(super) fn tell(compared: &Compared, found: &mut Diagnosis) {
    if compared.missing.is_empty() {
        found.ok("broker has all", "topics", format!("{} messages", compared.messages));
    }
    for (role, (count, _)) in &compared.missing {
        let told = format!("{count} messages that it has published are on no topic: the broker is older");
        let advice = "mended by --yes: the relay goes back to before them, and consumers to the topics' ends";
        found.add(Verdict::Fail, "broker has all", role.name(), told, advice);
    }
    if compared.unknown.is_empty() {
        found.ok("stores have all", "topics", "no message is of an unknown event");
    }
    for (topic, unknown) in &compared.unknown {
        let told = format!(
            "{} messages of events that the {} no longer has: {}",
            unknown.count,
            owner(topic).title(),
            unknown.named.join("; ")
        );
        let advice = "the store is older than the rest, which acted on them: roll its log forward to the end; if there is \
                      no more, see \"A store that is older than the rest\" in docs/operations.md";
        found.add(Verdict::Fail, "stores have all", *topic, told, advice);
    }
    if compared.outside.is_empty() {
        found.ok("offsets in bounds", "consumers", "all within their partitions");
    }
    for Outside { role, consumer, place, next_offset, bounds: (first, end) } in &compared.outside {
        let told = format!("{consumer} {place} is at {next_offset}, outside {first}..={end}");
        let advice = match next_offset < first {
            true => "the broker has deleted records before they were read: restore it from a copy, or repair by hand",
            false => "mended by --yes: it goes back to the end",
        };
        found.add(Verdict::Fail, "offsets in bounds", role.name(), told, advice);
    }
}

/// Lets relays publish again what the broker lost, and consumers read it.
pub(super) async fn mend(stores: &[Store], compared: &Compared, mended: &mut Diagnosis) -> anyhow::Result<()> {
    for store in stores {
        let of = store.role.database();
        let mut transaction = store.pool.begin().await?;
        if let Some((count, first)) = compared.missing.get(&store.role) {
            sqlx::query(
                "UPDATE checkpoints SET updated_at = clock_timestamp(), (transaction_id, position) = (
                    SELECT coalesce(max(transaction_id::text::numeric), 0)::text::xid8, coalesce(max(position), 0)
                      FROM (SELECT e.transaction_id, e.position FROM events e
                             WHERE (e.transaction_id, e.position) < ($2::text::xid8, $3)
                             ORDER BY e.transaction_id DESC, e.position DESC LIMIT 1) AS before)
                  WHERE follower = $1",
            )
            .bind(FOLLOWER)
            .bind(first.transaction_id.to_string())
            .bind(first.position)
            .execute(&mut *transaction)
            .await?;
            mended.ok("mended", of, format!("the relay publishes {count} messages again, and those after the first"));
        }
        let beyond = |outside: &&Outside| outside.role == store.role && outside.next_offset > outside.bounds.1;
        for Outside { consumer, place, bounds: (_, end), .. } in compared.outside.iter().filter(beyond) {
            sqlx::query(
                "UPDATE consumer_offsets SET next_offset = $4, epoch = epoch + 1, owner = NULL, lease_until = NULL
                  WHERE consumer = $1 AND topic = $2 AND partition = $3",
            )
            .bind(consumer)
            .bind(place.topic.as_ref())
            .bind(place.partition)
            .bind(end)
            .execute(&mut *transaction)
            .await?;
            mended.ok("mended", of, format!("{consumer} {place} reads on at {end}"));
        }
        transaction.commit().await?;
    }
    Ok(())
}
