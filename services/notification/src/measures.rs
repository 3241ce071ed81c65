//! What is counted of notifications.

use chrono::{DateTime, Utc};
use domain::notification::{Channel, Failure};
use sqlx::PgPool;
use telemetry::metrics::{Counters, Family, Gauges, Histograms, LONG_SECONDS, Label};

const CHANNELS: &[&str] = &["log", "email", "webhook"];
const CHANNEL: Label = Label::one_of("channel", CHANNELS);
const WAITING_STATUSES: &[&str] = &["queued", "retrying"];

static SENT: Counters = Counters::new(
    "notifications_sent_total",
    "Notifications sent.",
    &[Label::one_of(
        "event_type",
        &[
            "user_registered",
            "order_created",
            "order_confirmed",
            "order_cancelled",
            "payment_success",
            "payment_failed",
            "payment_refunded",
            "other",
        ],
    )],
);
static ATTEMPTS_FAILED: Counters = Counters::new(
    "notification_attempts_failed_total",
    "Attempts at a notification that failed.",
    &[
        CHANNEL,
        Label::one_of(
            "failure",
            &["unreachable", "timed_out", "refused_for_now", "refused", "no_recipient", "forbidden_address", "other"],
        ),
    ],
);
static UNSENT: Counters = Counters::new(
    "notifications_unsent_total",
    "Notifications that ended unsent: failed for good, or skipped.",
    &[CHANNEL, Label::one_of("status", &["failed", "skipped"])],
);
static DELIVERY: Histograms = Histograms::new(
    "notification_delivery_seconds",
    "From the moment at which a notification was queued until it was sent.",
    &[CHANNEL],
    LONG_SECONDS,
);
static WAITING: Gauges = Gauges::new(
    "notifications_waiting",
    "Notifications that are not sent yet, counted up to 10000. From the database.",
    &[CHANNEL, Label::one_of("status", WAITING_STATUSES)],
);

/// All of them, for `docs/metrics.md`.
pub const FAMILIES: &[&Family] =
    &[SENT.family(), ATTEMPTS_FAILED.family(), UNSENT.family(), DELIVERY.family(), WAITING.family()];

/// Shows what can be shown before anything has happened.
pub(crate) fn init() {
    SENT.init(&[]);
    UNSENT.init(&[]);
    DELIVERY.init(&[]);
    WAITING.init(&[]);
}

pub(crate) fn sent(template: &str, channel: Channel, queued_at: DateTime<Utc>, now: DateTime<Utc>) {
    SENT.with(&[template]).inc();
    DELIVERY.with(&[channel.as_str()]).observe((now - queued_at).to_std().unwrap_or_default().as_secs_f64());
}

pub(crate) fn skipped(channel: Channel) {
    UNSENT.with(&[channel.as_str(), "skipped"]).inc();
}

/// An attempt failed, and perhaps it was the last one.
pub(crate) fn failed(channel: Channel, failure: Failure, for_good: bool) {
    ATTEMPTS_FAILED.with(&[channel.as_str(), failure.as_str()]).inc();
    if for_good {
        UNSENT.with(&[channel.as_str(), "failed"]).inc();
    }
}

/// Looks how many wait.
pub(crate) async fn look(pool: PgPool) -> anyhow::Result<()> {
    let found: Vec<(String, String, i64)> = sqlx::query_as(
        "SELECT channel, status, count(*)
           FROM (SELECT channel, status FROM notifications WHERE next_attempt_at IS NOT NULL LIMIT 10000) AS few
          GROUP BY channel, status",
    )
    .fetch_all(&pool)
    .await?;
    for channel in CHANNELS {
        for status in WAITING_STATUSES {
            let count =
                found.iter().find(|(of, is, _)| of == channel && is == status).map_or(0, |(_, _, count)| *count);
            WAITING.with(&[channel, status]).set(count);
        }
    }
    Ok(())
}
