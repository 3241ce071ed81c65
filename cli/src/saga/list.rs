//! Sagas as lines.

use super::{filter, store};
use crate::args::{GlobalArgs, SagaListArgs};
use crate::exit::Code;
use crate::mend::time;
use crate::output::{self, Row};
use orchestrator::inspect::{self, Found, Open, Saga};
use serde::Serialize;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

/// How often a list that is watched is looked up.
const WATCH_EVERY: Duration = Duration::from_secs(2);
/// Clears the screen, and what was on it.
const CLEAR: &str = "\x1b[H\x1b[2J\x1b[3J";

pub(super) async fn list(global: &GlobalArgs, args: &SagaListArgs) -> anyhow::Result<Code> {
    let store = store(global, &args.database).await?;
    let limit = usize::try_from(args.limit)?;
    loop {
        let found = inspect::search(&store.pool, &filter(&args.filter), limit).await;
        let sagas = found.map_err(|error| store.failed(error))?;
        if args.watch && global.output == output::Format::Table && io::stdout().is_terminal() {
            io::stdout().write_all(CLEAR.as_bytes())?;
        }
        output::rows(global.output, &sagas.iter().map(Line::of).collect::<Vec<_>>())?;
        if !args.watch {
            return Ok(Code::Done);
        }
        tokio::select! {
            () = tokio::time::sleep(WATCH_EVERY) => {}
            stopped = tokio::signal::ctrl_c() => {
                stopped?;
                return Ok(Code::Done);
            }
        }
    }
}

/// A saga as a line.
#[derive(Serialize)]
pub(super) struct Line {
    pub(super) order_id: String,
    pub(super) customer: String,
    pub(super) state: String,
    /// What it waits for.
    waits_for: Vec<Waits>,
    pub(super) total: String,
    pub(super) started_at: String,
    pub(super) duration_ms: Option<i64>,
    pub(super) deadline: Option<String>,
    pub(super) reason: Option<String>,
    pub(super) definition: i32,
}

/// A step that is waited for.
#[derive(Serialize)]
struct Waits {
    step: &'static str,
    stuck: bool,
    attempt: u32,
    attempts_max: u32,
    due: Option<String>,
    error: Option<String>,
}

impl Waits {
    fn of(open: &Open) -> Self {
        Self {
            step: open.step.as_str(),
            stuck: open.is_stuck,
            attempt: open.attempt,
            attempts_max: open.attempts_max,
            due: open.due.map(time),
            error: open.error.clone(),
        }
    }

    fn text(&self) -> String {
        let stuck = if self.stuck { "stuck at " } else { "" };
        let error = self.error.as_ref().map(|error| format!(": {error}")).unwrap_or_default();
        format!("{stuck}{} {}/{}{error}", self.step, self.attempt, self.attempts_max)
    }
}

impl Line {
    pub(super) fn of(found: &Found) -> Self {
        Self { waits_for: found.open.iter().map(Waits::of).collect(), ..Self::of_row(&found.saga) }
    }

    pub(super) fn of_row(saga: &Saga) -> Self {
        let currency = saga.currency.parse().unwrap_or(kernel::Currency::EUR);
        Self {
            order_id: saga.order_id.to_string(),
            customer: saga.user_id.to_string(),
            state: saga.state.clone(),
            waits_for: Vec::new(),
            total: kernel::Money::new(saga.total_minor, currency).to_string(),
            started_at: time(saga.started_at),
            duration_ms: saga.ended_at.map(|end| (end - saga.started_at).num_milliseconds()),
            deadline: saga.deadline.map(time),
            reason: saga.reason.clone(),
            definition: saga.definition,
        }
    }
}

impl Row for Line {
    const COLUMNS: &'static [&'static str] =
        &["order", "state", "waits for", "total", "started", "took ms", "deadline", "undone because"];
    const DISPENSABLE: &'static [usize] = &[5, 6, 4, 3];

    fn cells(&self) -> Vec<String> {
        let waits: Vec<String> = self.waits_for.iter().map(Waits::text).collect();
        vec![
            self.order_id.clone(),
            self.state.clone(),
            waits.join("\n"),
            self.total.clone(),
            self.started_at.clone(),
            self.duration_ms.map(|ms| ms.to_string()).unwrap_or_default(),
            self.deadline.clone().unwrap_or_default(),
            self.reason.clone().unwrap_or_default(),
        ]
    }
}
