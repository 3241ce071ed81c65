//! Loading aggregates, and keeping the states of those in use.

use std::collections::HashMap;

use cqrs_es::persist::PersistedEventRepository;
use event_store::{Alone, Error, EventStore, RecordedEvent, Snapshot, StreamId, is_current};
use kernel::Decide;

/// A state and where in its stream it stands.
#[derive(Debug, Clone)]
pub(crate) struct Loaded<A> {
    pub(crate) state: A,
    pub(crate) sequence: u64,
    /// The sequence of the last snapshot known.
    pub(crate) snapshot: u64,
}

impl<A: Decide> Default for Loaded<A> {
    fn default() -> Self {
        Self { state: A::default(), sequence: 0, snapshot: 0 }
    }
}

impl<A: Decide> Loaded<A> {
    fn fold(&mut self, events: &[RecordedEvent]) -> Result<(), Error> {
        for recorded in events {
            for event in recorded.decode_all::<A>()? {
                self.state.apply(event);
            }
            self.sequence = recorded.sequence;
        }
        Ok(())
    }

    fn apply(&mut self, event: A::Event, sequence: u64) {
        self.state.apply(event);
        self.sequence = sequence;
    }

    fn from_snapshot(snapshot: Option<Snapshot>) -> Self {
        // A snapshot that this code cannot read is as good as none: the fold has it all.
        snapshot
            .and_then(|s| serde_json::from_str(&s.state).ok().map(|state| (state, s.sequence)))
            .map_or_else(Self::default, |(state, sequence)| Self { state, sequence, snapshot: sequence })
    }

    /// A snapshot, when so many events have come since the last that one is due.
    pub(crate) fn due_snapshot(&mut self, id: &str) -> Option<Snapshot> {
        if A::SNAPSHOT_EVERY == 0 || self.sequence < self.snapshot + A::SNAPSHOT_EVERY {
            return None;
        }
        let state = serde_json::to_string(&self.state).ok()?;
        self.snapshot = self.sequence;
        Some(Snapshot { stream: StreamId::of::<A>(id), sequence: self.sequence, state })
    }
}

/// Loads one aggregate: by itself through cqrs-es' own repository, where the store has one; beside other loads together
/// with them.
pub(crate) async fn load_one<A: Decide>(store: &dyn EventStore, id: &str) -> Result<Loaded<A>, Error> {
    let stream = StreamId::of::<A>(id);
    let mut loaded = if A::SNAPSHOT_EVERY > 0 {
        let snapshot = store.snapshots(std::slice::from_ref(&stream)).await?.pop().flatten();
        Loaded::from_snapshot(snapshot)
    } else if let Some(repository) = store.repository() {
        match load_alone(&repository, id).await? {
            Some(loaded) => return Ok(loaded),
            None => return load_evolved(store, stream, Loaded::default()).await,
        }
    } else {
        Loaded::default()
    };
    // Whether a payload is in an earlier form of its type, it does not say by itself.
    if !A::UPCASTERS.is_empty() {
        return load_evolved(store, stream, loaded).await;
    }
    let history = store.history(stream.clone(), loaded.sequence).await?;
    if history.evolved {
        return load_evolved(store, stream, loaded).await;
    }
    for payload in &history.payloads {
        let sequence = loaded.sequence + 1;
        match serde_json::from_str(payload) {
            Ok(event) => loaded.apply(event, sequence),
            // What it is instead, its row tells.
            Err(_) => return load_evolved(store, stream, loaded).await,
        }
    }
    Ok(loaded)
}

/// What a stream holds in forms of several versions: they are read by all that stands in their rows.
async fn load_evolved<A: Decide>(
    store: &dyn EventStore,
    stream: StreamId,
    mut loaded: Loaded<A>,
) -> Result<Loaded<A>, Error> {
    let events = store.load(&[(stream, loaded.sequence)]).await?.pop().unwrap_or_default();
    loaded.fold(&events)?;
    Ok(loaded)
}

/// Nothing, where the stream holds forms that are not today's, or what cannot be read.
async fn load_alone<A: Decide>(repository: &Alone<'_>, id: &str) -> Result<Option<Loaded<A>>, Error> {
    let events = repository.get_events::<A>(id).await.map_err(|error| Error::Unavailable(error.to_string()))?;
    if events.iter().any(|event| !is_current::<A>(&event.event_type, &event.event_version)) {
        return Ok(None);
    }
    let mut loaded = Loaded::<A>::default();
    for event in events {
        let sequence = u64::try_from(event.sequence).unwrap_or(0);
        let Ok(event) = serde_json::from_value(event.payload) else { return Ok(None) };
        loaded.apply(event, sequence);
    }
    Ok(Some(loaded))
}

/// Loads many aggregates with one query for all (two where they have snapshots).
pub(crate) async fn load_many<A: Decide>(store: &dyn EventStore, ids: &[String]) -> Result<Vec<Loaded<A>>, Error> {
    let streams: Vec<StreamId> = ids.iter().map(StreamId::of::<A>).collect();
    let mut loaded: Vec<Loaded<A>> = if A::SNAPSHOT_EVERY > 0 {
        store.snapshots(&streams).await?.into_iter().map(Loaded::from_snapshot).collect()
    } else {
        ids.iter().map(|_| Loaded::default()).collect()
    };
    let from: Vec<(StreamId, u64)> =
        streams.into_iter().zip(&loaded).map(|(stream, loaded)| (stream, loaded.sequence)).collect();
    for (loaded, events) in loaded.iter_mut().zip(store.load(&from).await?) {
        loaded.fold(&events)?;
    }
    Ok(loaded)
}

/// States of aggregates in use, in two generations: when the young one is full the old one goes.
/// A state may be behind the store; the append's expected version tells.
pub(crate) struct Cache<A> {
    young: HashMap<String, Loaded<A>>,
    old: HashMap<String, Loaded<A>>,
    generation_max: usize,
}

impl<A: Decide> Cache<A> {
    pub(crate) fn new(generation_max: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), generation_max }
    }

    /// Takes the state out: whoever changes it puts it back once that is committed.
    pub(crate) fn take(&mut self, id: &str) -> Option<Loaded<A>> {
        self.young.remove(id).or_else(|| self.old.remove(id))
    }

    pub(crate) fn put(&mut self, id: String, loaded: Loaded<A>) {
        if self.young.len() >= self.generation_max {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(id, loaded);
    }

    pub(crate) fn clear(&mut self) {
        self.young.clear();
        self.old.clear();
    }
}
