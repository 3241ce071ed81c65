//! One decision about two aggregates: both are recorded or neither is.

use cqrs_es::Aggregate;
use event_store::{Answer, Append, Cursor, UnitOfWork};
use kernel::{Decide, Idempotent};

use super::{Commands, Error, Executed, TRIES_MAX, append, deciding, not_recorded};
use crate::Origin;
use crate::states::{self, Loaded};

/// An aggregate's id, and the command for it.
type To<'a, A> = (&'a str, <A as Aggregate>::Command);

/// As [`super::Answering`], of two states and their sequences.
pub type AnsweringBoth<'a, A, B> = &'a (dyn Fn((&A, u64), (&B, u64)) -> Option<Answer> + Send + Sync);

/// What was decided, before it is recorded: the state is the one that its events lead to.
struct Decision<A: Decide> {
    loaded: Loaded<A>,
    events: Vec<A::Event>,
    append: Option<Append>,
}

impl<A: Decide> Decision<A> {
    /// The sequence that the decision was made at.
    fn seen(&self) -> u64 {
        self.loaded.sequence - self.events.len() as u64
    }

    fn executed(self, cursor: Option<Cursor>) -> Executed<A> {
        let cursor = cursor.filter(|_| !self.events.is_empty());
        Executed { state: self.loaded.state, sequence: self.loaded.sequence, events: self.events, cursor }
    }
}

impl Commands {
    /// As [`Commands::execute`] on two aggregates in one unit of work, the first one's events
    /// before the second's. A refusal by either leaves both as they were.
    pub async fn execute_both<A, B, E>(
        &self,
        first: To<'_, A>,
        second: To<'_, B>,
        origin: &Origin,
    ) -> Result<(Executed<A>, Executed<B>), Error<E>>
    where
        A: Decide<Error: Into<E>>,
        B: Decide<Error: Into<E>>,
        E: std::error::Error + 'static,
    {
        self.execute_both_if(first, second, origin, |_, _| Ok(())).await
    }

    /// As [`Commands::execute_both`], with a look at the sequences of both before each decision is recorded.
    pub async fn execute_both_if<A, B, E>(
        &self,
        first: To<'_, A>,
        second: To<'_, B>,
        origin: &Origin,
        check: impl Fn(u64, u64) -> Result<(), E> + Send + Sync,
    ) -> Result<(Executed<A>, Executed<B>), Error<E>>
    where
        A: Decide<Error: Into<E>>,
        B: Decide<Error: Into<E>>,
        E: std::error::Error + 'static,
    {
        self.execute_both_answered(first, second, origin, check, &|_, _| None).await
    }

    /// As [`Commands::execute_both_if`], with the answer recorded in the same transaction, made of the
    /// states and sequences that the decisions lead to; where there was nothing to do it is recorded alone.
    pub async fn execute_both_answered<A, B, E>(
        &self,
        first: To<'_, A>,
        second: To<'_, B>,
        origin: &Origin,
        check: impl Fn(u64, u64) -> Result<(), E> + Send + Sync,
        answering: AnsweringBoth<'_, A, B>,
    ) -> Result<(Executed<A>, Executed<B>), Error<E>>
    where
        A: Decide<Error: Into<E>>,
        B: Decide<Error: Into<E>>,
        E: std::error::Error + 'static,
    {
        for _ in 0..TRIES_MAX {
            let span = deciding::<A>(first.0);
            let mut a = self.decide_on::<A, E>(&first, origin).await?;
            let mut b = self.decide_on::<B, E>(&second, origin).await?;
            check(a.seen(), b.seen()).map_err(Error::Denied)?;
            let mut appends: Vec<Append> = [a.append.take(), b.append.take()].into_iter().flatten().collect();
            if let Some(traceparent) = span.traceparent() {
                let events = appends.iter_mut().flat_map(|append| &mut append.events);
                events.for_each(|event| event.metadata.traceparent = Some(traceparent.clone()));
            }
            let answer = answering((&a.loaded.state, a.loaded.sequence), (&b.loaded.state, b.loaded.sequence));
            let Some(last) = appends.last().map(|append| (append.stream.clone(), append.expected)) else {
                span.forget();
                self.record_answer(answer).await.map_err(not_recorded)?;
                return Ok((a.executed(None), b.executed(None)));
            };
            let answers = answer.into_iter().collect();
            match self.store.commit(UnitOfWork { appends, answers, ..UnitOfWork::default() }).await {
                Ok(()) => {
                    // One transaction: where its last event stands, both are passed. It is recorded
                    // whether or not we can tell where.
                    let found = self.store.load(&[last]).await.unwrap_or_default();
                    let cursor = found.first().and_then(|events| events.last()).map(|event| event.cursor);
                    self.save_due_snapshot(first.0, &mut a.loaded);
                    self.save_due_snapshot(second.0, &mut b.loaded);
                    return Ok((a.executed(cursor), b.executed(cursor)));
                }
                Err(event_store::Error::Conflict { .. }) => {}
                Err(error) => return Err(not_recorded(error)),
            }
        }
        Err(Error::Conflict)
    }

