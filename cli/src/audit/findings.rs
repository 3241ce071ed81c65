//! What one service's store tells.

use super::messages::Messages;
use super::report::Tally;
use super::snapshot::Snapshot;
use super::topics::Bounds;
use crate::ports::Role;
use broker::TopicPartition;
use event_schemas::topics;
use event_store::Cursor;
use runtime::Publish;
use runtime::relay::FOLLOWER;

/// The checks that stores can answer by themselves.
#[derive(Default)]
pub(super) struct Checks {
    pub(super) contiguous: Tally,
    pub(super) readable: Tally,
    pub(super) projections: Tally,
    pub(super) snapshots: Tally,
    pub(super) commands: Tally,
    pub(super) stock: Tally,
    pub(super) money: Tally,
    pub(super) charged_once: Tally,
    pub(super) notified_once: Tally,
    pub(super) offsets: Tally,
    pub(super) dead_letters: Tally,
    pub(super) personal: Tally,
}

impl Checks {
    /// Nothing could be checked of a role whose database cannot be read.
    fn unchecked(role: Role, reason: &str) -> Self {
        let unknown = || Tally::unchecked(reason);
        let of = |concerned: Role| if role == concerned { unknown() } else { Tally::default() };
        Self {
            contiguous: unknown(),
            readable: unknown(),
            projections: unknown(),
            commands: unknown(),
            offsets: unknown(),
            dead_letters: unknown(),
            snapshots: of(Role::Product),
            stock: of(Role::Product),
            money: of(Role::Payment),
            charged_once: of(Role::Payment),
            notified_once: of(Role::Notification),
            personal: of(Role::User),
        }
    }

    pub(super) fn merge(&mut self, other: Self) {
        self.contiguous.merge(other.contiguous);
        self.readable.merge(other.readable);
        self.projections.merge(other.projections);
        self.snapshots.merge(other.snapshots);
        self.commands.merge(other.commands);
        self.stock.merge(other.stock);
        self.money.merge(other.money);
        self.charged_once.merge(other.charged_once);
        self.notified_once.merge(other.notified_once);
        self.offsets.merge(other.offsets);
        self.dead_letters.merge(other.dead_letters);
        self.personal.merge(other.personal);
    }
}

/// What one service's store tells: its own checks, and what is to be compared with others.
pub(super) struct Findings {
    pub(super) checks: Checks,
    pub(super) messages: Messages,
    progress: Vec<Progress>,
}

/// How far a consumer has come in a partition.
pub(super) struct Progress {
    consumer: String,
    place: TopicPartition,
    next_offset: i64,
}

impl Findings {
    /// Begins with what needs no walk through the streams.
    pub(super) async fn begin(
        snapshot: &mut Snapshot,
        role: Role,
        publisher: Option<Box<dyn Publish>>,
        partitions: u16,
    ) -> anyhow::Result<Self> {
        let relay = snapshot.checkpoint(FOLLOWER).await?;
        let messages = Messages::new(publisher, relay, partitions);
        let mut findings = Self { checks: Checks::default(), messages, progress: Vec::new() };
        findings.checks.contiguous = contiguous(snapshot, role).await?;
        findings.checks.dead_letters = dead_letters(snapshot, role).await?;
        findings.followers(snapshot, role).await?;
        findings.consumers(snapshot, role).await?;
        Ok(findings)
    }

    /// Those of a role whose database cannot be read.
    pub(super) fn unreadable(role: Role, reason: &str) -> Self {
        let messages = Messages::new(None, Cursor::default(), 1);
        Self { checks: Checks::unchecked(role, reason), messages, progress: Vec::new() }
    }

    /// Whoever follows the event table stands where there are events.
    async fn followers(&mut self, snapshot: &mut Snapshot, role: Role) -> anyhow::Result<()> {
        let followers: Vec<(String, bool)> = sqlx::query_as(
            "SELECT c.follower,
                    NOT EXISTS (SELECT FROM events e
                                 WHERE (e.transaction_id, e.position) >= (c.transaction_id, c.position))
               FROM checkpoints c WHERE c.position > 0",
        )
        .fetch_all(snapshot.connection())
        .await?;
        for (follower, is_beyond) in followers {
            self.checks.offsets.checked(1);
            if is_beyond {
                self.checks.offsets.violated(|| format!("{}: {follower} stands beyond the last event", role.title()));
            }
        }
        Ok(())
    }

