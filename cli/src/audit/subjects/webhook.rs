use super::first;
use crate::audit::walk::Subject;
use domain::notification::Webhook;
use sqlx::FromRow;
use uuid::Uuid;

#[derive(Default)]
pub(in crate::audit) struct Webhooks;

#[derive(FromRow)]
pub(in crate::audit) struct Row {
    webhook_id: Uuid,
    address: String,
    kinds: Vec<String>,
    note: Option<String>,
    enabled: bool,
    sequence: i64,
}

impl Subject for Webhooks {
    type Aggregate = Webhook;
    type Row = Row;

    const TABLE: &'static str = "webhooks";
    const KEY: &'static str = "webhook_id";
    const ONCE: &'static [&'static str] = &["webhook_registered", "webhook_removed"];

    fn key(row: &Row) -> Uuid {
        row.webhook_id
    }

    fn sequence(row: &Row) -> i64 {
        row.sequence
    }

    fn difference(&self, row: &Row, state: &Webhook) -> Option<&'static str> {
        let Some(registered) = state.registered() else { return Some("webhook_id") };
        let settings = &registered.settings;
        first([
            ("address", row.address == settings.address.as_str()),
            ("kinds", row.kinds.iter().map(String::as_str).eq(settings.kinds.iter().map(|kind| kind.as_str()))),
            ("note", row.note.as_deref() == settings.note.as_ref().map(|note| note.as_str())),
            ("enabled", row.enabled == settings.enabled),
        ])
    }

    fn has_row(state: &Webhook) -> bool {
        state.registered().is_some()
    }
}
