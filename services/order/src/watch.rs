//! Watching an order: what has happened to it, and then what happens, until its end.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use event_store::PgStore;
use futures::Stream;
use kernel::{OrderId, UserId};
use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use web::auth::Identity;

use crate::error::Error;
use crate::timeline::{Happening, Timeline};
use crate::waiters::{Waiter, Waiters};

/// A stream ends after so long; whoever wants more goes on from the last event.
const DURATION_MAX: Duration = Duration::from_secs(300);
/// Streams that one user may have open, and all together.
const STREAMS_MAX_PER_USER: usize = 20;
const STREAMS_MAX: usize = 5_000;

/// Opens streams of what happens to orders.
pub(crate) struct Watches {
    store: Arc<PgStore>,
    waiters: Arc<Waiters>,
    shutdown: CancellationToken,
    open: Arc<Mutex<Open>>,
}

#[derive(Default)]
struct Open {
    of_user: HashMap<UserId, usize>,
    all: usize,
}

/// A stream's place; given up when dropped.
struct Place {
    open: Arc<Mutex<Open>>,
    user: UserId,
}

/// An order being watched.
struct Watch {
    order: OrderId,
    store: Arc<PgStore>,
    waiter: Waiter,
    timeline: Timeline,
    /// Read and not yet handed on.
    ready: VecDeque<Happening>,
    until: Instant,
    shutdown: CancellationToken,
    _place: Place,
}

impl Watches {
    pub fn new(store: Arc<PgStore>, waiters: Arc<Waiters>, shutdown: CancellationToken) -> Self {
        Self { store, waiters, shutdown, open: Arc::default() }
    }

    /// What happened to the order after this sequence, and what happens from here on: until the order's end, the
    /// service's, or the longest duration. `None`: it has ended, and nothing happened since.
    pub async fn open(
        &self,
        order: OrderId,
        after: u64,
        caller: &Identity,
    ) -> Result<Option<impl Stream<Item = Happening> + Send + use<>>, Error> {
        let place = Place::take(&self.open, caller.user_id)?;
        // Before the look: what happens in between is not missed.
        let waiter = self.waiters.register(order).ok_or(Error::TooManyStreams)?;
        let mut timeline = Timeline::default();
        let mut ready = VecDeque::from(timeline.read(self.store.as_ref(), order).await?);
        if !timeline.order().is_some_and(|order| caller.may_see(order.user_id)) {
            return Err(Error::no_such_order());
        }
        ready.retain(|happening| happening.sequence > after);
        if ready.is_empty() && timeline.is_over() {
            return Ok(None);
        }
        let watch = Watch {
            order,
            store: Arc::clone(&self.store),
            waiter,
            timeline,
            ready,
            until: Instant::now() + DURATION_MAX,
            shutdown: self.shutdown.clone(),
            _place: place,
        };
        Ok(Some(futures::stream::unfold(watch, |mut watch| async move {
            let next = watch.next().await?;
            Some((next, watch))
        })))
    }
}

impl Watch {
    async fn next(&mut self) -> Option<Happening> {
        loop {
            if let Some(happening) = self.ready.pop_front() {
                return Some(happening);
            }
            if self.timeline.is_over() {
                return None;
            }
            tokio::select! {
                () = self.waiter.beyond(self.timeline.sequence()) => {}
                () = tokio::time::sleep_until(self.until) => return None,
                () = self.shutdown.cancelled() => return None,
            }
            match self.timeline.read(self.store.as_ref(), self.order).await {
                Ok(happenings) => self.ready.extend(happenings),
                Err(error) => {
                    // Whoever watches comes again, from the last event that they have.
                    tracing::warn!(%error, order.id = %self.order, "an order cannot be watched any more");
                    return None;
                }
            }
        }
    }
}

impl Place {
    fn take(open: &Arc<Mutex<Open>>, user: UserId) -> Result<Self, Error> {
        let mut places = open.lock();
        let of_user = places.of_user.get(&user).copied().unwrap_or_default();
        if of_user >= STREAMS_MAX_PER_USER {
            return Err(Error::TooManyStreamsOfUser(STREAMS_MAX_PER_USER));
        }
        if places.all >= STREAMS_MAX {
            return Err(Error::TooManyStreams);
        }
        places.of_user.insert(user, of_user + 1);
        places.all += 1;
        Ok(Self { open: Arc::clone(open), user })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut places = self.open.lock();
        places.all -= 1;
        let left = places.of_user.get(&self.user).copied().unwrap_or_default().saturating_sub(1);
        if left == 0 {
            places.of_user.remove(&self.user);
        } else {
            places.of_user.insert(self.user, left);
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn places_are_limited_per_user_and_given_back() {
        let open = Arc::default();
        let [ann, bob] = [1, 2].map(|n| UserId(Uuid::from_u128(n)));
        let mut places = (0..STREAMS_MAX_PER_USER).map(|_| Place::take(&open, ann).unwrap()).collect::<Vec<_>>();
        assert!(matches!(Place::take(&open, ann), Err(Error::TooManyStreamsOfUser(_))));
        let other = Place::take(&open, bob).unwrap();
        places.pop();
        places.push(Place::take(&open, ann).unwrap());
        drop((places, other));
        let left = open.lock();
        assert_eq!((left.all, left.of_user.len()), (0, 0));
    }
}
