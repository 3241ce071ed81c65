//! The read model of webhooks.

use std::sync::Arc;

use async_trait::async_trait;
use cqrs_es::Aggregate;
use domain::notification::Kind;
use domain::notification::webhook::{Event, Settings, Webhook};
use event_store::RecordedEvent;
use runtime::Projection;
use runtime::projection::{Passed, ReadModel};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::read_model::WebhookList;

/// Follows the webhooks. They are few and seldom change: one statement an event will do.
pub(crate) struct Webhooks;

#[async_trait]
impl Projection for Webhooks {
    fn name(&self) -> &'static str {
        "webhooks"
    }

    fn model(&self) -> Option<Arc<dyn ReadModel>> {
        Some(Arc::new(WebhookList))
    }

    fn reads(&self, event: &RecordedEvent) -> bool {
        event.aggregate_type == Webhook::TYPE
    }

    async fn apply(&self, connection: &mut PgConnection, events: &[RecordedEvent]) -> anyhow::Result<()> {
        let mut passed = Passed::default();
        for event in events {
            let id = Uuid::parse_str(&event.aggregate_id)?;
            let sequence = i64::try_from(event.sequence)?;
            passed.note(id, sequence);
            for event in event.decode_all::<Webhook>()? {
                match event {
                    Event::WebhookRegistered { settings, at } | Event::WebhookChanged { settings, at } => {
                        write(connection, id, &settings, at, sequence).await?;
                    }
                    Event::WebhookSecretRotated { .. } => {}
                    Event::WebhookRemoved { .. } => {
                        let query = "DELETE FROM webhooks WHERE webhook_id = $1";
                        sqlx::query(query).bind(id).execute(&mut *connection).await?;
                    }
                }
            }
        }
        Ok(passed.write(connection, "webhooks", "webhook_id", "sequence").await?)
    }
}

async fn write(
    connection: &mut PgConnection,
    id: Uuid,
    settings: &Settings,
    at: chrono::DateTime<chrono::Utc>,
    sequence: i64,
) -> anyhow::Result<()> {
    sqlx::query(
        "INSERT INTO webhooks (webhook_id, address, kinds, note, enabled, created_at, sequence)
         VALUES ($1, $2, $3, $4, $5, $6, $7)
         ON CONFLICT (webhook_id) DO UPDATE
            SET address = EXCLUDED.address, kinds = EXCLUDED.kinds, note = EXCLUDED.note, enabled = EXCLUDED.enabled,
                sequence = EXCLUDED.sequence",
    )
    .bind(id)
    .bind(settings.address.as_str())
    .bind(settings.kinds.iter().copied().map(Kind::as_str).collect::<Vec<_>>())
    .bind(settings.note.as_ref().map(|note| note.as_str()))
    .bind(settings.enabled)
    .bind(at)
    .bind(sequence)
    .execute(connection)
    .await?;
    Ok(())
}
