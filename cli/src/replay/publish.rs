//! `replay --to`: a store's history onto a topic for a consumer that is new.
//!
//! What is published is what the service's own publisher makes of its events, with the ids that the messages had. The
//! stores are read by connections that cannot write, and all that can be published to is the one topic: see
//! [`broker::ReplayTopic`].

use crate::args::{ActArgs, GlobalArgs, ReplayArgs, ReplayFrom, ReplayTo};
use crate::audit::recorded;
use crate::events::store::{self, COLUMNS, Store, failed};
use crate::exit::{Code, Failure};
use crate::output::{self, Row};
use crate::ports::Role;
use crate::progress::Progress;
use crate::restore::publisher;
use crate::{mend, shop};
use anyhow::Context;
use broker::{Broker, Record, ReplayTopic};
use event_schemas::topics;
use event_store::{Cursor, RecordedEvent, clock};
use runtime::Publish;
use runtime::message::to_record;
use serde::Serialize;
use sqlx::{Postgres, QueryBuilder};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Events that are read at once.
const PAGE_EVENTS: i64 = 1_000;
/// Messages that are published at once.
const BATCH_MESSAGES: usize = 500;
/// At a given rate, batches are small enough to come so often.
const BATCHES_PER_S: f64 = 10.0;

/// What was published of one store.
#[derive(Serialize)]
struct Published {
    service: &'static str,
    topic: String,
    /// What the records' header says.
    replay: String,
    events: u64,
    messages: u64,
    /// The positions of the first and the last event.
    #[serde(skip_serializing_if = "Option::is_none")]
    from_position: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to_position: Option<i64>,
    #[serde(skip)]
    is_dry: bool,
}

impl Row for Published {
    const COLUMNS: &'static [&'static str] = &["service", "topic", "replay", "events", "messages", "from", "to"];

    fn cells(&self) -> Vec<String> {
        let position = |at: Option<i64>| at.map(|at| at.to_string()).unwrap_or_default();
        let messages =
            if self.is_dry { format!("{} (none published)", self.messages) } else { self.messages.to_string() };
        vec![
            self.service.to_owned(),
            self.topic.clone(),
            self.replay.clone(),
            self.events.to_string(),
            messages,
            position(self.from_position),
            position(self.to_position),
        ]
    }
}

/// Publishes.
///
/// # Errors
/// The topic is one of the shop's, a store cannot be read, or the broker is away.
pub(super) async fn publish(global: &GlobalArgs, args: &ReplayArgs, to: ReplayTo) -> anyhow::Result<Code> {
    let (topic, replay) = topic(args)?;
    let roles = roles(args)?;
    let broker = broker(global, args, to).await?;
    let there = topic.records(broker.as_ref()).await.map_err(away)?;
    if there > 0 && !args.dry_run {
        let asked = ActArgs { yes: args.yes, ..ActArgs::default() };
        asked.agreed(&format!("{topic} has {there} records already: add to them?"))?;
    }
    if !args.dry_run {
        topic.ensure(broker.as_ref()).await.map_err(away)?;
    }
    let mut stores = store::open_roles(global, &args.database, &roles).await?;
    let stopped = tokio::spawn(shop::asked_to_stop());
    let mut lines = Vec::new();
    let mut code = Code::Done;
    for store in &mut stores {
        let mut run = Run::new(store.role, broker.as_ref(), &topic, &replay, args)?;
        code = run.store(store, args, &stopped).await?;
        lines.push(run.published);
        if code != Code::Done {
            break;
        }
    }
    store::close(stores).await;
    stopped.abort();
    output::rows(global.output, &lines)?;
    if let (Code::Interrupted, Some(last)) = (code, lines.last()) {
        let from = last.to_position.map(|at| at.to_string()).unwrap_or_else(|| "beginning".to_owned());
        eprintln!(
            "Stopped. Go on with --service {} --replay {replay} --from {from}: its messages come again.",
            last.service
        );
    }
    Ok(code)
}

