//! Finds what is due: failed attempts to be made again, and what nobody has sent.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use broker::TopicPartition;
use domain::notification::{Channel, Event, Known, Notification, Status};
use event_store::{EventStore, PgStore, RecordedEvent, StreamId};
use kernel::NotificationId;
use sqlx::PgPool;
use tokio::time::Instant;
use uuid::Uuid;

use super::Hands;
use crate::commands::{Queued, Results, Story};
use crate::queries;

/// At most so many at a time.
const DUE_MAX: usize = 500;

/// A sweep that takes longer is given up until the next: attempts in flight wait for it.
const SWEEP_MAX: Duration = Duration::from_secs(2);

/// One channel's sweep. Of several instances one sweeps, by a lease.
pub(crate) struct Sweep {
    channel: Channel,
    store: Arc<PgStore>,
    pool: PgPool,
    results: Results,
    owner: Uuid,
    lease: Duration,
    /// When the lease was last asked for, and whether it was ours.
    asked: Option<(Instant, bool)>,
}

impl Sweep {
    pub(crate) fn new(
        channel: Channel,
        store: Arc<PgStore>,
        pool: PgPool,
        results: Results,
        owner: Uuid,
        lease: Duration,
    ) -> Self {
        Self { channel, store, pool, results, owner, lease, asked: None }
    }

    /// What is due and not in hand already.
    pub(super) async fn due(&mut self, hands: &Hands) -> VecDeque<Queued> {
        match tokio::time::timeout(SWEEP_MAX, self.try_due(hands)).await {
            Ok(Ok(due)) => due,
            Ok(Err(error)) => {
                tracing::warn!(channel = self.channel.as_str(), %error, "due notifications are looked for later");
                VecDeque::new()
            }
            Err(_) => {
                tracing::warn!(channel = self.channel.as_str(), "looking for due notifications took too long");
                VecDeque::new()
            }
        }
    }

    /// Keeps the lease while what was found is still being worked off. `false`: it is lost, or may be.
    pub(super) async fn is_ours(&mut self) -> bool {
        matches!(tokio::time::timeout(SWEEP_MAX, self.hold()).await, Ok(Ok(true)))
    }

    async fn try_due(&mut self, hands: &Hands) -> anyhow::Result<VecDeque<Queued>> {
        if !self.hold().await? {
            return Ok(VecDeque::new());
        }
        let limit = i64::try_from(DUE_MAX + hands.len())?;
        let mut rows =
            queries::due(&self.pool, self.channel.as_str(), self.results.now(), &hands.full(), limit).await?;
        rows.retain(|row| !hands.hold(NotificationId(row.notification_id)));
        rows.truncate(DUE_MAX);
        if rows.is_empty() {
            return Ok(VecDeque::new());
        }
        // The rows may be a moment behind: the streams say what stands.
        let stream = |row: &queries::Due| (StreamId::of::<Notification>(row.notification_id.to_string()), 0);
        let streams: Vec<_> = rows.iter().map(stream).collect();
        let loaded = self.store.load(&streams).await?;
        let mut due = VecDeque::with_capacity(rows.len());
        for (row, events) in rows.iter().zip(loaded) {
            due.extend(queued(row, &events)?);
        }
        Ok(due)
    }

    /// Whether the sweep is ours, asked of the store a few times a lease.
    async fn hold(&mut self) -> Result<bool, event_store::Error> {
        if let Some((at, held)) = self.asked
            && at.elapsed() < self.lease / 3
        {
            return Ok(held);
        }
        // Not ours until the store says so.
        self.asked = None;
        let name = self.name();
        let place = [TopicPartition::new(name.as_str(), 0)];
        let held = !self.store.claim(&name, self.owner, &place, self.lease).await?.is_empty();
        self.asked = Some((Instant::now(), held));
        Ok(held)
    }

    pub(super) async fn release(&self) {
        let _ = self.store.release(&self.name(), self.owner).await;
    }

    fn name(&self) -> String {
        format!("notification_sweep_{}", self.channel.as_str())
    }
}

/// The notification, if its stream says what the row says and it waits to be sent.
fn queued(row: &queries::Due, events: &[RecordedEvent]) -> Result<Option<Queued>, event_store::Error> {
    let (Some(first), Some(last)) = (events.first(), events.last()) else { return Ok(None) };
    if i64::try_from(last.sequence) != Ok(row.sequence) {
        return Ok(None);
    }
    let mut decoded = Vec::with_capacity(events.len());
    for event in events {
        decoded.extend(event.decode_all::<Notification>()?);
    }
    let Some(Event::NotificationQueued { at: queued_at, .. }) = decoded.first() else { return Ok(None) };
    let queued_at = *queued_at;
    let Notification::Known(known) = kernel::fold(decoded) else { return Ok(None) };
    let Known { letter, status, attempts, failed_attempts } = known;
    if !matches!(status, Status::Queued | Status::Retrying) {
        return Ok(None);
    }
    let story = Story {
        message_id: first.metadata.causation_id,
        correlation_id: first.metadata.correlation_id,
        traceparent: first.metadata.traceparent.clone(),
    };
    let id = NotificationId(row.notification_id);
    let sequence = last.sequence;
    Ok(Some(Queued { id, letter, queued_at, status, attempts, failed_attempts, sequence, story }))
}
