//! What customers were told.

use std::sync::Arc;

use domain::notification::{self, Event};
use event_store::{EventStore, PgStore, RecordedEvent, StreamId};
use kernel::NotificationId;
use poem::Request;
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::{ApiResponse, Object, OpenApi};
use sqlx::PgPool;
use uuid::Uuid;
use web::auth::{Admin, Bearer};
use web::{Answered, Idempotency, IdempotencyKey, Problem, RequestContext, Timestamp};

use super::words::{Channel, Status};
use super::{Tag, unavailable};
use crate::commands::Desk;
use crate::queries::{self, Wanted};

const LIMIT_DEFAULT: u32 = 50;

/// A notification.
#[derive(Object)]
struct Notification {
    /// Its id: of an e-mail the Message-ID, of a webhook's call the `id` in its body.
    id: Uuid,
    /// The message that it tells of.
    message_id: Uuid,
    /// `log`, `email` or `webhook`.
    channel: String,
    /// Whom it is for, or about.
    user_id: Uuid,
    /// The order that it is about.
    #[oai(skip_serializing_if_is_none)]
    order_id: Option<Uuid>,
    /// The webhook that it goes to.
    #[oai(skip_serializing_if_is_none)]
    webhook_id: Option<Uuid>,
    /// What it says: `order_confirmed` and the like.
    kind: String,
    /// `queued`, `retrying` (an attempt failed, there will be another), `sent`, `failed` or `skipped`.
    status: String,
    /// Why the last attempt failed (`unreachable`, `timed_out`, `refused_for_now`, `refused`, …), or why it was skipped
    /// (`user_deleted`, `not_wanted`, …).
    #[oai(skip_serializing_if_is_none)]
    why: Option<String>,
    /// Attempts made.
    attempts: i32,
    /// When a failed one is tried again.
    #[oai(skip_serializing_if_is_none)]
    next_attempt_at: Option<Timestamp>,
    /// When it was queued.
    created_at: Timestamp,
    /// When it was sent.
    #[oai(skip_serializing_if_is_none)]
    sent_at: Option<Timestamp>,
}

/// Something that happened to a notification.
#[derive(Object)]
struct Step {
    /// When.
    at: Timestamp,
    /// `queued`, `attempt_failed`, `sent`, `failed`, `skipped` or `requeued`.
    step: String,
    /// Which attempt it was, from 1 on.
    #[oai(skip_serializing_if_is_none)]
    attempt: Option<u32>,
    /// Why it failed or was skipped.
    #[oai(skip_serializing_if_is_none)]
    why: Option<String>,
    /// The status that the mail server or the webhook answered with.
    #[oai(skip_serializing_if_is_none)]
    code: Option<u16>,
    /// When the next attempt is due.
    #[oai(skip_serializing_if_is_none)]
    next_attempt_at: Option<Timestamp>,
}

/// A notification and all that happened to it.
#[derive(Object)]
struct Story {
    /// The notification.
    notification: Notification,
    /// What happened to it, in order.
    history: Vec<Step>,
}

/// A notification that is to be sent once more.
#[derive(Object)]
struct Resending {
    /// The notification: it keeps its id.
    id: Uuid,
    /// `queued`; `retrying` where it was going to be tried again anyway.
    status: String,
}

#[derive(ApiResponse)]
enum Listed {
    /// The notifications.
    #[oai(status = 200)]
    Page(
        Json<Vec<Notification>>,
        /// `<…>; rel="next"` where there are more: relative to this request's own address.
        #[oai(header = "Link")]
        Option<String>,
    ),
}

#[derive(ApiResponse)]
enum Accepted {
    /// It will be sent.
    #[oai(status = 202)]
    Resending(Json<Resending>),
}

#[derive(Clone)]
pub(crate) struct Api {
    pool: PgPool,
    desk: Desk,
    keys: Idempotency,
    store: Arc<PgStore>,
}

#[OpenApi]
impl Api {
    /// List notifications, the newest first
    ///
    /// Customers see what they were told themselves; administrators what everybody was, other systems included.
    #[oai(path = "/notifications", method = "get", operation_id = "listNotifications", tag = "Tag::Notifications")]
    #[allow(clippy::too_many_arguments)]
    async fn list(
        &self,
        request: &Request,
        caller: Bearer,
        /// Only those of this user. Whoever is no administrator may name themselves only.
        user_id: Query<Option<Uuid>>,
        /// Only those about this order.
        order_id: Query<Option<Uuid>>,
        /// Only those to this webhook.
        webhook_id: Query<Option<Uuid>>,
        /// Only those that stand so.
        status: Query<Option<Status>>,
        /// Only those that go this way.
        channel: Query<Option<Channel>>,
        /// At most so many, 1 to 500.
        #[oai(validator(minimum(value = "1"), maximum(value = "500")))]
        limit: Query<Option<u32>>,
        /// Those behind the notification of this id.
        after: Query<Option<Uuid>>,
    ) -> Result<Listed, Problem> {
        let limit = limit.0.unwrap_or(LIMIT_DEFAULT);
        let own = caller.0.user_id.0;
        if user_id.0.is_some_and(|of| of != own) && !caller.0.is_admin() {
            return Err(Problem::forbidden("Only administrators may see what others were told"));
        }
        let wanted = Wanted {
            user_id: if caller.0.is_admin() { user_id.0 } else { Some(own) },
            order_id: order_id.0,
            webhook_id: webhook_id.0,
            status: status.0.map(|status| notification::Status::from(status).as_str()),
            channel: channel.0.map(|channel| notification::Channel::from(channel).as_str()),
            of_customer: !caller.0.is_admin(),
            after: after.0,
            // One more than asked tells whether there is a next page.
            limit: i64::from(limit) + 1,
        };
        let mut rows = queries::list(&self.pool, &wanted).await.map_err(unavailable)?;
        let more = rows.len() > limit as usize;
        rows.truncate(limit as usize);
        let next = rows.last().filter(|_| more).map(|last| next_page(request, last.notification_id));
        Ok(Listed::Page(Json(rows.into_iter().map(notification).collect()), next))
    }

