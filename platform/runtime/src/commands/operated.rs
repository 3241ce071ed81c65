//! Commands of operators, by whichever interface: the record of the act is written with what follows from it, or
//! neither is.

use event_store::{Operation, StreamId, UnitOfWork};
use kernel::{Decide, Idempotent};

use super::{Answering, Commands, Error, Executed, TRIES_MAX, append, not_recorded};
use crate::Origin;
use crate::consumer::Timer;
use crate::states::{self, Loaded};

impl Commands {
    /// As [`Commands::execute_answered`], with the record of the operator's act, and with the aggregate's timer set or
    /// cleared, in the same unit of work. `timer` is asked with the states before and after. Where there was nothing to do,
    /// the answer alone is recorded.
    ///
    /// # Errors
    /// The aggregate refuses, others keep changing it, the request was answered meanwhile, or the store is away.
    pub async fn operate<A: Decide>(
        &self,
        id: &str,
        origin: &Origin,
        command: A::Command,
        operation: &Operation,
        answering: Answering<'_, A>,
        timer: impl Fn(&A, &A) -> Option<Timer> + Send + Sync,
    ) -> Result<Executed<A>, Error<A::Error>> {
        for _ in 0..TRIES_MAX {
            let loaded: Loaded<A> = states::load_one(self.store.as_ref(), id).await.map_err(Error::NotRecorded)?;
            let decision = loaded.state.decide(command.clone()).map_err(Error::Denied)?;
            let Loaded { state: before, sequence, .. } = loaded;
            let Idempotent::Executed(events) = decision else {
                self.record_answer(answering(&before, sequence)).await.map_err(not_recorded)?;
                return Ok(Executed { state: before, sequence, events: Vec::new(), cursor: None });
            };
            let clock = self.clock.as_ref();
            let mut state = before.clone();
            events.iter().for_each(|event| state.apply(event.clone()));
            let timers = timer(&before, &state).map(|timer| timer.change(StreamId::of::<A>(id), origin));
            let after = sequence + events.len() as u64;
            let work = UnitOfWork {
                appends: vec![
                    append::<A>(id, sequence, &events, origin, clock),
                    operation.append(&origin.actor, clock),
                ],
                timers: timers.into_iter().collect(),
                answers: answering(&state, after).into_iter().collect(),
                ..UnitOfWork::default()
            };
            match self.store.commit(work).await {
                Ok(()) => return Ok(Executed { state, sequence: after, events, cursor: None }),
                Err(event_store::Error::Conflict { .. }) => {}
                Err(error) => return Err(not_recorded(error)),
            }
        }
        Err(Error::Conflict)
    }
}
