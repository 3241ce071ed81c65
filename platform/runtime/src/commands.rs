//! Commands from outside: load, decide, append; a conflict re-runs the decision.

use std::sync::Arc;

use cqrs_es::{Aggregate, DomainEvent};
use event_store::clock::Clock;
use event_store::{Answer, Append, Cursor, EventStore, NewEvent, StreamId, UnitOfWork};
use kernel::{Decide, Idempotent};
use telemetry::{Kind, Span, trace};

use crate::Origin;
use crate::states::{self, Loaded};

mod both;
mod operated;

/// Decisions on one stream that others may overtake before it is given up.
const TRIES_MAX: usize = 6;

/// Runs commands on aggregates of one service's store.
#[derive(Clone)]
pub struct Commands {
    store: Arc<dyn EventStore>,
    clock: Arc<dyn Clock>,
}

/// Makes the answer to the request that a command came with of the state that it leads to and the
/// stream's sequence; it is recorded together with the events. `None`: nothing is to be recorded.
pub type Answering<'a, A> = &'a (dyn Fn(&A, u64) -> Option<Answer> + Send + Sync);

fn unanswered<A>(_: &A, _: u64) -> Option<Answer> {
    None
}

/// What came of a command.
#[derive(Debug, Clone)]
pub struct Executed<A: Aggregate> {
    /// The state after it.
    pub state: A,
    /// The stream's last sequence.
    pub sequence: u64,
    /// What was recorded; empty when it had been done before.
    pub events: Vec<A::Event>,
    /// Where the last event stands, for whoever waits until a projection has passed it.
    pub cursor: Option<Cursor>,
}

/// Why a command had no effect.
#[derive(Debug, thiserror::Error)]
pub enum Error<E: std::error::Error + 'static> {
    /// The aggregate says no.
    #[error(transparent)]
    Denied(E),
    /// Others kept changing the aggregate, or the request has been answered meanwhile: try again.
    #[error("others keep changing it")]
    Conflict,
    /// It could not be recorded.
    #[error(transparent)]
    NotRecorded(event_store::Error),
}

