//! `sagashop offsets`: where consumers stand.

use super::{Store, attach, meant};
use crate::args::{GlobalArgs, OffsetsCommand, OffsetsListArgs, OffsetsSetArgs, roles_of};
use crate::audit::{Bounds, Topics};
use crate::exit::{Code, Failure};
use crate::output::{self, Row};
use broker::TopicPartition;
use event_schemas::topics;
use event_store::{Mend, Operation};
use serde::Serialize;
use serde_json::json;
use std::collections::BTreeSet;

/// Runs one of the commands.
///
/// # Errors
/// When there is no such place, it must not be moved, or a server is away.
pub async fn run(global: &GlobalArgs, command: &OffsetsCommand) -> anyhow::Result<Code> {
    match command {
        OffsetsCommand::List(args) => list(global, args).await,
        OffsetsCommand::Set(args) => set(global, args).await,
    }
}

async fn list(global: &GlobalArgs, args: &OffsetsListArgs) -> anyhow::Result<Code> {
    let server = attach(global, &args.database).await?;
    // Where consumers stand is of use also where the broker is away.
    let bounds = Topics::new(&server, &args.servers).bounds_of_any().await.unwrap_or_else(|reason| {
        eprintln!("warning: the topics' ends are not known: {reason}");
        Bounds::new()
    });
    let mut lines = Vec::new();
    for role in roles_of(&args.roles) {
        let places = places(&Store::open(&server, role)).await?;
        lines.extend(places.into_iter().map(|place| place.line(role.name(), &bounds)));
    }
    output::rows(global.output, &lines)?;
    Ok(Code::Done)
}

async fn set(global: &GlobalArgs, args: &OffsetsSetArgs) -> anyhow::Result<Code> {
    let server = attach(global, &args.database).await?;
    let store = Store::open(&server, args.role);
    let place = place(&store, &args.consumer, &args.partition).await?;
    let reason = if args.to < place.next_offset {
        Some(args.act.reason_needed("going back")?)
    } else {
        args.act.reason_given()?
    };
    if let Some(owner) = &place.owner {
        let message = format!("{} is held by instance {owner}: stop the {} first", args.partition, args.role.title());
        return Err(Failure::new(Code::InUse, message).into());
    }
    let bounds = Topics::new(&server, &args.servers).bounds_of_any().await;
    let bounds = bounds.map_err(|reason| Failure::new(Code::Unavailable, reason))?;
    let (first, end) = bounds.get(&place.at).copied().unwrap_or_default();
    if !(first..=end).contains(&args.to) {
        let message = format!("{} holds the offsets {first} to {end}: {} is outside", args.partition, args.to);
        return Err(Failure::new(Code::Usage, message).into());
    }
    output::rows(global.output, &[place.line(args.role.name(), &bounds)])?;
    let skipped = args.to - place.next_offset;
    let question = match skipped {
        0.. => format!("Go on at {} and never read {skipped} messages?", args.to),
        _ => format!("Go back to {} and read {} messages again?", args.to, -skipped),
    };
    if !args.act.agreed(&question)? {
        return Ok(Code::Done);
    }
    let target = json!({
        "consumer": place.consumer, "topic": place.at.topic, "partition": place.at.partition,
        "from": place.next_offset, "to": args.to,
    });
    let operation = Operation { act: "offset_set".to_owned(), target, reason };
    let mend = Mend::MoveOffset { consumer: place.consumer, partition: place.at, from: place.next_offset, to: args.to };
    store.act(vec![mend], operation, &args.act.actor()).await?;
    Ok(Code::Done)
}

/// The place of this consumer, or what was perhaps meant.
async fn place(store: &Store, consumer: &str, partition: &str) -> anyhow::Result<Place> {
    let name = |place: &Place| format!("{}/{}", place.at.topic, place.at.partition);
    let mut of_consumer = places(store).await?;
    let consumers: BTreeSet<String> = of_consumer.iter().map(|place| place.consumer.clone()).collect();
    of_consumer.retain(|place| place.consumer == consumer);
    let names: Vec<String> = of_consumer.iter().map(name).collect();
    let message = if of_consumer.is_empty() {
        let meant = meant(consumer, consumers.iter().map(String::as_str));
        format!("the {} has no consumer {consumer}{meant}", store.role.title())
    } else {
        format!("{consumer} does not consume {partition}{}", meant(partition, names.iter().map(String::as_str)))
    };
    let place = of_consumer.into_iter().find(|place| name(place) == partition);
    place.ok_or_else(|| Failure::new(Code::Usage, message).into())
}

/// A partition of a consumer.
struct Place {
    consumer: String,
    at: TopicPartition,
    next_offset: i64,
    /// Whoever holds it.
    owner: Option<uuid::Uuid>,
}

impl Place {
    fn line(&self, service: &'static str, bounds: &Bounds) -> Line {
        let bounds = bounds.get(&self.at).copied();
        Line {
            service,
            consumer: self.consumer.clone(),
            topic: self.at.topic.to_string(),
            partition: self.at.partition,
            next_offset: self.next_offset,
            first: bounds.map(|(first, _)| first),
            end: bounds.map(|(_, end)| end),
            behind: bounds.map(|(_, end)| end - self.next_offset),
            owner: self.owner.map(|owner| owner.to_string()),
        }
    }
}

async fn places(store: &Store) -> anyhow::Result<Vec<Place>> {
    let rows: Vec<(String, String, i32, i64, Option<uuid::Uuid>)> = sqlx::query_as(
        "SELECT consumer, topic, partition, next_offset, CASE WHEN lease_until >= clock_timestamp() THEN owner END
           FROM consumer_offsets WHERE topic = ANY($1) ORDER BY consumer, topic, partition",
    )
    // Who relays or sweeps is settled by leases on places that are no topics.
    .bind(topics::ALL.map(str::to_owned).to_vec())
    .fetch_all(&store.pool)
    .await
    .map_err(|error| store.away(&error))?;
    let place = |(consumer, topic, partition, next_offset, owner): (String, String, i32, i64, Option<uuid::Uuid>)| {
        Place { consumer, at: TopicPartition::new(topic, partition), next_offset, owner }
    };
    Ok(rows.into_iter().map(place).collect())
}

/// A place as a line.
#[derive(Serialize)]
struct Line {
    service: &'static str,
    consumer: String,
    topic: String,
    partition: i32,
    next_offset: i64,
    first: Option<i64>,
    end: Option<i64>,
    behind: Option<i64>,
    owner: Option<String>,
}

impl Row for Line {
    const COLUMNS: &'static [&'static str] =
        &["service", "consumer", "topic", "partition", "next", "first", "end", "behind", "held by"];
    const DISPENSABLE: &'static [usize] = &[8, 5];

    fn cells(&self) -> Vec<String> {
        let number = |number: Option<i64>| number.map(|number| number.to_string()).unwrap_or_default();
        vec![
            self.service.to_owned(),
            self.consumer.clone(),
            self.topic.clone(),
            self.partition.to_string(),
            self.next_offset.to_string(),
            number(self.first),
            number(self.end),
            number(self.behind),
            self.owner.clone().unwrap_or_default(),
        ]
    }
}