    /// Get a notification with all that happened to it
    #[oai(path = "/notifications/:id", method = "get", operation_id = "getNotification", tag = "Tag::Notifications")]
    async fn get(&self, caller: Bearer, id: Path<Uuid>) -> Result<Json<Story>, Problem> {
        let row = queries::one(&self.pool, id.0).await.map_err(unavailable)?;
        // What other systems were told is no customer's business.
        let may_see = |row: &queries::Notification| {
            caller.0.may_see(row.user_id.into()) && (row.webhook_id.is_none() || caller.0.is_admin())
        };
        let row = row.filter(may_see);
        let row = row.ok_or_else(|| Problem::not_found("There is no such notification"))?;
        let stream = StreamId::of::<notification::Notification>(id.0.to_string());
        let events = self.store.load(&[(stream, 0)]).await.map_err(unavailable)?.pop().unwrap_or_default();
        let mut history = Vec::with_capacity(events.len());
        for event in &events {
            history.extend(steps(event).map_err(Problem::internal)?);
        }
        Ok(Json(Story { notification: notification(row), history }))
    }

    /// Send a notification once more
    ///
    /// One that was sent, failed or was skipped is queued again, with its id and Message-ID. One that is about to be sent
    /// stays as it is.
    #[oai(
        path = "/notifications/:id/resend",
        method = "post",
        operation_id = "resendNotification",
        tag = "Tag::Notifications"
    )]
    async fn resend(
        &self,
        context: RequestContext,
        admin: Admin,
        id: Path<Uuid>,
        /// Any text of your own. Sent again with the same key, the request takes effect once and is answered the same.
        #[oai(name = "Idempotency-Key")]
        key: IdempotencyKey,
    ) -> Result<Answered<Accepted>, Problem> {
        let origin = self.desk.origin(&context, admin.0.user_id);
        let resend = |ticket: web::Ticket| async move {
            let answering = |state: &notification::Notification, _| ticket.answer(|| Accepted::of(id.0, state));
            let state = self.desk.resend(NotificationId(id.0), &origin, &answering).await?;
            Ok::<_, Problem>(Accepted::of(id.0, &state))
        };
        self.keys.once(&key, Some(&admin.0), resend).await
    }
}

impl Api {
    pub(super) fn new(pool: PgPool, desk: Desk, keys: Idempotency, store: Arc<PgStore>) -> Self {
        Self { pool, desk, keys, store }
    }
}

impl Accepted {
    fn of(id: Uuid, state: &notification::Notification) -> Self {
        let status = match state {
            notification::Notification::Known(known) => known.status,
            notification::Notification::Unknown => notification::Status::Queued,
        };
        Self::Resending(Json(Resending { id, status: status.as_str().to_owned() }))
    }
}

fn notification(row: queries::Notification) -> Notification {
    Notification {
        id: row.notification_id,
        message_id: row.message_id,
        channel: row.channel,
        user_id: row.user_id,
        order_id: row.order_id,
        webhook_id: row.webhook_id,
        kind: row.kind,
        // A queued one has a moment as well, at which the sweep would take it up: nothing to tell anybody.
        next_attempt_at: row.next_attempt_at.filter(|_| row.status == "retrying").map(Timestamp),
        status: row.status,
        why: row.why,
        attempts: row.attempts,
        created_at: row.created_at.into(),
        sent_at: row.sent_at.map(Timestamp),
    }
}

/// The steps that were recorded as one.
fn steps(event: &RecordedEvent) -> Result<impl Iterator<Item = Step> + use<>, event_store::Error> {
    Ok(event.decode_all::<notification::Notification>()?.map(step))
}

fn step(event: Event) -> Step {
    let empty = |at, step: &str| Step {
        at: Timestamp(at),
        step: step.to_owned(),
        attempt: None,
        why: None,
        code: None,
        next_attempt_at: None,
    };
    let failed = |at, step, attempt, failure: notification::Failure, code| Step {
        attempt: Some(attempt),
        why: Some(failure.as_str().to_owned()),
        code,
        ..empty(at, step)
    };
    match event {
        Event::NotificationQueued { at, .. } => empty(at, "queued"),
        Event::NotificationSent { attempt, at } => Step { attempt: Some(attempt), ..empty(at, "sent") },
        Event::AttemptFailed { attempt, failure, code, next_attempt_at, at } => Step {
            next_attempt_at: Some(Timestamp(next_attempt_at)),
            ..failed(at, "attempt_failed", attempt, failure, code)
        },
        Event::NotificationGaveUp { attempts, failure, code, at } => failed(at, "failed", attempts, failure, code),
        Event::NotificationSkipped { why, at } => Step { why: Some(why.as_str().to_owned()), ..empty(at, "skipped") },
        Event::NotificationRequeued { at } => empty(at, "requeued"),
    }
}

/// The request's own query, behind this notification.
fn next_page(request: &Request, last: Uuid) -> String {
    let asked = request.uri().query().unwrap_or_default().split('&');
    let kept: String =
        asked.filter(|pair| !pair.is_empty() && !pair.starts_with("after=")).flat_map(|pair| [pair, "&"]).collect();
    format!("<?{kept}after={last}>; rel=\"next\"")
}
