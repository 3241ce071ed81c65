//! REST: what customers were told and are to be told, and webhooks.

mod notifications;
mod preferences;
mod webhooks;
mod words;

use std::sync::Arc;
use std::time::Duration;

use event_store::PgStore;
use poem_openapi::Tags;
use sqlx::PgPool;
use web::{Idempotency, Problem};

use crate::commands::Desk;
use crate::webhooks::{Guard, Secrets};

pub(crate) const TITLE: &str = "Sagashop notifications";

#[derive(Tags)]
enum Tag {
    /// What customers were told.
    Notifications,
    /// What they want to be told.
    Preferences,
    /// News for other systems, posted to their addresses. Each call is signed: the header `Sagashop-Signature` is
    /// `t=<unix seconds>,v1=<hex>` with HMAC-SHA256, under the webhook's secret, of `<unix seconds>.<body>`. A call that
    /// is not answered with 2xx within ten seconds is made again: after 5 s, 20 s, 80 s, 5 min, 21 min, 85 min and then
    /// every six hours at most, nine times in all. Its body and its `id` are the same each time. What has failed by then
    /// is listed at `/notifications?channel=webhook&status=failed` and can be sent once more from there.
    Webhooks,
}

/// The notification service's API, in three parts.
pub(crate) type Api = (notifications::Api, preferences::Api, webhooks::Api);

/// What webhooks need beside the database, where there are any.
pub(crate) struct Reception {
    pub(crate) secrets: Secrets,
    pub(crate) guard: Guard,
}

pub(crate) fn api(
    pool: PgPool,
    desk: Desk,
    keys: Idempotency,
    store: Arc<PgStore>,
    reception: Option<Reception>,
) -> Api {
    let notifications = notifications::Api::new(pool.clone(), desk.clone(), keys.clone(), store);
    (notifications, preferences::Api::new(desk.clone()), webhooks::Api::new(pool, desk, keys, reception))
}

fn unavailable(error: impl std::fmt::Display) -> Problem {
    tracing::warn!(%error, "notifications cannot be read");
    Problem::unavailable("Notifications cannot be read at present", Duration::from_secs(1))
}