impl Commands {
    /// Commands on this store.
    pub fn new(store: Arc<dyn EventStore>, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock }
    }

    /// The clock that decisions are given.
    pub fn clock(&self) -> &dyn Clock {
        self.clock.as_ref()
    }

    /// The aggregate's state and sequence as the store has them now.
    pub async fn load<A: Decide>(&self, id: &str) -> Result<(A, u64), event_store::Error> {
        states::load_one(self.store.as_ref(), id).await.map(|loaded: Loaded<A>| (loaded.state, loaded.sequence))
    }

    /// Loads the aggregate, decides, appends. Re-runs the decision when somebody else was faster.
    pub async fn execute<A: Decide>(
        &self,
        id: &str,
        origin: &Origin,
        command: A::Command,
    ) -> Result<Executed<A>, Error<A::Error>> {
        self.execute_if(id, origin, command, |_, _| Ok(())).await
    }

    /// As [`Commands::execute`] for an aggregate that is new: decides from nothing and appends at
    /// the stream's beginning, without a load. Should there be such a stream already, the decision
    /// is run again on what it holds.
    pub async fn create<A: Decide>(
        &self,
        id: &str,
        origin: &Origin,
        command: A::Command,
    ) -> Result<Executed<A>, Error<A::Error>> {
        self.create_answered(id, origin, command, &unanswered).await
    }

    /// As [`Commands::create`], with the answer recorded in the same transaction.
    pub async fn create_answered<A: Decide>(
        &self,
        id: &str,
        origin: &Origin,
        command: A::Command,
        answering: Answering<'_, A>,
    ) -> Result<Executed<A>, Error<A::Error>> {
        let span = deciding::<A>(id);
        let loaded = Loaded::<A>::default();
        let decision = loaded.state.decide(command.clone()).map_err(Error::Denied)?;
        match self.record(id, origin, loaded, decision, answering, span).await? {
            Some(executed) => Ok(executed),
            None => self.execute_answered(id, origin, command, |_, _| Ok(()), answering).await,
        }
    }

    /// As [`Commands::execute`] on a state that the caller knows already: decides on it and appends
    /// behind `sequence`, without a load. Should the stream have moved on, or the decision record
    /// nothing, it is run again on what the store holds.
    pub async fn execute_from<A: Decide>(
        &self,
        id: &str,
        state: A,
        sequence: u64,
        origin: &Origin,
        command: A::Command,
    ) -> Result<Executed<A>, Error<A::Error>> {
        let Ok(decision @ Idempotent::Executed(_)) = state.decide(command.clone()) else {
            return self.execute(id, origin, command).await;
        };
        let loaded = Loaded { state, sequence, snapshot: sequence };
        match self.record(id, origin, loaded, decision, &unanswered, deciding::<A>(id)).await? {
            Some(executed) => Ok(executed),
            None => self.execute(id, origin, command).await,
        }
    }

    /// As [`Commands::execute`], with a look at state and sequence before each decision.
    pub async fn execute_if<A: Decide>(
        &self,
        id: &str,
        origin: &Origin,
        command: A::Command,
        check: impl Fn(&A, u64) -> Result<(), A::Error> + Send + Sync,
    ) -> Result<Executed<A>, Error<A::Error>> {
        self.execute_answered(id, origin, command, check, &unanswered).await
    }

    /// As [`Commands::execute_if`], with the answer recorded in the same transaction; where there
    /// was nothing to do it is recorded alone.
    pub async fn execute_answered<A: Decide>(
        &self,
        id: &str,
        origin: &Origin,
        command: A::Command,
        check: impl Fn(&A, u64) -> Result<(), A::Error> + Send + Sync,
        answering: Answering<'_, A>,
    ) -> Result<Executed<A>, Error<A::Error>> {
        for _ in 0..TRIES_MAX {
            let span = deciding::<A>(id);
            let loaded: Loaded<A> = states::load_one(self.store.as_ref(), id).await.map_err(Error::NotRecorded)?;
            check(&loaded.state, loaded.sequence).map_err(Error::Denied)?;
            let decision = loaded.state.decide(command.clone()).map_err(Error::Denied)?;
            if let Some(executed) = self.record(id, origin, loaded, decision, answering, span).await? {
                return Ok(executed);
            }
        }
        Err(Error::Conflict)
    }

    /// Records a decision and its answer; `None` when somebody else was faster.
    async fn record<A: Decide>(
        &self,
        id: &str,
        origin: &Origin,
        mut loaded: Loaded<A>,
        decision: Idempotent<Vec<A::Event>>,
        answering: Answering<'_, A>,
        mut span: Span,
    ) -> Result<Option<Executed<A>>, Error<A::Error>> {
        let events = decision.executed().unwrap_or_default();
        let mut append = append::<A>(id, loaded.sequence, &events, origin, self.clock.as_ref());
        if let Some(traceparent) = span.traceparent() {
            append.events.iter_mut().for_each(|event| event.metadata.traceparent = Some(traceparent.clone()));
        }
        for event in &events {
            loaded.state.apply(event.clone());
            loaded.sequence += 1;
        }
        let answer = answering(&loaded.state, loaded.sequence);
        let recorded = if events.is_empty() {
            span.forget();
            self.record_answer(answer).await.map(|()| None)
        } else {
            span.set("event.sequence", i64::try_from(loaded.sequence).unwrap_or(i64::MAX));
            let current = span.into_current().or_else(trace::current_span);
            trace::scope(current, self.store.append_answered(append, answer)).await.map(Some)
        };
        match recorded {
            Ok(cursor) => {
                self.save_due_snapshot(id, &mut loaded);
                let Loaded { state, sequence, .. } = loaded;
                Ok(Some(Executed { state, sequence, events, cursor }))
            }
            Err(event_store::Error::Conflict { .. }) => Ok(None),
            Err(error) => Err(not_recorded(error)),
        }
    }

    /// Records the answer of a request that had no effect, or several, each in a transaction of its own.
    ///
    /// # Errors
    /// The request has been answered by another run of it, or the store is away.
    pub async fn record_answer(&self, answer: Option<Answer>) -> Result<(), event_store::Error> {
        match answer {
            Some(answer) => self.store.commit(UnitOfWork { answers: vec![answer], ..UnitOfWork::default() }).await,
            None => Ok(()),
        }
    }

    /// Outside the hot path: nobody waits for it, and its failure costs only time.
    fn save_due_snapshot<A: Decide>(&self, id: &str, loaded: &mut Loaded<A>) {
        if let Some(snapshot) = loaded.due_snapshot(id) {
            let store = Arc::clone(&self.store);
            tokio::spawn(async move {
                if let Err(error) = store.save_snapshot(snapshot).await {
                    tracing::warn!(%error, "a snapshot was not saved");
                }
            });
        }
    }
}

/// The span of a decision and its append, where the request has one. The group commit that carries it is linked to it.
fn deciding<A: Decide>(id: &str) -> Span {
    let mut span = trace::child(Kind::Internal, ("append", A::TYPE));
    if span.is_recorded() {
        span.set("db.system.name", "postgresql");
        span.set("db.operation.name", "INSERT");
        span.set("db.collection.name", "events");
        span.set("aggregate.type", A::TYPE);
        span.set("aggregate.id", id);
    }
    span
}

/// Why a decision that still stands was not recorded.
fn not_recorded<E: std::error::Error>(error: event_store::Error) -> Error<E> {
    match error {
        // The same request has been answered by another run of it: whoever repeats it reads that.
        event_store::Error::Repeated => Error::Conflict,
        error => Error::NotRecorded(error),
    }
}

/// The append of these events, decided at `expected`.
pub(crate) fn append<A: Decide>(
    id: &str,
    expected: u64,
    events: &[A::Event],
    origin: &Origin,
    clock: &dyn Clock,
) -> Append {
    Append {
        stream: StreamId::of::<A>(id),
        expected,
        events: events.iter().map(|event| new_event(event, origin, clock)).collect(),
    }
}

/// # Panics
/// If the event cannot be written as JSON: domain events are plain structures that can.
pub(crate) fn new_event<E: DomainEvent>(event: &E, origin: &Origin, clock: &dyn Clock) -> NewEvent {
    NewEvent {
        event_type: event.event_type(),
        event_version: event.event_version(),
        payload: serde_json::to_string(event).expect("domain events are plain JSON structures"),
        metadata: origin.metadata(clock),
    }
}

#[cfg(test)]
mod tests;
