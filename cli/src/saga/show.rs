//! One saga, whole.

use super::list::Line;
use super::store;
use crate::args::{GlobalArgs, SagaShowArgs};
use crate::exit::{Code, Failure};
use crate::mend::time;
use crate::output::{self, Row};
use orchestrator::inspect::{self, Asked, Moment, Story};
use orchestrator::saga::order_fulfilment::Status;
use serde::Serialize;
use serde_json::json;

pub(super) async fn show(global: &GlobalArgs, args: &SagaShowArgs) -> anyhow::Result<Code> {
    let store = store(global, &args.database).await?;
    let story = inspect::story(&store.pool, args.id).await.map_err(|error| store.failed(error))?;
    let Some(story) = story else {
        return Err(Failure::new(Code::Failed, format!("there is no saga for order {}", args.id)).into());
    };
    let trace_id = story.moments.iter().find_map(|moment| moment.trace_id.clone());
    let trace_url = trace_id.as_deref().and_then(telemetry::trace_url);
    let head = Head::of(&story, trace_url.clone().or_else(|| trace_id.clone()));
    let steps: Vec<Step> = story.steps.iter().map(Step::of).collect();
    let timeline: Vec<Entry> = story.moments.iter().map(Entry::of).collect();
    if global.output == output::Format::Table {
        output::one(global.output, &head)?;
        output::text("\nWhat was asked for")?;
        output::rows(global.output, &steps)?;
        output::text("\nWhat happened")?;
        output::rows(global.output, &timeline)?;
        return Ok(Code::Done);
    }
    let shown = json!({
        "saga": head.saga, "paused_at": head.paused_at, "kept": head.kept, "next_timer": head.next_timer,
        "steps": steps, "timeline": timeline, "trace_id": trace_id, "trace_url": trace_url,
    });
    let is_one_line = global.output == output::Format::Jsonl;
    output::text(&if is_one_line { shown.to_string() } else { serde_json::to_string_pretty(&shown)? })?;
    Ok(Code::Done)
}

/// What there is to say of a saga in a few lines.
#[derive(Serialize)]
struct Head {
    saga: Line,
    paused_at: Option<String>,
    kept: Vec<&'static str>,
    next_timer: Option<String>,
    trace: Option<String>,
}

impl Head {
    fn of(story: &Story, trace: Option<String>) -> Self {
        Self {
            saga: Line::of_row(&story.saga),
            paused_at: story.paused_at.map(time),
            kept: story.kept.clone(),
            next_timer: story.timer.map(time),
            trace,
        }
    }
}

impl Row for Head {
    const COLUMNS: &'static [&'static str] = &[
        "order",
        "customer",
        "state",
        "total",
        "definition",
        "started",
        "took ms",
        "undone because",
        "next deadline",
        "timer set for",
        "paused since",
        "kept meanwhile",
        "trace",
    ];

    fn cells(&self) -> Vec<String> {
        let Line { order_id, customer, state, total, definition, started_at, duration_ms, reason, deadline, .. } =
            &self.saga;
        let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        vec![
            order_id.clone(),
            customer.clone(),
            state.clone(),
            total.clone(),
            definition.to_string(),
            started_at.clone(),
            or_none(&duration_ms.map(|ms| ms.to_string())),
            or_none(reason),
            or_none(deadline),
            or_none(&self.next_timer),
            or_none(&self.paused_at),
            if self.kept.is_empty() { "-".to_owned() } else { self.kept.join(", ") },
            or_none(&self.trace),
        ]
    }
}

/// A step as a line.
#[derive(Serialize)]
struct Step {
    step: String,
    lane: &'static str,
    status: &'static str,
    attempt: u32,
    attempts_max: u32,
    asked_at: Option<String>,
    answered_at: Option<String>,
    next: Option<String>,
    command_id: String,
    reference: Option<String>,
    error: Option<String>,
}

impl Step {
    fn of(asked: &Asked) -> Self {
        Self {
            step: asked.step.clone(),
            lane: lane(asked.goes_back),
            status: match asked.status {
                Status::Waiting => "waiting",
                Status::Done => "done",
                Status::Failed if asked.due.is_some() => "refused, asked again",
                Status::Failed => "refused",
                Status::InDoubt => "in doubt",
                Status::Stuck => "stuck",
                Status::Skipped => "skipped",
            },
            attempt: asked.attempt,
            attempts_max: asked.attempts_max,
            asked_at: asked.asked_at.map(time),
            answered_at: asked.answered_at.map(time),
            next: asked.due.map(time),
            command_id: asked.command_id.to_string(),
            reference: asked.reference.clone(),
            error: asked.error.clone(),
        }
    }
}

impl Row for Step {
    const COLUMNS: &'static [&'static str] =
        &["lane", "step", "status", "attempt", "asked", "answered", "next", "answer"];
    const DISPENSABLE: &'static [usize] = &[5, 6];

    fn cells(&self) -> Vec<String> {
        let answer = self.reference.iter().chain(&self.error).cloned().collect::<Vec<_>>();
        vec![
            self.lane.to_owned(),
            self.step.clone(),
            self.status.to_owned(),
            format!("{} of {}", self.attempt, self.attempts_max),
            self.asked_at.as_deref().map(of_day).unwrap_or_default(),
            self.answered_at.as_deref().map(of_day).unwrap_or_default(),
            self.next.as_deref().map(of_day).unwrap_or_default(),
            answer.join("; "),
        ]
    }
}

/// The time of the day, which is enough beside the moment at which it began.
fn of_day(at: &str) -> String {
    at.split_once('T').map_or(at, |(_, of_day)| of_day.trim_end_matches('Z')).to_owned()
}

fn lane(goes_back: bool) -> &'static str {
    if goes_back { "compensation" } else { "forward" }
}

/// A moment as a line.
#[derive(Serialize)]
struct Entry {
    sequence: u64,
    at: String,
    lane: &'static str,
    input: Option<&'static str>,
    output: Option<&'static str>,
    attempt: Option<u32>,
    event: String,
    text: String,
    actor: String,
}

impl Entry {
    fn of(moment: &Moment) -> Self {
        Self {
            sequence: moment.sequence,
            at: time(moment.at),
            lane: lane(moment.goes_back),
            input: moment.input,
            output: moment.output.map(|(command, _)| command),
            attempt: moment.output.map(|(_, attempt)| attempt),
            event: moment.event.clone(),
            text: moment.text.clone(),
            actor: moment.actor.clone(),
        }
    }
}

impl Row for Entry {
    const COLUMNS: &'static [&'static str] = &["#", "at", "lane", "in", "out", "what happened", "by"];
    const DISPENSABLE: &'static [usize] = &[2, 3, 4];

    fn cells(&self) -> Vec<String> {
        vec![
            self.sequence.to_string(),
            of_day(&self.at),
            self.lane.to_owned(),
            self.input.unwrap_or_default().to_owned(),
            self.output.unwrap_or_default().to_owned(),
            self.text.clone(),
            self.actor.clone(),
        ]
    }
}