fn topic(args: &ReplayArgs) -> anyhow::Result<(ReplayTopic, String)> {
    let usage = |message: String| Failure::new(Code::Usage, message);
    let name = args.topic.as_deref().ok_or_else(|| usage("--to needs a --topic to publish to".to_owned()))?;
    let replay = args.replay.clone().unwrap_or_else(|| clock::system().new_id().to_string());
    let partitions = i32::from(args.servers.partitions);
    let topic = ReplayTopic::new(name, partitions, &replay, &topics::ALL).map_err(|error| usage(error.to_string()))?;
    Ok((topic, replay))
}

/// Whose history.
fn roles(args: &ReplayArgs) -> anyhow::Result<Vec<Role>> {
    let publishes = |role: &Role| publisher(*role).is_some();
    let named: Vec<Role> = if args.service.is_empty() { Role::ALL.to_vec() } else { args.service.clone() };
    if let Some(silent) = args.service.iter().find(|role| !publishes(role)) {
        let message = format!("the {} publishes nothing that could be published again", silent.title());
        return Err(Failure::new(Code::Usage, message).into());
    }
    let roles: Vec<Role> = named.into_iter().filter(publishes).collect();
    let by_position = matches!(args.from, ReplayFrom::Position(_)) || args.to_position.is_some();
    if by_position && roles.len() != 1 {
        let message = "positions are a store's own: name it with one --service";
        return Err(Failure::new(Code::Usage, message).into());
    }
    Ok(roles)
}

async fn broker(global: &GlobalArgs, args: &ReplayArgs, to: ReplayTo) -> anyhow::Result<Arc<dyn Broker>> {
    match to {
        ReplayTo::Kafka => match args.servers.kafka()? {
            Some(kafka) => Ok(Arc::new(kafka)),
            None => {
                let message = "no Kafka is named: say where it is with --kafka-broker, or publish --to log";
                Err(Failure::new(Code::Usage, message).into())
            }
        },
        ReplayTo::Log => shop::topic_log(&mend::attach(global, &args.database).await?, true).await,
    }
}

fn away(error: broker::Error) -> anyhow::Error {
    match error {
        broker::Error::Unavailable(_) => Failure::new(Code::Unavailable, error.to_string()).into(),
        other => other.into(),
    }
}

/// The replay of one store.
struct Run<'a> {
    broker: &'a dyn Broker,
    topic: &'a ReplayTopic,
    publisher: Box<dyn Publish>,
    types: &'a [String],
    rate: Option<f64>,
    began: Instant,
    waiting: Vec<Record>,
    published: Published,
}

impl<'a> Run<'a> {
    fn new(
        role: Role,
        broker: &'a dyn Broker,
        topic: &'a ReplayTopic,
        replay: &str,
        args: &'a ReplayArgs,
    ) -> anyhow::Result<Self> {
        let published = Published {
            service: role.name(),
            topic: topic.to_string(),
            replay: replay.to_owned(),
            events: 0,
            messages: 0,
            from_position: None,
            to_position: None,
            is_dry: args.dry_run,
        };
        let publisher = publisher(role).context("it publishes nothing")?;
        let (types, rate, began) = (args.r#type.as_slice(), args.rate, Instant::now());
        Ok(Self { broker, topic, publisher, types, rate, began, waiting: Vec::new(), published })
    }

    async fn store(
        &mut self,
        store: &mut Store,
        args: &ReplayArgs,
        stopped: &tokio::task::JoinHandle<anyhow::Result<()>>,
    ) -> anyhow::Result<Code> {
        let Some((mut at, end)) = bounds(store, args).await? else { return Ok(Code::Done) };
        let progress = Progress::new("Replaying", "events", None);
        loop {
            let page = page(store, at, end).await?;
            let Some(last) = page.last() else { break };
            at = last.cursor;
            for event in &page {
                if stopped.is_finished() {
                    self.flush().await?;
                    progress.finish();
                    return Ok(Code::Interrupted);
                }
                self.take(event)?;
                if self.waiting.len() >= self.batch() {
                    self.flush().await?;
                }
            }
            progress.at(self.published.events);
        }
        self.flush().await?;
        progress.finish();
        Ok(Code::Done)
    }

    fn take(&mut self, event: &RecordedEvent) -> anyhow::Result<()> {
        self.published.events += 1;
        self.published.from_position.get_or_insert(event.cursor.position);
        self.published.to_position = Some(event.cursor.position);
        if event.is_operation() {
            return Ok(());
        }
        for (index, outgoing) in self.publisher.publish(event)?.into_iter().enumerate() {
            if self.types.is_empty() || self.types.iter().any(|name| name == outgoing.message_type) {
                self.published.messages += 1;
                self.waiting.push(to_record(event, index, self.published.service, outgoing));
            }
        }
        Ok(())
    }

    fn batch(&self) -> usize {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "far below either's end")]
        let at_rate = |rate: f64| ((rate / BATCHES_PER_S).ceil() as usize).max(1);
        self.rate.map_or(BATCH_MESSAGES, at_rate).min(BATCH_MESSAGES)
    }

    /// Publishes what waits, not before its time at the given rate.
    async fn flush(&mut self) -> anyhow::Result<()> {
        let records = std::mem::take(&mut self.waiting);
        if records.is_empty() || self.published.is_dry {
            return Ok(());
        }
        if let Some(rate) = self.rate {
            #[allow(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
            let before = (self.published.messages - records.len() as u64) as f64;
            tokio::time::sleep_until(self.began + Duration::from_secs_f64(before / rate)).await;
        }
        self.topic.publish(self.broker, records).await.map_err(away)
    }
}

