//! Records what the provider answered: results that come at once are loaded in one query and
//! appended in one INSERT.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use cqrs_es::{Aggregate, DomainEvent};
use domain::payment::{self, Command, Event, Payment};
use event_store::clock::Clock;
use event_store::{Append, EventStore, Metadata, NewEvent, PgStore, RecordedEvent, StreamId};
use futures::future::join_all;
use kernel::{Decide, Idempotent, PaymentId};
use runtime::{Grouped, Origin};
use uuid::Uuid;

use crate::job::Job;
use crate::measures;

/// Between two tries while the store is away.
const PAUSE: Duration = Duration::from_millis(200);
const ACTOR: &str = "service:payment";

/// A result, and the `traceparent` of the call that it came by.
type Told = (PaymentId, Command, Option<String>);

/// Records results through the group commit.
pub(crate) struct Recorder {
    results: Grouped<Told, Result<Option<Job>, Error>>,
}

/// Why a result was not recorded.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Denied(payment::Error),
    #[error(transparent)]
    Store(#[from] event_store::Error),
    /// From the load that a group shares.
    #[error("the payment cannot be loaded: {0}")]
    Unreadable(Arc<event_store::Error>),
}

impl Recorder {
    pub(crate) fn start(store: Arc<PgStore>, clock: Arc<dyn Clock>) -> Self {
        let results = Grouped::start(move |group: Vec<Told>| {
            let (store, clock) = (Arc::clone(&store), Arc::clone(&clock));
            async move { record_all(store.as_ref(), clock.as_ref(), group).await }
        });
        Self { results }
    }

    /// Records a result, however long that takes, and returns what it leads to: the refund that
    /// waited for the charge. One that was recorded before leads to nothing.
    ///
    /// # Errors
    /// The payment contradicts it: provider and shop disagree.
    pub(crate) async fn record(
        &self,
        id: PaymentId,
        command: Command,
        traceparent: Option<String>,
    ) -> Result<Option<Job>, payment::Error> {
        loop {
            match self.results.call((id, command.clone(), traceparent.clone())).await {
                Ok(Ok(next)) => return Ok(next),
                Ok(Err(Error::Denied(reason))) => return Err(reason),
                Ok(Err(Error::Store(event_store::Error::Conflict { .. }))) => continue,
                Ok(Err(error)) => tracing::warn!(payment.id = %id, %error, "the provider's answer is not recorded yet"),
                Err(error) => tracing::warn!(payment.id = %id, %error, "the provider's answer is not recorded yet"),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

async fn record_all(store: &PgStore, clock: &dyn Clock, group: Vec<Told>) -> Vec<Result<Option<Job>, Error>> {
    let ids: Vec<PaymentId> = group.iter().map(|(id, ..)| *id).collect::<BTreeSet<_>>().into_iter().collect();
    match load(store, &ids).await {
        Ok(payments) => {
            let payments: HashMap<PaymentId, Result<Stored, Arc<event_store::Error>>> =
                ids.into_iter().zip(payments.into_iter().map(|payment| payment.map_err(Arc::new))).collect();
            let recorded = group.into_iter().map(|(id, command, traceparent)| {
                let stored = payments.get(&id).cloned().unwrap_or_else(|| Ok(Stored::default()));
                async move { record(store, clock, id, stored.map_err(Error::Unreadable)?, command, traceparent).await }
            });
            // Those of one payment conflict, and come again.
            join_all(recorded).await
        }
        Err(error) => {
            let error = Arc::new(error);
            group.iter().map(|_| Err(Error::Unreadable(Arc::clone(&error)))).collect()
        }
    }
}

async fn record(
    store: &PgStore,
    clock: &dyn Clock,
    id: PaymentId,
    stored: Stored,
    command: Command,
    traceparent: Option<String>,
) -> Result<Option<Job>, Error> {
    let Stored { mut payment, sequence, asked } = stored;
    let Idempotent::Executed(events) = payment.decide(command).map_err(Error::Denied)? else { return Ok(None) };
    let mut origin = origin(asked.as_ref(), clock);
    origin.traceparent = traceparent.or(origin.traceparent);
    let new_events = events.iter().map(|event| new_event(event, &origin, clock)).collect();
    store.append(Append { stream: stream(id), expected: sequence, events: new_events }).await?;
    measures::recorded(&events);
    for event in &events {
        payment.apply(event.clone());
    }
    Ok(Job::newly_asked(id, &payment, &events).map(|job| job.within(Some(origin.correlation_id), origin.traceparent)))
}

/// A payment as the store has it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stored {
    pub(crate) payment: Payment,
    sequence: u64,
    /// The event that asked the provider.
    asked: Option<RecordedEvent>,
}

impl Stored {
    /// Where the asking goes on from.
    pub(crate) fn correlation_id(&self) -> Option<Uuid> {
        self.asked.as_ref().map(|asked| asked.metadata.correlation_id)
    }

    pub(crate) fn traceparent(&self) -> Option<String> {
        self.asked.as_ref().and_then(|asked| asked.metadata.traceparent.clone())
    }
}

impl Stored {
    fn fold(events: Vec<RecordedEvent>) -> Result<Self, event_store::Error> {
        let mut stored = Self::default();
        for recorded in events {
            let (means, mut asks) = (recorded.decode_all::<Payment>()?, false);
            stored.sequence = recorded.sequence;
            for event in means {
                asks |= matches!(event, Event::ChargeRequested { .. } | Event::RefundRequested { .. });
                stored.payment.apply(event);
            }
            if asks {
                stored.asked = Some(recorded);
            }
        }
        Ok(stored)
    }
}

/// These payments, in this order, with one query. One that cannot be read does not stand in the way of the others.
pub(crate) async fn load(
    store: &PgStore,
    ids: &[PaymentId],
) -> Result<Vec<Result<Stored, event_store::Error>>, event_store::Error> {
    let streams: Vec<(StreamId, u64)> = ids.iter().map(|id| (stream(*id), 0)).collect();
    Ok(store.load(&streams).await?.into_iter().map(Stored::fold).collect())
}

fn stream(id: PaymentId) -> StreamId {
    StreamId::of::<Payment>(id.to_string())
}

/// Where the answer to what this event asks comes from: it goes on with the story of the request.
pub fn answered(asked: &Metadata) -> Origin {
    Origin {
        correlation_id: asked.correlation_id,
        causation_id: asked.event_id,
        command_id: Uuid::new_v5(&asked.event_id, b"answer"),
        actor: ACTOR.to_owned(),
        traceparent: asked.traceparent.clone(),
    }
}

fn origin(asked: Option<&RecordedEvent>, clock: &dyn Clock) -> Origin {
    match asked {
        Some(asked) => answered(&asked.metadata),
        None => Origin::request(clock.new_id(), clock.new_id(), ACTOR),
    }
}

/// # Panics
/// If the event cannot be written as JSON: domain events are plain structures that can.
fn new_event(event: &Event, origin: &Origin, clock: &dyn Clock) -> NewEvent {
    NewEvent {
        event_type: DomainEvent::event_type(event),
        event_version: DomainEvent::event_version(event),
        payload: serde_json::to_string(event).expect("domain events are plain JSON structures"),
        metadata: origin.metadata(clock),
    }
}
