//! `sagashop ops`: what operators did.

use super::{Store, attach, time};
use crate::args::{GlobalArgs, OpsCommand, OpsLogArgs, roles_of};
use crate::exit::Code;
use crate::output::{self, Row};
use chrono::{DateTime, Utc};
use event_store::{OPERATION, Operation};
use serde::Serialize;
use serde_json::Value;

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
    target: Value,
    reason: Option<String>,
}

impl Row for Entry {
    const COLUMNS: &'static [&'static str] = &["at", "service", "by", "what", "to", "why"];
    const DISPENSABLE: &'static [usize] = &[1];

    fn cells(&self) -> Vec<String> {
        vec![
            self.at.clone(),
            self.service.to_owned(),
            self.actor.strip_prefix("operator:").unwrap_or(&self.actor).to_owned(),
            self.act.clone(),
            object(&self.target),
            self.reason.clone().unwrap_or_default(),
        ]
    }
}

/// What an act was done to, in a few words; all of it is in the JSON.
fn object(target: &Value) -> String {
    let text = |name: &str| match &target[name] {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    };
    let step = text("from").filter(|_| !target["order_id"].is_null()).map(|step| format!("from {step}"));
    let place = || {
        let parts = ["topic", "partition", "offset"].map(text);
        parts.into_iter().flatten().collect::<Vec<_>>().join("/")
    };
    let moved = || match (&target["from"], &target["to"]) {
        (Value::Number(from), Value::Number(to)) => Some(format!("{from} → {to}")),
        _ => None,
    };
    let words = match text("order_id") {
        Some(order) => vec![Some(order), step],
        None if target["topic"].is_null() => {
            vec![
                text("follower").or_else(|| text("projection")),
                text("events").map(|events| format!("{events} events")),
            ]
        }
        None => vec![text("consumer"), Some(place()), text("key").filter(|_| target["offset"].is_null()), moved()],
    };
    let words: Vec<String> = words.into_iter().flatten().filter(|word| !word.is_empty()).collect();
    if words.is_empty() { target.to_string() } else { words.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_act_is_told_in_a_few_words() {
        for (target, told) in [
            (json!({ "order_id": "o" }), "o"),
            (json!({ "order_id": "o", "from": "commit_stock" }), "o from commit_stock"),
            (
                json!({ "consumer": "c", "topic": "t", "partition": 2, "offset": 7, "key": "k", "sha256": "…" }),
                "c t/2/7",
            ),
            (json!({ "consumer": "c", "topic": "t", "key": "k" }), "c t k"),
            (json!({ "consumer": "c", "topic": "t", "partition": 2, "from": 9, "to": 4 }), "c t/2 9 → 4"),
            (json!({ "follower": "relay", "events": 5, "from": {}, "to": {} }), "relay 5 events"),
            (json!({ "of": "tomorrow" }), r#"{"of":"tomorrow"}"#),
        ] {
            assert_eq!(object(&target), told);
        }
    }
}
