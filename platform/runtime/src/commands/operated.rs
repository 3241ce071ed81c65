//! Commands of operators: the record of the act is written with what follows from it, or neither is.

use event_store::{Operation, StreamId, UnitOfWork};
use kernel::{Decide, Idempotent};

use super::{Commands, Error, Executed, TRIES_MAX, append};
use crate::Origin;
use crate::consumer::Timer;
use crate::states::{self, Loaded};

impl Commands {
    /// As [`Commands::execute`], with the record of the operator's act, and with the aggregate's timer, in the same unit
    /// of work. `timer` is asked with the states before and after. Where there was nothing to do, nothing is recorded.
    ///
    /// # Errors
    /// The aggregate refuses, others keep changing it, or the store is away.
    pub async fn operate<A: Decide>(
        &self,
        id: &str,
        origin: &Origin,
        command: A::Command,
        operation: &Operation,
        timer: impl Fn(&A, &A) -> Option<Timer> + Send + Sync,
    ) -> Result<Executed<A>, Error<A::Error>> {
        for _ in 0..TRIES_MAX {
            let loaded: Loaded<A> = states::load_one(self.store.as_ref(), id).await.map_err(Error::NotRecorded)?;
            let decision = loaded.state.decide(command.clone()).map_err(Error::Denied)?;
            let Loaded { state: before, sequence, .. } = loaded;
            let Idempotent::Executed(events) = decision else {
                return Ok(Executed { state: before, sequence, events: Vec::new(), cursor: None });
            };
            let clock = self.clock.as_ref();
            let mut after = before.clone();
            events.iter().for_each(|event| after.apply(event.clone()));
            let timers = timer(&before, &after).map(|timer| timer.change(StreamId::of::<A>(id), origin));
            let appends =
                vec![append::<A>(id, sequence, &events, origin, clock), operation.append(&origin.actor, clock)];
            let work = UnitOfWork { appends, timers: timers.into_iter().collect(), ..UnitOfWork::default() };
            match self.store.commit(work).await {
                Ok(()) => {
                    let sequence = sequence + events.len() as u64;
                    return Ok(Executed { state: after, sequence, events, cursor: None });
                }
                Err(event_store::Error::Conflict { .. }) => {}
                Err(error) => return Err(Error::NotRecorded(error)),
            }
        }
        Err(Error::Conflict)
    }
}