    async fn consumers(&mut self, snapshot: &mut Snapshot, role: Role) -> anyhow::Result<()> {
        let rows: Vec<(String, String, i32, i64, bool, i64)> = sqlx::query_as(
            "SELECT consumer, topic, partition, epoch, owner IS NOT NULL, next_offset FROM consumer_offsets",
        )
        .fetch_all(snapshot.connection())
        .await?;
        for (consumer, topic, partition, epoch, is_owned, next_offset) in rows {
            self.checks.offsets.checked(1);
            // One that nobody has claimed so far has none.
            if epoch < 1 && (is_owned || next_offset > 0) {
                self.checks
                    .offsets
                    .violated(|| format!("{}: {consumer} {topic}/{partition} has no epoch", role.title()));
            }
            // Who relays or sweeps is settled by leases on places that are no topics.
            if topics::ALL.contains(&topic.as_str()) {
                self.progress.push(Progress { consumer, place: TopicPartition::new(topic, partition), next_offset });
            }
        }
        Ok(())
    }

    /// No consumer is outside its partition. `bounds` were looked at after the stores.
    pub(super) fn within(&mut self, role: Role, bounds: &Result<Bounds, String>) {
        let bounds = match bounds {
            Ok(bounds) => bounds,
            Err(reason) => {
                self.checks.offsets.could_not(reason);
                return;
            }
        };
        for Progress { consumer, place, next_offset } in &self.progress {
            let (first, end) = bounds.get(place).copied().unwrap_or_default();
            if !(first..=end).contains(next_offset) {
                self.checks.offsets.violated(|| {
                    format!("{}: {consumer} {place} is at {next_offset}, outside {first}..={end}", role.title())
                });
            }
        }
    }
}

/// Every stream of the store is 1..n.
async fn contiguous(snapshot: &mut Snapshot, role: Role) -> anyhow::Result<Tally> {
    let (streams, broken, named): (i64, i64, Vec<String>) = sqlx::query_as(
        "WITH numbered AS (
            SELECT aggregate_type, aggregate_id, sequence,
                   row_number() OVER (PARTITION BY aggregate_type, aggregate_id ORDER BY sequence) AS number
              FROM events
         ), streams AS (
            SELECT aggregate_type, aggregate_id, max(sequence) AS last, count(*) AS events,
                   bool_or(sequence <> number) AS is_broken
              FROM numbered GROUP BY aggregate_type, aggregate_id
         )
         SELECT count(*), count(*) FILTER (WHERE is_broken),
                ARRAY(SELECT aggregate_type || ' ' || aggregate_id || ': ' || events || ' events, the last is ' || last
                        FROM streams WHERE is_broken ORDER BY aggregate_type, aggregate_id LIMIT 20)
           FROM streams",
    )
    .fetch_one(snapshot.connection())
    .await?;
    let mut tally = Tally::default();
    tally.checked(u64::try_from(streams)?);
    tally.violated_by(u64::try_from(broken)?, named.into_iter().map(|what| format!("{}: {what}", role.title())));
    Ok(tally)
}

/// Nothing waits for an operator.
async fn dead_letters(snapshot: &mut Snapshot, role: Role) -> anyhow::Result<Tally> {
    let consumers: i64 =
        sqlx::query_scalar("SELECT count(DISTINCT consumer) FROM consumer_offsets WHERE topic = ANY($1)")
            .bind(topics::ALL.as_slice())
            .fetch_one(snapshot.connection())
            .await?;
    let letters: Vec<(String, i64)> = sqlx::query_as(
        "SELECT consumer || ' ' || topic || '/' || partition || ' offset ' || \"offset\" || ': ' || reason,
                count(*) OVER ()
           FROM dead_letters ORDER BY consumer, topic, partition, \"offset\" LIMIT 20",
    )
    .fetch_all(snapshot.connection())
    .await?;
    let mut tally = Tally::default();
    tally.checked(u64::try_from(consumers)?);
    let count = letters.first().map_or(0, |(_, count)| *count);
    tally.violated_by(u64::try_from(count)?, letters.into_iter().map(|(what, _)| format!("{}: {what}", role.title())));
    Ok(tally)
}
