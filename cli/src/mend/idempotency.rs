//! `sagashop idempotency`.

use super::{Store, attach, time};
use crate::args::{GlobalArgs, IdempotencyCommand, IdempotencyShowArgs, roles_of};
use crate::exit::{Code, Failure};
use crate::output::{self, Row};
use chrono::{DateTime, Utc};
use serde::Serialize;

/// Runs one of the commands.
///
/// # Errors
/// When nobody knows the key, or a store is away.
pub async fn run(global: &GlobalArgs, command: &IdempotencyCommand) -> anyhow::Result<Code> {
    match command {
        IdempotencyCommand::Show(args) => show(global, args).await,
    }
}

async fn show(global: &GlobalArgs, args: &IdempotencyShowArgs) -> anyhow::Result<Code> {
    let server = attach(global, &args.database).await?;
    let mut lines = Vec::new();
    for role in roles_of(&args.roles) {
        let store = Store::open(&server, role);
        let rows: Vec<(String, i16, i32, DateTime<Utc>)> = sqlx::query_as(
            "SELECT scope, status, octet_length(body), created_at FROM idempotency_keys WHERE key = $1 ORDER BY created_at, scope",
        )
        .bind(&args.key)
        .fetch_all(&store.pool)
        .await
        .map_err(|error| store.away(&error))?;
        lines.extend(rows.into_iter().map(|(scope, status, body_bytes, at)| Line {
            service: role.name(),
            scope,
            status,
            body_bytes,
            answered_at: time(at),
        }));
    }
    if lines.is_empty() {
        let message = "no answer is kept under this key: its request had no effect, or was made more than a day ago";
        return Err(Failure::new(Code::Failed, message).into());
    }
    output::rows(global.output, &lines)?;
    Ok(Code::Done)
}

/// An answer as a line. Its body may be personal, and is not shown.
#[derive(Serialize)]
struct Line {
    service: &'static str,
    scope: String,
    status: i16,
    body_bytes: i32,
    answered_at: String,
}

impl Row for Line {
    const COLUMNS: &'static [&'static str] = &["service", "whose", "status", "bytes", "answered"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.service.to_owned(),
            self.scope.clone(),
            self.status.to_string(),
            self.body_bytes.to_string(),
            self.answered_at.clone(),
        ]
    }
}
