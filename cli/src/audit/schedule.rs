//! The audit that an orchestrator runs again and again: its metrics tell the outcome.
//!
//! Of several instances one audits at a time: whoever has a lock in the sagas' database, for as long as its connection
//! lives. Two at once would only be waste, so nothing depends on it.

use super::examine::Examination;
use super::report::{Report, Verdict};
use super::since::{From, Mark};
use super::snapshot::connect;
use crate::args::{EvidenceArgs, ProviderArgs, ServerArgs};
use crate::ports::Role;
use crate::postgres::{External, Server};
use crate::progress::Progress;
use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use std::time::{Duration, Instant};
use telemetry::metrics::{Counters, Family, FloatGauges, Gauges, Label};

/// How long until another instance looks whether it is its turn.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Between two audits of everything: those between look at what has happened since the last one without a fault.
const WHOLE_EVERY: Duration = Duration::from_secs(24 * 3_600);
/// Beside a shop that runs, one part at a time.
const PARALLEL: usize = 1;

/// The checks of a report, in its order, as labels.
const CHECKS: [&str; 16] = [
    "acknowledged_is_stored",
    "contiguous_streams",
    "readable_events",
    "store_equals_broker",
    "orders_end",
    "money",
    "charged_once",
    "stock_adds_up",
    "stock_of_orders",
    "projection_equals_fold",
    "snapshot_equals_fold",
    "notified_once",
    "one_effect_a_command",
    "offsets_in_bounds",
    "no_dead_letters",
    "personal_data_sealed",
];
const CHECK: Label = Label::one_of("check", &CHECKS);

static VIOLATIONS: Gauges = Gauges::new(
    "audit_violations",
    "What violates a promise, in the last audit of this instance. Only of the instance that audits.",
    &[CHECK],
);
static UNCHECKED: Gauges = Gauges::new(
    "audit_unchecked",
    "1 where the last audit could not check all of a promise. Only of the instance that audits.",
    &[CHECK],
);
static LAST_RUN: FloatGauges = FloatGauges::new(
    "audit_last_run_timestamp_seconds",
    "When the last audit ended, in seconds since 1970. Only of the instance that audits.",
    &[],
);
static SECONDS: FloatGauges =
    FloatGauges::new("audit_duration_seconds", "How long the last audit took. Only of the instance that audits.", &[]);
static INTERVAL: FloatGauges = FloatGauges::new(
    "audit_interval_seconds",
    "How often an audit is to be begun (AUDIT_EVERY). Of every orchestrator that has been told to.",
    &[],
);
static RUNS: Counters = Counters::new(
    "audit_runs_total",
    "Audits, by outcome.",
    &[Label::one_of("outcome", &["clean", "violated", "unchecked"])],
);

/// For `docs/metrics.md`.
pub const FAMILIES: &[&Family] =
    &[VIOLATIONS.family(), UNCHECKED.family(), LAST_RUN.family(), SECONDS.family(), INTERVAL.family(), RUNS.family()];

/// Audits so often as the arguments say, for ever; if they say nothing, does nothing for ever.
///
/// # Errors
/// When the address of the databases is none.
pub async fn run(
    server: &Server,
    evidence: &EvidenceArgs,
    servers: &ServerArgs,
    provider: &ProviderArgs,
) -> anyhow::Result<()> {
    let Some(every) = evidence.audit_every else { return std::future::pending().await };
    let given = evidence.audit_database_url.as_deref().filter(|url| !url.is_empty());
    let other = given.map(External::from_url).transpose()?.map(Server::External);
    RUNS.init(&[]);
    INTERVAL.with(&[]).set(every.as_secs_f64());
    let schedule = Schedule { server: other.as_ref().unwrap_or(server), servers, provider, every };
    loop {
        match schedule.take_turns().await {
            Ok(()) => {}
            Err(error) => tracing::warn!("no audit: {error:#}"),
        }
        forget();
        tokio::time::sleep(LOOK_EVERY.min(every)).await;
    }
}

struct Schedule<'a> {
    server: &'a Server,
    servers: &'a ServerArgs,
    provider: &'a ProviderArgs,
    every: Duration,
}

impl Schedule<'_> {
    /// Audits for as long as it is this instance's turn.
    async fn take_turns(&self) -> anyhow::Result<()> {
        let mut connection = connect(self.server, Role::Orchestrator.database()).await?;
        let (mut clean, mut whole_at): (Option<Mark>, Option<Instant>) = (None, None);
        while is_our_turn(&mut connection).await? {
            let began = Instant::now();
            let is_due = whole_at.is_none_or(|at| at.elapsed() >= WHOLE_EVERY);
            let from = clean.clone().filter(|_| !is_due).map_or(From::Everything, From::Mark);
            let is_whole = from.is_everything();
            let (report, mark) = self.examine(from).await;
            tell(&report, began.elapsed());
            if mark.is_some() {
                clean = mark;
                whole_at = if is_whole { Some(began) } else { whole_at };
            }
            tokio::time::sleep(self.every.saturating_sub(began.elapsed())).await;
        }
        Ok(())
    }

    async fn examine(&self, from: From) -> (Report, Option<Mark>) {
        let examination = Examination {
            server: self.server,
            servers: self.servers,
            provider: self.provider,
            from,
            parallel: PARALLEL,
            progress: Progress::none(),
        };
        examination.examine().await
    }
}

/// Whether nobody else audits. The lock is the connection's: it may be taken again, and ends with it.
async fn is_our_turn(connection: &mut PgConnection) -> anyhow::Result<bool> {
    let query = "SELECT pg_try_advisory_lock(hashtextextended('sagashop audit', 0))";
    Ok(sqlx::query_scalar(query).fetch_one(connection).await?)
}

/// Puts a report into the metrics and the log.
fn tell(report: &Report, took: Duration) {
    for (label, check) in CHECKS.iter().zip(&report.checks) {
        VIOLATIONS.with(&[label]).set(i64::try_from(check.violated).unwrap_or(i64::MAX));
        UNCHECKED.with(&[label]).set(i64::from(check.verdict == Verdict::Unchecked));
        let (name, count, first) = (check.name, check.violated, check.ids.first());
        match check.verdict {
            Verdict::Holds => {}
            Verdict::Violated => {
                tracing::error!(audit.check = name, violated = count, first, "the audit found a broken promise");
            }
            Verdict::Unchecked => tracing::warn!(audit.check = name, reason = check.note, "the audit could not check"),
        }
    }
    let is_any = |verdict| report.checks.iter().any(|check| check.verdict == verdict);
    let outcome = match () {
        () if is_any(Verdict::Violated) => "violated",
        () if is_any(Verdict::Unchecked) => "unchecked",
        () => "clean",
    };
    RUNS.with(&[outcome]).inc();
    SECONDS.with(&[]).set(took.as_secs_f64());
    LAST_RUN.with(&[]).set(seconds(Utc::now()));
    tracing::info!(outcome, duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX), "audited");
}

fn seconds(at: DateTime<Utc>) -> f64 {
    at.timestamp_millis() as f64 / 1_000.0
}

/// What another instance tells now is no business of ours.
fn forget() {
    for label in CHECKS {
        VIOLATIONS.remove(&[label]);
        UNCHECKED.remove(&[label]);
    }
    SECONDS.remove(&[]);
    LAST_RUN.remove(&[]);
}
