//! What one service's store tells.

use super::answers;
use super::messages::Messages;
use super::report::Tally;
use super::since::Mark;
use super::snapshot::Snapshot;
use super::topics::Bounds;
use crate::ports::Role;
use broker::TopicPartition;
use event_schemas::topics;
use event_store::Cursor;

/// The checks that stores can answer by themselves.
#[derive(Default)]
pub(super) struct Checks {
    pub(super) acknowledged: Tally,
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
    pub(super) fn unchecked(role: Role, reason: &str) -> Self {
        let unknown = || Tally::unchecked(reason);
        let of = |concerned: Role| if role == concerned { unknown() } else { Tally::default() };
        Self {
            acknowledged: of(Role::Order),
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
        self.acknowledged.merge(other.acknowledged);
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

/// What one service's store tells, or some of its streams do.
pub(super) struct Findings {
    pub(super) checks: Checks,
    pub(super) messages: Messages,
    pub(super) standing: Vec<Standing>,
}

/// How far a consumer has come in a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) consumer: String,
    pub(super) place: TopicPartition,
    pub(super) epoch: i64,
    pub(super) next_offset: i64,
}

impl Findings {
    /// Nothing so far.
    pub(super) fn new(messages: Messages) -> Self {
        Self { checks: Checks::default(), messages, standing: Vec::new() }
    }

    /// What needs no walk through the streams; those of `walked` kinds are walked through.
    pub(super) async fn look(&mut self, snapshot: &mut Snapshot, role: Role, walked: &[&str]) -> anyhow::Result<()> {
        self.checks.contiguous.merge(contiguous(snapshot, role, walked).await?);
        self.checks.dead_letters.merge(dead_letters(snapshot, role).await?);
        if role == Role::Order {
            self.checks.acknowledged.merge(answers::of_orders(snapshot).await?);
        }
        self.followers(snapshot, role).await?;
        self.consumers(snapshot, role).await
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
                let place = TopicPartition::new(topic, partition);
                self.standing.push(Standing { consumer, place, epoch, next_offset });
            }
        }
        Ok(())
    }

    /// Nobody stands before the place where it stood at the mark.
    pub(super) async fn only_forward(
        &mut self,
        snapshot: &mut Snapshot,
        role: Role,
        mark: &Mark,
        since: Cursor,
    ) -> anyhow::Result<()> {
        let moved: Vec<(String, String)> = sqlx::query_as(
            "SELECT o.payload -> 'target' ->> 'consumer',
                    concat(o.payload -> 'target' ->> 'topic', '/', o.payload -> 'target' ->> 'partition')
               FROM events o
              WHERE o.aggregate_type = $1 AND o.event_type = 'offset_set'
                AND (o.transaction_id, o.position) > ($2::text::xid8, $3)
                AND o.payload -> 'target' ->> 'consumer' IS NOT NULL",
        )
        .bind(event_store::OPERATION)
        .bind(since.transaction_id.to_string())
        .bind(since.position)
        .fetch_all(snapshot.connection())
        .await?;
        for standing in &self.standing {
            if let Some(how) = mark.fallen(role, standing, &moved) {
                let Standing { consumer, place, .. } = standing;
                self.checks.offsets.violated(|| format!("{}: {consumer} {place}: {how}", role.title()));
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
        for Standing { consumer, place, next_offset, .. } in &self.standing {
            let (first, end) = bounds.get(place).copied().unwrap_or_default();
            if !(first..=end).contains(next_offset) {
                self.checks.offsets.violated(|| {
                    format!("{}: {consumer} {place} is at {next_offset}, outside {first}..={end}", role.title())
                });
            }
        }
    }
}

/// Every stream of a kind that is not walked through is 1..n.
async fn contiguous(snapshot: &mut Snapshot, role: Role, walked: &[&str]) -> anyhow::Result<Tally> {
    let kinds = snapshot.kinds().await?;
    let mut tally = Tally::default();
    for kind in kinds.into_iter().filter(|kind| !walked.contains(&kind.as_str())) {
        let (streams, broken, named): (i64, i64, Vec<String>) = sqlx::query_as(
            "WITH numbered AS (
                SELECT aggregate_id, sequence, row_number() OVER (PARTITION BY aggregate_id ORDER BY sequence) AS number
                  FROM events WHERE aggregate_type = $1
             ), streams AS (
                SELECT aggregate_id, max(sequence) AS last, count(*) AS events, bool_or(sequence <> number) AS is_broken
                  FROM numbered GROUP BY aggregate_id
             )
             SELECT count(*), count(*) FILTER (WHERE is_broken),
                    ARRAY(SELECT $1 || ' ' || aggregate_id || ': ' || events || ' events, the last is ' || last
                            FROM streams WHERE is_broken ORDER BY aggregate_id LIMIT 20)
               FROM streams",
        )
        .bind(&kind)
        .fetch_one(snapshot.connection())
        .await?;
        tally.checked(u64::try_from(streams)?);
        tally.violated_by(u64::try_from(broken)?, named.into_iter().map(|what| format!("{}: {what}", role.title())));
    }
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