    async fn decide_on<A, E>(&self, (id, command): &To<'_, A>, origin: &Origin) -> Result<Decision<A>, Error<E>>
    where
        A: Decide<Error: Into<E>>,
        E: std::error::Error + 'static,
    {
        let mut loaded: Loaded<A> = states::load_one(self.store.as_ref(), id).await.map_err(Error::NotRecorded)?;
        let decision = loaded.state.decide(command.clone()).map_err(|denied| Error::Denied(denied.into()))?;
        let Idempotent::Executed(events) = decision else {
            return Ok(Decision { loaded, events: Vec::new(), append: None });
        };
        let append = append::<A>(id, loaded.sequence, &events, origin, self.clock.as_ref());
        for event in &events {
            loaded.state.apply(event.clone());
            loaded.sequence += 1;
        }
        Ok(Decision { loaded, events, append: Some(append) })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use event_store::{EventStore, MemoryStore, StreamId, clock};
    use serde::{Deserialize, Serialize};
    use uuid::Uuid;

    use super::*;

    #[derive(Debug, Clone, PartialEq, thiserror::Error)]
    #[error("too many")]
    pub struct TooMany;

    /// Counts to ten; counting nothing is nothing to do.
    macro_rules! counter {
        ($state:ident, $counted:ident, $name:literal) => {
            #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
            struct $counted(u32);

            impl $counted {
                fn event_type(&self) -> &'static str {
                    "counted"
                }

                fn event_version(&self) -> &'static str {
                    "1"
                }
            }

            #[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
            struct $state(u32);

            impl $state {
                fn decide_command(&self, number: u32) -> Result<Idempotent<Vec<$counted>>, TooMany> {
                    match number {
                        0 => Ok(Idempotent::AlreadyDone),
                        _ if self.0 + number > 10 => Err(TooMany),
                        _ => Ok(Idempotent::Executed(vec![$counted(number)])),
                    }
                }

                fn fold_event(&mut self, $counted(number): $counted) {
                    self.0 += number;
                }
            }

            kernel::aggregate!($state, $name, u32, $counted, TooMany);
        };
    }

    counter!(Left, CountedLeft, "left");
    counter!(Right, CountedRight, "right");

    fn commands() -> (Commands, Arc<MemoryStore>, Origin) {
        let store = Arc::new(MemoryStore::new(clock::system()));
        let origin = Origin::request(Uuid::now_v7(), Uuid::now_v7(), "system");
        (Commands::new(Arc::clone(&store) as Arc<dyn EventStore>, clock::system()), store, origin)
    }

    #[tokio::test]
    async fn both_are_recorded_in_order_or_neither() {
        let (commands, store, origin) = commands();
        let both = |a, b| commands.execute_both::<Left, Right, TooMany>(("x", a), ("x", b), &origin);

        let (a, b) = both(1, 2).await.unwrap();
        assert_eq!((a.sequence, b.sequence, b.state), (1, 1, Right(2)));
        let end = store.read_after(Cursor::default(), 10).await.unwrap().events;
        let types: Vec<&str> = end.iter().map(|event| event.aggregate_type.as_str()).collect();
        assert_eq!(types, ["left", "right"]);
        assert_eq!(a.cursor, end.last().map(|event| event.cursor));

        assert!(matches!(both(1, 9).await, Err(Error::Denied(TooMany))));
        assert!(matches!(both(10, 1).await, Err(Error::Denied(TooMany))));
        let streams = [(StreamId::of::<Left>("x"), 0), (StreamId::of::<Right>("x"), 0)];
        let lengths = store.load(&streams).await.unwrap().iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(lengths, [1, 1]);
    }

    #[tokio::test]
    async fn a_check_sees_the_sequences_that_were_decided_at() {
        let (commands, _, origin) = commands();
        let both = |seen| {
            let check = move |a, b| if (a, b) == seen { Ok(()) } else { Err(TooMany) };
            commands.execute_both_if::<Left, Right, TooMany>(("x", 1), ("x", 0), &origin, check)
        };
        assert!(both((0, 0)).await.is_ok());
        assert!(matches!(both((0, 0)).await, Err(Error::Denied(TooMany))));
        assert_eq!(both((1, 0)).await.unwrap().0.state, Left(2));
    }

    #[tokio::test]
    async fn what_was_done_before_is_not_recorded_again() {
        let (commands, store, origin) = commands();
        let both = |a, b| commands.execute_both::<Left, Right, TooMany>(("x", a), ("x", b), &origin);
        let (a, b) = both(0, 3).await.unwrap();
        assert_eq!((a.cursor, a.sequence, b.sequence), (None, 0, 1));
        assert!(b.cursor.is_some());
        let (a, b) = both(0, 0).await.unwrap();
        assert_eq!((a.cursor, b.cursor, b.sequence), (None, None, 1));
        assert_eq!(store.read_after(Cursor::default(), 10).await.unwrap().events.len(), 1);
    }
}
