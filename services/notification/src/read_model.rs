//! The read models of notifications and of webhooks as they are made from the events alone.

use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use domain::notification::webhook::{Event, Settings, Webhook};
use domain::notification::{Kind, Notification};
use event_store::Stored;
use runtime::projection::{Fold, ReadModel, Row, Table};
use uuid::Uuid;

use crate::projection::{New, Progress};

static NOTIFICATIONS: Table = Table {
    name: "notifications",
    version: 1,
    columns: &[
        "notification_id",
        "message_id",
        "channel",
        "user_id",
        "order_id",
        "kind",
        "status",
        "attempts",
        "next_attempt_at",
        "created_at",
        "sent_at",
        "sequence",
        "webhook_id",
        "why",
    ],
    kinds: &[Notification::TYPE],
    channel: None,
};

static WEBHOOKS: Table = Table {
    name: "webhooks",
    version: 1,
    columns: &["webhook_id", "address", "kinds", "note", "enabled", "created_at", "sequence"],
    kinds: &[Webhook::TYPE],
    channel: None,
};

/// A row a notification.
#[derive(Debug)]
pub struct NotificationList;

impl ReadModel for NotificationList {
    fn table(&self) -> &'static Table {
        &NOTIFICATIONS
    }

    fn begin(&self) -> Box<dyn Fold> {
        Box::new(Letter::default())
    }
}

#[derive(Default)]
struct Letter {
    id: Uuid,
    begun: Option<(New, Progress)>,
}

impl Fold for Letter {
    fn take(&mut self, event: &Stored<'_>) -> anyhow::Result<()> {
        self.id = event.aggregate_id.parse()?;
        let sequence = i64::try_from(event.sequence)?;
        for event in event.decode_all::<Notification>()? {
            let progress = Progress::of(&event, sequence);
            match (New::of(event), &mut self.begun) {
                (Some(new), begun) => *begun = Some((new, progress)),
                (None, Some((_, held))) => *held = progress.after(held),
                (None, None) => {}
            }
        }
        if let Some((_, progress)) = &mut self.begun {
            progress.sequence = sequence;
        }
        Ok(())
    }

    fn row(&self, row: &mut Row<'_>) -> anyhow::Result<()> {
        let Some((new, progress)) = &self.begun else { return Ok(()) };
        row.put(self.id)
            .put(new.message_id)
            .put(new.channel)
            .put(new.user_id)
            .put(new.order_id)
            .put(new.kind.as_str())
            .put(progress.status)
            .put(progress.attempts.unwrap_or(0))
            .put(progress.next_attempt_at)
            .put(new.created_at)
            .put(progress.sent_at)
            .put(progress.sequence)
            .put(new.webhook_id)
            .put(progress.why);
        Ok(())
    }
}

/// A row a webhook that there is.
#[derive(Debug)]
pub struct WebhookList;

impl ReadModel for WebhookList {
    fn table(&self) -> &'static Table {
        &WEBHOOKS
    }

    fn begin(&self) -> Box<dyn Fold> {
        Box::new(Listed::default())
    }
}

#[derive(Default)]
struct Listed {
    id: Uuid,
    known: Option<(Settings, DateTime<Utc>)>,
    sequence: i64,
}

impl Fold for Listed {
    fn take(&mut self, event: &Stored<'_>) -> anyhow::Result<()> {
        self.id = event.aggregate_id.parse()?;
        self.sequence = i64::try_from(event.sequence)?;
        for event in event.decode_all::<Webhook>()? {
            match (event, &mut self.known) {
                (Event::WebhookChanged { settings, .. }, Some((known, _))) => *known = settings,
                (Event::WebhookRegistered { settings, at } | Event::WebhookChanged { settings, at }, known) => {
                    *known = Some((settings, at));
                }
                (Event::WebhookSecretRotated { .. }, _) => {}
                (Event::WebhookRemoved { .. }, known) => *known = None,
            }
        }
        Ok(())
    }

    fn row(&self, row: &mut Row<'_>) -> anyhow::Result<()> {
        let Some((settings, created_at)) = &self.known else { return Ok(()) };
        let kinds: Vec<&str> = settings.kinds.iter().copied().map(Kind::as_str).collect();
        row.put(self.id)
            .put(settings.address.as_str())
            .put(&kinds[..])
            .put(settings.note.as_ref().map(|note| note.as_str()))
            .put(settings.enabled)
            .put(*created_at)
            .put(self.sequence);
        Ok(())
    }
}
