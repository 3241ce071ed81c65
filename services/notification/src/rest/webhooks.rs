//! Webhooks: for administrators.

use std::sync::Arc;

use domain::notification;
use domain::notification::webhook::{Registered, Settings};
use kernel::WebhookId;
use poem_openapi::param::Path;
use poem_openapi::payload::Json;
use poem_openapi::types::Example;
use poem_openapi::{ApiResponse, Object, OpenApi};
use sqlx::PgPool;
use uuid::Uuid;
use web::auth::Admin;
use web::{Answered, Idempotency, IdempotencyKey, Problem, RequestContext, Text, Timestamp};

use super::words::Kind;
use super::{Reception, Tag, unavailable};
use crate::commands::Desk;
use crate::queries;

/// Each message is told to each of them.
const WEBHOOKS_MAX: usize = 50;

/// A webhook.
#[derive(Object)]
struct Webhook {
    /// Its id.
    id: Uuid,
    /// Where news is posted to.
    url: String,
    /// Of what.
    kinds: Vec<String>,
    /// What it is for.
    #[oai(skip_serializing_if_is_none)]
    description: Option<String>,
    /// Whether it is called at all.
    enabled: bool,
    /// When it was registered.
    created_at: Timestamp,
}

/// What there is to choose about a webhook.
#[derive(Object)]
#[oai(deny_unknown_fields, example)]
struct Chosen {
    /// `https://…` or `http://…`, without user, password and fragment, and not into a private network.
    #[oai(validator(max_length = 2048))]
    url: Text,
    /// Of what news: all kinds, where this is left out.
    #[oai(validator(min_items = 1, max_items = 20))]
    kinds: Option<Vec<Kind>>,
    /// What it is for: 1 to 200 characters.
    #[oai(validator(min_length = 1, max_length = 200))]
    description: Option<Text>,
    /// Whether it is called at all.
    #[oai(default = "on")]
    enabled: bool,
}

fn on() -> bool {
    true
}

impl Example for Chosen {
    fn example() -> Self {
        Self {
            url: Text::from("https://hooks.example.org/sagashop"),
            kinds: Some(vec![Kind::OrderConfirmed, Kind::OrderCancelled]),
            description: Some(Text::from("Parcel slips")),
            enabled: true,
        }
    }
}

/// A webhook's secret.
#[derive(Object)]
struct Secret {
    /// What calls are signed with: `whsec_…`.
    secret: String,
    /// The how-manieth it is, from 1 on.
    generation: u32,
}

#[derive(ApiResponse)]
enum Created {
    /// The new webhook. Its secret is at `/notifications/webhooks/{id}/secret`.
    #[oai(status = 201)]
    Webhook(Json<Webhook>),
}

#[derive(ApiResponse)]
enum Rotated {
    /// It has a new secret. For 24 hours calls are signed with the old one too.
    #[oai(status = 200)]
    Webhook(Json<Webhook>),
}

#[derive(ApiResponse)]
enum Removed {
    /// It is gone. Calls that were still to be made are skipped.
    #[oai(status = 204)]
    Gone,
}

#[derive(Clone)]
pub(crate) struct Api {
    pool: PgPool,
    desk: Desk,
    keys: Idempotency,
    reception: Option<Arc<Reception>>,
}

#[OpenApi]
impl Api {
    /// List webhooks, the oldest first
    #[oai(path = "/notifications/webhooks", method = "get", operation_id = "listWebhooks", tag = "Tag::Webhooks")]
    async fn list(&self, _admin: Admin) -> Result<Json<Vec<Webhook>>, Problem> {
        let rows = queries::webhooks(&self.pool).await.map_err(unavailable)?;
        let listed = rows.into_iter().map(|row| Webhook {
            id: row.webhook_id,
            url: row.address,
            kinds: row.kinds,
            description: row.note,
            enabled: row.enabled,
            created_at: Timestamp(row.created_at),
        });
        Ok(Json(listed.collect()))
    }

    /// Register a webhook
    #[oai(path = "/notifications/webhooks", method = "post", operation_id = "createWebhook", tag = "Tag::Webhooks")]
    async fn create(
        &self,
        context: RequestContext,
        admin: Admin,
        /// Any text of your own. Sent again with the same key and body, the webhook is registered once.
        #[oai(name = "Idempotency-Key")]
        key: IdempotencyKey,
        body: Json<Chosen>,
    ) -> Result<Answered<Created>, Problem> {
        let settings = self.settings(body.0)?;
        let create = |ticket: web::Ticket| async move {
            let count = queries::webhooks(&self.pool).await.map_err(unavailable)?.len();
            if count >= WEBHOOKS_MAX {
                return Err(Problem::conflict(format!("There are {WEBHOOKS_MAX} webhooks already: remove one")));
            }
            let id = self.desk.new_webhook_id();
            let created = |of: &Registered| Created::Webhook(Json(shown(id, of)));
            let answering =
                |webhook: &notification::Webhook, _| webhook.registered().and_then(|of| ticket.answer(|| created(of)));
            let origin = self.desk.origin(&context, admin.0.user_id);
            Ok(created(registered(&self.desk.register(id, settings, &origin, &answering).await?)?))
        };
        self.keys.once(&key, Some(&admin.0), create).await
    }

