//! Whether anybody stands still before what a newer program wrote: a follower before an event, a consumer before a message.

use super::database::Store;
use super::topics::Topics;
use super::{Diagnosis, Verdict};
use crate::events::kinds::Kind;
use broker::TopicPartition;
use event_schemas::{Entry, topics};
use kernel::upcast;
use runtime::Message;

const CHECK: &str = "versions of events";
/// Followers take so many events at once: what stops them is among the next of them.
const AHEAD: i64 = 1_000;

pub(super) async fn check(store: &Store, topics: &Topics, diagnosis: &mut Diagnosis) {
    let found = match newer(store, topics).await {
        Ok(found) => found,
        Err(error) => return diagnosis.unchecked(CHECK, store.name(), error),
    };
    if found.is_empty() {
        return diagnosis.ok(CHECK, store.name(), "none that is not known");
    }
    let advice = format!("a newer program wrote this: upgrade the {}, it goes on by itself then", store.role.title());
    diagnosis.add(Verdict::Fail, CHECK, store.name(), found.join("; "), advice);
}

async fn newer(store: &Store, topics: &Topics) -> Result<Vec<String>, sqlx::Error> {
    let mut found = Vec::new();
    for (follower, aggregate, event_type, version) in ahead(store).await? {
        // What it has no kind for is its service's own affair: operations, claims.
        let Some(kind) = Kind::named(&aggregate) else { continue };
        let is_known = kind.event_types().any(|known| known == event_type)
            || kind.upcasters().iter().any(|upcaster| upcaster.event_type() == event_type);
        if !is_known {
            found.push(format!("{follower} stands before {aggregate}/{event_type}, a type that is not known"));
            continue;
        }
        let known = upcast::current(kind.upcasters(), &event_type);
        if version.parse::<u32>().is_ok_and(|version| version > known) {
            found.push(format!(
                "{follower} stands before {aggregate}/{event_type} of version {version}, {known} is known"
            ));
        }
    }
    for (consumer, topic, partition, offset) in places(store).await? {
        let place = TopicPartition::new(topic, partition);
        if !topics.bounds.get(&place).is_some_and(|(first, end)| (*first..*end).contains(&offset)) {
            continue;
        }
        let Some(record) = topics.record(&place, offset).await else { continue };
        let Ok(message) = Message::from_record(&record) else { continue };
        let known = Entry::named(&message.message_type).map_or(message.version, |entry| entry.version);
        if message.version > known {
            let Message { message_type, version, .. } = message;
            found.push(format!(
                "{consumer} stands before {message_type} of version {version} on {place}, {known} is known"
            ));
        }
    }
    Ok(found)
}

/// The forms of the next events of each follower.
async fn ahead(store: &Store) -> Result<Vec<(String, String, String, String)>, sqlx::Error> {
    sqlx::query_as(
        "SELECT DISTINCT c.follower, e.aggregate_type, e.event_type, e.event_version
           FROM checkpoints c
          CROSS JOIN LATERAL (
                SELECT aggregate_type, event_type, event_version FROM events
                 WHERE (transaction_id, position) > (c.transaction_id, c.position)
                 ORDER BY transaction_id, position LIMIT $1) AS e
          ORDER BY 1, 2, 3, 4",
    )
    .bind(AHEAD)
    .fetch_all(&store.pool)
    .await
}

/// Where the consumers stand.
async fn places(store: &Store) -> Result<Vec<(String, String, i32, i64)>, sqlx::Error> {
    let names: Vec<&str> = topics::ALL.to_vec();
    sqlx::query_as(
        "SELECT consumer, topic, partition, next_offset FROM consumer_offsets WHERE topic = ANY($1) ORDER BY 1, 2, 3",
    )
    .bind(names)
    .fetch_all(&store.pool)
    .await
}
