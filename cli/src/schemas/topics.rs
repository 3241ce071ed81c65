//! Who publishes what, and who follows it: by the very code that does.

use super::catalogue::{Described, What};
use super::stored;
use crate::events::kinds::Kind;
use crate::ports::Role;
use crate::restore::publisher;
use anyhow::Context;
use chrono::DateTime;
use event_schemas::{CATALOGUE, Entry, topics};
use event_store::{Cursor, Metadata, RecordedEvent};
use kernel::upcast;
use runtime::Message;
use runtime::consumer::Follows;
use serde_json::Value;
use uuid::Uuid;

/// Every consumer.
pub(super) const FOLLOWERS: [(Role, Follows); 5] = [
    (Role::Product, product_service::FOLLOWS),
    (Role::Order, order_service::FOLLOWS),
    (Role::Payment, payment_service::FOLLOWS),
    (Role::Notification, notification_service::FOLLOWS),
    (Role::Orchestrator, orchestrator::FOLLOWS),
];

/// What a topic is.
pub(super) struct Topic {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) producer: Role,
}

/// Every topic.
pub(super) fn all() -> Vec<Topic> {
    let about = |name: &str| match name {
        topics::ORDER_EVENTS => "What became of orders.",
        topics::PRODUCT_EVENTS => "What became of products and their stock.",
        topics::PAYMENT_EVENTS => "What became of payments.",
        topics::USER_EVENTS => "What became of users. Nothing personal is in it.",
        topics::SAGA_EVENTS => "What became of sagas.",
        topics::PRODUCT_COMMANDS => "What the orchestrator asks of stock.",
        topics::PAYMENT_COMMANDS => "What the orchestrator asks of payments.",
        _ => "What the orchestrator asks of orders.",
    };
    topics::ALL
        .into_iter()
        .map(|name| Topic { name, about: about(name), producer: crate::restore::owner(name) })
        .collect()
}

/// The messages of a topic.
pub(super) fn messages(topic: &str) -> impl Iterator<Item = &'static Entry> {
    CATALOGUE.iter().filter(move |entry| entry.topic == topic)
}

/// The consumers that follow a topic.
pub(super) fn followers(topic: &str) -> impl Iterator<Item = &'static (Role, Follows)> {
    FOLLOWERS.iter().filter(move |(_, follows)| follows.topics.contains(&topic))
}

/// The roles whose consumers act on such a message, as their own code says of the sample.
pub(super) fn actors(entry: &Entry, sample: &Value) -> Vec<Role> {
    let message = Message {
        id: Uuid::nil(),
        message_type: entry.name.to_owned(),
        source: crate::restore::owner(entry.topic).name().to_owned(),
        time: DateTime::UNIX_EPOCH,
        key: sample[entry.key].as_str().unwrap_or_default().to_owned(),
        correlation_id: Uuid::nil(),
        causation_id: Uuid::nil(),
        traceparent: None,
        version: entry.version,
        data: sample.to_string().into(),
    };
    let followers = followers(entry.topic).filter(|(_, follows)| (follows.acts_on)(&message));
    followers.map(|(role, _)| *role).collect()
}

/// The messages that a stored event means outside, as its service's publisher says of the sample.
pub(super) fn published_as(role: Role, aggregate: &str, event: &Described, sample: &Value) -> Vec<&'static str> {
    let Some(publisher) = publisher(role) else { return Vec::new() };
    let event = recorded(aggregate, event, sample);
    let outgoing = publisher.publish(&event).unwrap_or_default();
    outgoing.into_iter().map(|outgoing| outgoing.message_type).collect()
}

/// A sample as a row of the store.
pub(super) fn recorded(aggregate: &str, event: &Described, sample: &Value) -> RecordedEvent {
    let id = Uuid::from_u128(0x0198_0a5e_4c00_7000_8000_0000_0000_00a1);
    RecordedEvent {
        aggregate_type: aggregate.to_owned(),
        aggregate_id: id.to_string(),
        sequence: 1,
        event_type: event.name.split('/').nth(1).unwrap_or_default().to_owned(),
        event_version: event.version.to_string(),
        payload: sample.to_string(),
        metadata: Metadata::from_json("{}", || id, DateTime::UNIX_EPOCH),
        cursor: Cursor::default(),
        recorded_at: DateTime::UNIX_EPOCH,
    }
}

/// A sample as it would be written today.
///
/// # Errors
/// It cannot be read.
pub(super) fn written(event: &Described, sample: &Value) -> anyhow::Result<Vec<Value>> {
    match event.what {
        What::Published { .. } => {
            let entry = Entry::named(&event.name).context("no such message")?;
            Ok(vec![(entry.understood)(sample)?])
        }
        What::Stored { aggregate, .. } => {
            if let Some(understood) = stored::understood(aggregate) {
                return Ok(vec![understood(sample)?]);
            }
            let kind = Kind::named(aggregate).context("no such aggregate")?;
            let row = recorded(aggregate, event, sample);
            let written = kind.read(&row.stored())?;
            for one in &written {
                let known = upcast::current(kind.upcasters(), &one.event_type).to_string();
                anyhow::ensure!(
                    one.event_version == known,
                    "{} is written as version {}",
                    event.name,
                    one.event_version
                );
            }
            Ok(written.into_iter().map(|one| one.payload).collect())
        }
    }
}
