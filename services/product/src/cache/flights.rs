//! One load for all who miss the same product at once.

use std::collections::HashMap;

use futures::FutureExt;
use futures::future::Shared;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::Answer;

/// What the load will bring.
pub(super) type Flight = Shared<oneshot::Receiver<Answer>>;

/// The loads under way.
#[derive(Default)]
pub(super) struct Flights {
    flying: HashMap<Uuid, (u64, Flight)>,
    departed: u64,
}

/// The end of a load that is in the air; dropped unused (the load panicked), its passengers get an error.
pub(super) struct Landing {
    number: u64,
    answer: oneshot::Sender<Answer>,
}

/// How one came to a load.
pub(super) enum Boarded {
    /// It is under way.
    Joined(Flight),
    /// It is to be begun.
    First(Flight, Landing),
}

impl Flights {
    /// The load under way, or a new one.
    pub fn board(&mut self, id: Uuid) -> Boarded {
        // A load that ended without an answer must not be joined for ever.
        if let Some((_, flight)) = self.flying.get(&id).filter(|(_, flight)| !matches!(flight.peek(), Some(Err(_)))) {
            return Boarded::Joined(flight.clone());
        }
        let (answer, flight) = oneshot::channel();
        let flight = flight.shared();
        self.departed += 1;
        self.flying.insert(id, (self.departed, flight.clone()));
        Boarded::First(flight, Landing { number: self.departed, answer })
    }

    /// The load has ended.
    pub fn land(&mut self, id: Uuid, landing: Landing, answer: Answer) {
        // Another one may have departed since, after a change.
        if self.flying.get(&id).is_some_and(|(number, _)| *number == landing.number) {
            self.flying.remove(&id);
        }
        // Nobody may be waiting any more.
        let _ = landing.answer.send(answer);
    }

    /// Nobody joins the load under way any more: the product has changed since it began.
    pub fn turn_away(&mut self, id: Uuid) {
        self.flying.remove(&id);
    }

    /// Nobody joins any load under way.
    pub fn turn_all_away(&mut self) {
        self.flying.clear();
    }
}
