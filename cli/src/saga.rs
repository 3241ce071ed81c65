//! `sagashop saga`: the sagas as their database has them, and the machine they run on.

mod bulk;

use crate::args::{DatabaseArgs, GlobalArgs, SagaCommand, SagaFilterArgs, SagaListArgs, SagaShowArgs};
use crate::exit::{Code, Failure};
use crate::mend::attach;
use crate::output::{self, Row};
use crate::ports::Role;
use event_store::clock;
use orchestrator::inspect::{self, Moment, Saga};
use orchestrator::operate::Act;
use serde::Serialize;
use sqlx::PgPool;
use std::time::Duration;

/// How often a list that is watched is looked up.
const WATCH_EVERY: Duration = Duration::from_secs(2);

/// Runs one of the commands.
///
/// # Errors
/// When there is no database to look into, or no such saga.
pub async fn run(global: &GlobalArgs, command: &SagaCommand) -> anyhow::Result<Code> {
    match command {
        SagaCommand::List(args) => list(global, args).await,
        SagaCommand::Show(args) => show(global, args).await,
        SagaCommand::Retry(args) => bulk::act(global, args, Act::Retry).await,
        SagaCommand::Skip(args) => bulk::act(global, args, Act::Skip).await,
        SagaCommand::Cancel(args) => bulk::act(global, args, Act::Cancel).await,
        SagaCommand::Graph => {
            output::text(&orchestrator::saga::order_fulfilment::mermaid())?;
            Ok(Code::Done)
        }
    }
}

async fn list(global: &GlobalArgs, args: &SagaListArgs) -> anyhow::Result<Code> {
    let pool = pool(global, &args.database).await?;
    loop {
        let sagas = inspect::search(&pool, &filter(&args.filter), i64::from(args.limit)).await?;
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

/// What the flags mean now.
fn filter(args: &SagaFilterArgs) -> inspect::Filter {
    let age = args.age.and_then(|age| chrono::TimeDelta::from_std(age).ok());
    inspect::Filter {
        state: args.state.clone(),
        begun_before: age.and_then(|age| clock::system().now().checked_sub_signed(age)),
        step: args.step.clone(),
        error: args.error.clone(),
        customer: args.customer,
        orders: None,
    }
}

async fn show(global: &GlobalArgs, args: &SagaShowArgs) -> anyhow::Result<Code> {
    let pool = pool(global, &args.database).await?;
    let Some(saga) = inspect::find(&pool, args.id).await? else {
        return Err(Failure::new(Code::Failed, format!("there is no saga for order {}", args.id)).into());
    };
    let moments = inspect::timeline(&pool, args.id).await?;
    let trace_id = moments.iter().find_map(|moment| moment.trace_id.clone());
    let trace_url = trace_id.as_deref().and_then(telemetry::trace_url);
    if global.output == output::Format::Table {
        output::one(global.output, &Line::of(&saga))?;
        output::rows(global.output, &moments.iter().map(Entry::of).collect::<Vec<_>>())?;
        if let Some(trace) = trace_url.or(trace_id) {
            output::text(&format!("trace: {trace}"))?;
        }
    } else {
        let timeline: Vec<Entry> = moments.iter().map(Entry::of).collect();
        let shown = serde_json::json!({ "saga": Line::of(&saga), "timeline": timeline, "trace_id": trace_id, "trace_url": trace_url });
        output::text(&shown.to_string())?;
    }
    Ok(Code::Done)
}

/// The orchestrator's database, on a server that runs.
async fn pool(global: &GlobalArgs, database: &DatabaseArgs) -> anyhow::Result<PgPool> {
    let server = attach(global, database).await?;
    Ok(runtime::service::pool(server.options(Role::Orchestrator.database()), "saga", 2))
}

/// A saga as a line.
#[derive(Serialize)]
struct Line {
    order_id: String,
    state: String,
    total: String,
    started_at: String,
    duration_ms: Option<i64>,
    deadline: Option<String>,
    stuck: Option<String>,
    reason: Option<String>,
}

impl Line {
    fn of(saga: &Saga) -> Self {
        let currency = saga.currency.parse().unwrap_or(kernel::Currency::EUR);
        Self {
            order_id: saga.order_id.to_string(),
            state: saga.state.clone(),
            total: kernel::Money::new(saga.total_minor, currency).to_string(),
            started_at: saga.started_at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true),
            duration_ms: saga.ended_at.map(|end| (end - saga.started_at).num_milliseconds()),
            deadline: saga.deadline.map(|at| at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)),
            stuck: saga.stuck.clone(),
            reason: saga.reason.clone(),
        }
    }
}

impl Row for Line {
    const COLUMNS: &'static [&'static str] =
        &["order", "state", "total", "started", "took ms", "deadline", "stuck", "reason"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.order_id.clone(),
            self.state.clone(),
            self.total.clone(),
            self.started_at.clone(),
            self.duration_ms.map(|ms| ms.to_string()).unwrap_or_default(),
            self.deadline.clone().unwrap_or_default(),
            self.stuck.clone().unwrap_or_default(),
            self.reason.clone().unwrap_or_default(),
        ]
    }
}

/// A moment as a line.
#[derive(Serialize)]
struct Entry {
    sequence: u64,
    at: String,
    event: String,
    text: String,
    actor: String,
}

impl Entry {
    fn of(moment: &Moment) -> Self {
        Self {
            sequence: moment.sequence,
            at: moment.at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true),
            event: moment.event.clone(),
            text: moment.text.clone(),
            actor: moment.actor.clone(),
        }
    }
}

impl Row for Entry {
    const COLUMNS: &'static [&'static str] = &["#", "at", "event", "what happened", "by"];

    fn cells(&self) -> Vec<String> {
        vec![self.sequence.to_string(), self.at.clone(), self.event.clone(), self.text.clone(), self.actor.clone()]
    }
}