/// The place before the first event and that of the last one; nothing, where there is none between.
async fn bounds(store: &mut Store, args: &ReplayArgs) -> anyhow::Result<Option<(Cursor, Cursor)>> {
    let mut first = QueryBuilder::<Postgres>::new(format!("SELECT {COLUMNS} FROM events AS e"));
    match args.from {
        ReplayFrom::Beginning => {}
        ReplayFrom::Position(position) => {
            first.push(" WHERE e.position >= ").push_bind(position);
        }
        ReplayFrom::Time(moment) => {
            first.push(" WHERE e.recorded_at >= ").push_bind(moment.resolve(clock::system().now()));
        }
    }
    let by_position = matches!(args.from, ReplayFrom::Position(_));
    first.push(if by_position {
        " ORDER BY e.position LIMIT 1"
    } else {
        " ORDER BY e.transaction_id, e.position LIMIT 1"
    });
    let Some(first) = store.events(first).await?.into_iter().next() else { return Ok(None) };
    // What is committed by now: a transaction that is still open comes later, and so would its events.
    let mut last = QueryBuilder::<Postgres>::new(format!(
        "SELECT {COLUMNS} FROM events AS e WHERE e.transaction_id < pg_snapshot_xmin(pg_current_snapshot())"
    ));
    if let Some(position) = args.to_position {
        last.push(" AND e.position <= ").push_bind(position);
    }
    last.push(" ORDER BY e.transaction_id DESC, e.position DESC LIMIT 1");
    let Some(last) = store.events(last).await?.into_iter().next() else { return Ok(None) };
    let before = Cursor { position: first.cursor.position - 1, ..first.cursor };
    Ok((before < last.cursor).then_some((before, last.cursor)))
}

async fn page(store: &mut Store, after: Cursor, end: Cursor) -> anyhow::Result<Vec<RecordedEvent>> {
    let query = format!(
        "SELECT {COLUMNS} FROM events AS e
          WHERE (e.transaction_id, e.position) > ($1::text::xid8, $2)
            AND (e.transaction_id, e.position) <= ($3::text::xid8, $4)
          ORDER BY e.transaction_id, e.position LIMIT $5"
    );
    let rows = sqlx::query(&query)
        .bind(after.transaction_id.to_string())
        .bind(after.position)
        .bind(end.transaction_id.to_string())
        .bind(end.position)
        .bind(PAGE_EVENTS)
        .fetch_all(&mut store.connection)
        .await
        .map_err(|error| failed(store.role, error))?;
    Ok(rows.iter().map(recorded).collect::<Result<_, _>>()?)
}