    /// Get a webhook
    #[oai(path = "/notifications/webhooks/:id", method = "get", operation_id = "getWebhook", tag = "Tag::Webhooks")]
    async fn get(&self, _admin: Admin, id: Path<Uuid>) -> Result<Json<Webhook>, Problem> {
        let id = WebhookId(id.0);
        let webhook = self.desk.webhook(id).await?;
        Ok(Json(shown(id, registered(&webhook)?)))
    }

    /// Change a webhook
    ///
    /// All of it is replaced: what is left out is as if it had been left out at first.
    #[oai(path = "/notifications/webhooks/:id", method = "put", operation_id = "updateWebhook", tag = "Tag::Webhooks")]
    async fn update(
        &self,
        context: RequestContext,
        admin: Admin,
        id: Path<Uuid>,
        body: Json<Chosen>,
    ) -> Result<Json<Webhook>, Problem> {
        let (id, settings) = (WebhookId(id.0), self.settings(body.0)?);
        let origin = self.desk.origin(&context, admin.0.user_id);
        Ok(Json(shown(id, registered(&self.desk.change(id, settings, &origin).await?)?)))
    }

    /// Remove a webhook
    #[oai(
        path = "/notifications/webhooks/:id",
        method = "delete",
        operation_id = "deleteWebhook",
        tag = "Tag::Webhooks"
    )]
    async fn remove(&self, context: RequestContext, admin: Admin, id: Path<Uuid>) -> Result<Removed, Problem> {
        let origin = self.desk.origin(&context, admin.0.user_id);
        self.desk.remove(WebhookId(id.0), &origin).await.map(|()| Removed::Gone)
    }

    /// Get the secret that a webhook's calls are signed with
    #[oai(
        path = "/notifications/webhooks/:id/secret",
        method = "get",
        operation_id = "getWebhookSecret",
        tag = "Tag::Webhooks"
    )]
    async fn secret(&self, _admin: Admin, id: Path<Uuid>) -> Result<Json<Secret>, Problem> {
        let (id, reception) = (WebhookId(id.0), self.reception()?);
        let generation = registered(&self.desk.webhook(id).await?)?.generation;
        Ok(Json(Secret { secret: reception.secrets.secret(id, generation), generation }))
    }

    /// Give a webhook a new secret
    #[oai(
        path = "/notifications/webhooks/:id/rotate-secret",
        method = "post",
        operation_id = "rotateWebhookSecret",
        tag = "Tag::Webhooks"
    )]
    async fn rotate(
        &self,
        context: RequestContext,
        admin: Admin,
        id: Path<Uuid>,
        /// Any text of your own. Sent again with the same key, the secret is changed once.
        #[oai(name = "Idempotency-Key")]
        key: IdempotencyKey,
    ) -> Result<Answered<Rotated>, Problem> {
        let id = WebhookId(id.0);
        let origin = self.desk.origin(&context, admin.0.user_id);
        let rotate = |ticket: web::Ticket| async move {
            let rotated = |of: &Registered| Rotated::Webhook(Json(shown(id, of)));
            let answering =
                |webhook: &notification::Webhook, _| webhook.registered().and_then(|of| ticket.answer(|| rotated(of)));
            Ok::<_, Problem>(rotated(registered(&self.desk.rotate(id, &origin, &answering).await?)?))
        };
        self.keys.once(&key, Some(&admin.0), rotate).await
    }
}

impl Api {
    pub(super) fn new(pool: PgPool, desk: Desk, keys: Idempotency, reception: Option<Reception>) -> Self {
        Self { pool, desk, keys, reception: reception.map(Arc::new) }
    }

    fn reception(&self) -> Result<&Reception, Problem> {
        self.reception.as_deref().ok_or_else(|| {
            Problem::conflict("This shop was started without a key for webhooks: WEBHOOK_KEY is not set")
                .kind("webhooks-off", "Webhooks are switched off")
        })
    }

    /// What was chosen, if it can be had.
    fn settings(&self, chosen: Chosen) -> Result<Settings, Problem> {
        let not_valid = |field: &str, why: String| Problem::bad_request(format!("{field}: {why}")).field(field, why);
        let url = self.reception()?.guard.admit(&chosen.url).map_err(|why| not_valid("url", why.to_string()))?;
        let note = chosen.description.map(|text| text.parse()).transpose();
        let kinds = chosen.kinds.map(|kinds| kinds.into_iter().map(notification::Kind::from).collect());
        Ok(Settings {
            address: url.as_str().parse().map_err(|why: domain::TextError| not_valid("url", why.to_string()))?,
            kinds: kinds.unwrap_or_else(|| notification::Kind::ALL.iter().copied().collect()),
            note: note.map_err(|why: domain::TextError| not_valid("description", why.to_string()))?,
            enabled: chosen.enabled,
        })
    }
}

fn registered(webhook: &notification::Webhook) -> Result<&Registered, Problem> {
    webhook.registered().ok_or_else(|| Problem::not_found("There is no such webhook"))
}

fn shown(id: WebhookId, registered: &Registered) -> Webhook {
    let Registered { settings, registered_at, .. } = registered;
    Webhook {
        id: id.0,
        url: settings.address.to_string(),
        kinds: settings.kinds.iter().map(|kind| kind.as_str().to_owned()).collect(),
        description: settings.note.as_ref().map(ToString::to_string),
        enabled: settings.enabled,
        created_at: Timestamp(*registered_at),
    }
}
