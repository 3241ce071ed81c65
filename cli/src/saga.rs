//! `sagashop saga`: the sagas as their database has them, and the machine they run on.

use crate::args::{DatabaseArgs, GlobalArgs, SagaCommand, SagaListArgs, SagaShowArgs};
use crate::exit::{Code, Failure};
use crate::output::{self, Row};
use crate::ports::Role;
use crate::postgres::Server;
use orchestrator::inspect::{self, Moment, Saga};
use serde::Serialize;
use sqlx::PgPool;

/// Runs one of the commands.
///
/// # Errors
/// When there is no database to look into, or no such saga.
pub async fn run(global: &GlobalArgs, command: &SagaCommand) -> anyhow::Result<Code> {
    match command {
        SagaCommand::List(args) => list(global, args).await,
        SagaCommand::Show(args) => show(global, args).await,
        SagaCommand::Graph => {
            output::text(&orchestrator::saga::order_fulfilment::mermaid())?;
            Ok(Code::Done)
        }
    }
}

async fn list(global: &GlobalArgs, args: &SagaListArgs) -> anyhow::Result<Code> {
    let pool = pool(global, &args.database).await?;
    let sagas = inspect::list(&pool, args.state.as_deref(), None, i64::from(args.limit)).await?;
    output::rows(global.output, &sagas.iter().map(Line::of).collect::<Vec<_>>())?;
    Ok(Code::Done)
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
    let server = Server::attach(&database.options(global)?).await?;
    let Some(server) = server else {
        let message = "no shop runs here: start one with `sagashop up`, or name its database with DATABASE_URL";
        return Err(Failure::new(Code::Unavailable, message).into());
    };
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
