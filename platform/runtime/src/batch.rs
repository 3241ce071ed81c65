//! Many decisions, one unit of work: each aggregate is loaded once, decided on as often as the
//! batch asks, and appended to once.

use std::collections::HashMap;

use cqrs_es::Aggregate;
use event_store::clock::Clock;
use event_store::{Append, Error, EventStore, NewEvent, StreamId, TimerChange};
use kernel::{Decide, Idempotent};

use crate::Origin;
use crate::commands::new_event;
use crate::consumer::Timer;
use crate::states::{self, Cache, Loaded};

/// One command of a batch.
pub(crate) struct Item<A: Decide> {
    /// The number of the record that it came with.
    pub(crate) record: usize,
    pub(crate) id: String,
    pub(crate) command: A::Command,
    pub(crate) origin: Origin,
}

/// An aggregate within the batch.
struct Touched<A: Decide> {
    loaded: Loaded<A>,
    /// The state before the batch, for aggregates that have timers; a large state is not copied
    /// for nothing.
    before: Option<A>,
    /// From the cache, hence maybe behind the store.
    cached: bool,
    expected: u64,
    events: Vec<NewEvent>,
    recorded: Vec<A::Event>,
    last_origin: Option<Origin>,
}

impl<A: Decide> Touched<A> {
    fn new(loaded: Loaded<A>, cached: bool, keep_before: bool) -> Self {
        Self {
            before: keep_before.then(|| loaded.state.clone()),
            expected: loaded.sequence,
            loaded,
            cached,
            events: Vec::new(),
            recorded: Vec::new(),
            last_origin: None,
        }
    }
}

/// What a batch decided.
pub(crate) struct Decided<A: Decide> {
    touched: HashMap<String, Touched<A>>,
    order: Vec<String>,
    /// Records whose command the aggregate refuses for good, and why.
    pub(crate) rejected: Vec<(usize, String)>,
    /// The sequences of the last events that records led to.
    pub(crate) sequences: Vec<(usize, u64)>,
}

/// Begins the span of what an event has others do, if it has a span: they go on from the `traceparent` returned.
pub(crate) type Steps<'a, A> = &'a mut (dyn FnMut(&Item<A>, &<A as Aggregate>::Event) -> Option<String> + Send);

/// Decides the items in their order; `timers` tells whether [`Decided::work`] will be asked for any.
pub(crate) async fn decide<A: Decide>(
    store: &dyn EventStore,
    cache: &mut Cache<A>,
    clock: &dyn Clock,
    items: &[Item<A>],
    timers: bool,
    steps: Steps<'_, A>,
) -> Result<Decided<A>, Error> {
    let mut decided =
        Decided { touched: HashMap::new(), order: Vec::new(), rejected: Vec::new(), sequences: Vec::new() };
    load(store, cache, items, timers, &mut decided).await?;
    for item in items {
        let Some(touched) = decided.touched.get_mut(&item.id) else { continue };
        let mut decision = touched.loaded.state.decide(item.command.clone());
        // "No" and "done before" end the matter without the store having a say: they must not
        // rest on a state that is behind it.
        if touched.cached && touched.events.is_empty() && !matches!(decision, Ok(Idempotent::Executed(_))) {
            let fresh = states::load_many::<A>(store, std::slice::from_ref(&item.id)).await?.pop().unwrap_or_default();
            *touched = Touched::new(fresh, false, timers);
            decision = touched.loaded.state.decide(item.command.clone());
        }
        match decision {
            Ok(Idempotent::Executed(events)) => {
                for event in events {
                    let mut new = new_event(&event, &item.origin, clock);
                    if let Some(traceparent) = steps(item, &event) {
                        new.metadata.traceparent = Some(traceparent);
                    }
                    touched.events.push(new);
                    touched.loaded.state.apply(event.clone());
                    touched.loaded.sequence += 1;
                    touched.recorded.push(event);
                }
                touched.last_origin = Some(item.origin.clone());
                decided.sequences.push((item.record, touched.loaded.sequence));
            }
            Ok(Idempotent::AlreadyDone) => {}
            Err(reason) => decided.rejected.push((item.record, reason.to_string())),
        }
    }
    Ok(decided)
}

async fn load<A: Decide>(
    store: &dyn EventStore,
    cache: &mut Cache<A>,
    items: &[Item<A>],
    timers: bool,
    decided: &mut Decided<A>,
) -> Result<(), Error> {
    let mut missing = Vec::new();
    for item in items {
        if decided.touched.contains_key(&item.id) || missing.contains(&item.id) {
            continue;
        }
        decided.order.push(item.id.clone());
        match cache.take(&item.id) {
            Some(loaded) => {
                decided.touched.insert(item.id.clone(), Touched::new(loaded, true, timers));
            }
            None => missing.push(item.id.clone()),
        }
    }
    if !missing.is_empty() {
        let loaded = states::load_many::<A>(store, &missing).await?;
        for (id, loaded) in missing.into_iter().zip(loaded) {
            decided.touched.insert(id, Touched::new(loaded, false, timers));
        }
    }
    Ok(())
}

impl<A: Decide> Decided<A> {
    /// The appends and timers that the unit of work needs.
    pub(crate) fn work(&mut self, timer: impl Fn(&str, &A, &A) -> Option<Timer>) -> (Vec<Append>, Vec<TimerChange>) {
        let (mut appends, mut timers) = (Vec::new(), Vec::new());
        for id in &self.order {
            let Some(touched) = self.touched.get_mut(id) else { continue };
            if touched.events.is_empty() {
                continue;
            }
            let stream = StreamId::of::<A>(id.clone());
            if let (Some(origin), Some(before)) = (&touched.last_origin, &touched.before) {
                let timer = timer(id, before, &touched.loaded.state);
                timers.extend(timer.map(|timer| timer.change(stream.clone(), origin)));
            }
            appends.push(Append { stream, expected: touched.expected, events: std::mem::take(&mut touched.events) });
        }
        (appends, timers)
    }

    /// The aggregate's state after the batch.
    pub(crate) fn state(&self, id: &str) -> Option<&A> {
        self.touched.get(id).map(|touched| &touched.loaded.state)
    }

    /// After the commit: hands each aggregate's new events on, with where the last of them came from, and keeps the
    /// states.
    pub(crate) fn committed(
        self,
        cache: &mut Cache<A>,
        mut each: impl FnMut(&str, &mut Loaded<A>, &[A::Event], &Origin),
    ) {
        for (id, mut touched) in self.touched {
            if let Some(origin) = touched.last_origin.as_ref().filter(|_| !touched.recorded.is_empty()) {
                each(&id, &mut touched.loaded, &touched.recorded, origin);
            }
            cache.put(id, touched.loaded);
        }
    }
}
