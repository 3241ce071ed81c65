//! One order from its placement to its end, as its customer sees it.

use super::mix::Kind;
use crate::client::{Client, Error, NewOrder, Order, Session, Status};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use uuid::Uuid;

/// One long poll.
const WAIT: Duration = Duration::from_secs(5);
/// Between looks at a confirmed order that is to be cancelled (the long poll has nothing more to wait for), and between
/// tries to reach a shop that is away: from, to.
const LOOK_EVERY: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(500));

/// How an order ended, or did not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Paid and sold.
    Confirmed,
    /// Undone, for this reason.
    Cancelled(String),
    /// Not taken: the problem's type.
    Refused(String),
    /// The shop went away while it was being placed: whether it was taken is not known.
    Unknown,
    /// It was taken and has not ended in time.
    Unended,
    /// Something that should not occur, such as a 500.
    Failed(String),
}

/// What is known of an order after its end.
#[derive(Clone, Debug)]
pub struct Followed {
    /// What is special about it.
    pub kind: Kind,
    /// The number in the plan.
    pub n: usize,
    /// Its id, if it was taken.
    pub id: Option<Uuid>,
    /// How it ended.
    pub outcome: Outcome,
    /// From the request to its first end as the customer sees it.
    pub took: Duration,
}

/// Until when ends are waited for; none as long as orders are being placed.
pub type Deadline = watch::Receiver<Option<Instant>>;

/// A customer with an order.
pub struct Follower<'a> {
    /// The shop.
    pub client: &'a Client,
    /// Whose order it is.
    pub customer: &'a Session,
    /// Until when its end is waited for.
    pub deadline: Deadline,
}

impl Follower<'_> {
    /// Places the order. Where nobody listens it waits for somebody; whoever finds that hopeless drops this.
    pub async fn place(&self, order: &NewOrder) -> Result<Order, Outcome> {
        let mut pause = LOOK_EVERY.0;
        loop {
            return match self.client.place(self.customer, order).await {
                Ok(order) => Ok(order),
                Err(Error::Away(_)) => {
                    pause = wait(pause).await;
                    continue;
                }
                Err(Error::Refused { status: 400..=499, kind, .. }) => Err(Outcome::Refused(kind)),
                Err(error) if error.passes() => Err(Outcome::Unknown),
                Err(error) => Err(Outcome::Failed(error.to_string())),
            };
        }
    }

    /// Cancels it if that is what this kind is about, and waits for its end. Also tells when it first ended.
    pub async fn follow(&self, kind: Kind, id: Uuid) -> (Outcome, Instant) {
        if kind == Kind::CancelledAtOnce {
            if let Err(outcome) = self.cancel(id).await {
                return (outcome, Instant::now());
            }
            let outcome = self.cancelled(id).await;
            return (outcome, Instant::now());
        }
        let outcome = self.ended(id).await;
        let ended = Instant::now();
        if kind == Kind::CancelledLater && outcome == Outcome::Confirmed {
            let outcome = match self.cancel(id).await {
                Ok(()) => self.cancelled(id).await,
                Err(outcome) => outcome,
            };
            return (outcome, ended);
        }
        (outcome, ended)
    }

    async fn ended(&self, id: Uuid) -> Outcome {
        let mut pause = LOOK_EVERY.0;
        while !self.is_over() {
            match self.client.order_once_ended(self.customer, id, WAIT).await {
                Ok(order) if order.status == Status::Pending => {}
                Ok(order) => return outcome(order),
                Err(error) if error.passes() => pause = wait(pause).await,
                Err(error) => return Outcome::Failed(error.to_string()),
            }
        }
        Outcome::Unended
    }

    /// Waits until a cancellation that was asked for is done. A confirmed order stays confirmed until then.
    async fn cancelled(&self, id: Uuid) -> Outcome {
        let mut pause = LOOK_EVERY.0;
        while !self.is_over() {
            match self.client.order_once_ended(self.customer, id, WAIT).await {
                Ok(order) if order.status == Status::Cancelled => return outcome(order),
                Ok(_) => pause = wait(pause).await,
                Err(error) if error.passes() => pause = wait(pause).await,
                Err(error) => return Outcome::Failed(error.to_string()),
            }
        }
        Outcome::Unended
    }

    /// Asks until the shop has heard it: asking twice does no harm.
    async fn cancel(&self, id: Uuid) -> Result<(), Outcome> {
        let mut pause = LOOK_EVERY.0;
        while !self.is_over() {
            match self.client.cancel(self.customer, id).await {
                // A conflict: it is cancelled already.
                Ok(_) | Err(Error::Refused { status: 409, .. }) => return Ok(()),
                Err(error) if error.passes() => pause = wait(pause).await,
                Err(error) => return Err(Outcome::Failed(error.to_string())),
            }
        }
        Err(Outcome::Unended)
    }

    fn is_over(&self) -> bool {
        self.deadline.borrow().is_some_and(|deadline| Instant::now() > deadline)
    }
}

fn outcome(order: Order) -> Outcome {
    match order.status {
        Status::Pending => Outcome::Unended,
        Status::Confirmed => Outcome::Confirmed,
        Status::Cancelled => Outcome::Cancelled(order.cancel_reason.unwrap_or_default()),
    }
}

/// Waits, and gives the next pause: half as long again.
async fn wait(pause: Duration) -> Duration {
    tokio::time::sleep(pause).await;
    (pause * 3 / 2).min(LOOK_EVERY.1)
}
