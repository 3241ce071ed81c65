//! `sagashop ops`: what operators did.

use super::{Store, attach, time};
use crate::args::{GlobalArgs, OpsCommand, OpsLogArgs, roles_of};
use crate::exit::Code;
use crate::output::{self, Row};
use chrono::{DateTime, Utc};
use event_store::{OPERATION, Operation};
use serde::Serialize;

/// Runs one of the commands.
///
/// # Errors
/// When a store is away.
pub async fn run(global: &GlobalArgs, command: &OpsCommand) -> anyhow::Result<Code> {
    match command {
        OpsCommand::Log(args) => log(global, args).await,
    }
}

async fn log(global: &GlobalArgs, args: &OpsLogArgs) -> anyhow::Result<Code> {
    let server = attach(global, &args.database).await?;
    let mut entries = Vec::new();
    for role in roles_of(&args.roles) {
        entries.extend(entries_of(&Store::open(&server, role), args).await?);
    }
    entries.sort_by_key(|(at, _)| *at);
    let limit = usize::try_from(args.limit).unwrap_or(usize::MAX);
    let latest = entries.split_off(entries.len().saturating_sub(limit));
    output::rows(global.output, &latest.into_iter().map(|(_, entry)| entry).collect::<Vec<_>>())?;
    Ok(Code::Done)
}

async fn entries_of(store: &Store, args: &OpsLogArgs) -> anyhow::Result<Vec<(DateTime<Utc>, Entry)>> {
    let actor = args.operator.as_ref().map(|name| format!("operator:{name}"));
    let rows: Vec<(DateTime<Utc>, String, String, String)> = sqlx::query_as(
        "SELECT recorded_at, aggregate_id, coalesce(metadata ->> 'actor', ''), payload::text
           FROM events
          WHERE aggregate_type = $1 AND ($2::text IS NULL OR metadata ->> 'actor' = $2)
          ORDER BY recorded_at DESC LIMIT $3",
    )
    .bind(OPERATION)
    .bind(actor)
    .bind(i64::from(args.limit))
    .fetch_all(&store.pool)
    .await
    .map_err(|error| store.away(&error))?;
    rows.into_iter()
        .map(|(at, id, actor, payload)| {
            let operation: Operation = serde_json::from_str(&payload)?;
            let Operation { act, target, reason } = operation;
            Ok((at, Entry { at: time(at), service: store.role.name(), id, actor, act, target, reason }))
        })
        .collect()
}

/// An act as a line.
#[derive(Serialize)]
struct Entry {
    at: String,
    service: &'static str,
    id: String,
    actor: String,
    act: String,
    target: serde_json::Value,
    reason: Option<String>,
}

impl Row for Entry {
    const COLUMNS: &'static [&'static str] = &["at", "service", "by", "what", "to", "why"];

    fn cells(&self) -> Vec<String> {
        let fields = self.target.as_object().into_iter().flatten();
        let text = |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let target: Vec<String> = fields.map(|(name, value)| format!("{name} {}", text(value))).collect();
        vec![
            self.at.clone(),
            self.service.to_owned(),
            self.actor.clone(),
            self.act.clone(),
            target.join(", "),
            self.reason.clone().unwrap_or_default(),
        ]
    }
}
