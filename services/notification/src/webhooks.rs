//! News for other systems: posted to addresses that administrators register, signed, and tried again for hours.
//!
//! The body is the same at each attempt, and so is its `id`: whoever gets it twice can tell. The header
//! [`web::SIGNATURE`] says when the attempt was made and that it is ours.

mod secrets;
mod subscribers;
mod target;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::SecondsFormat;
use domain::notification::{Channel as Kind, Failure, Letter, Skip, Webhook};
use kernel::{Live, OrderId, UserId, WebhookId};
use runtime::Commands;
use serde::Serialize;
use uuid::Uuid;

use crate::channel::{Channel, Notice, Unsent};

pub(crate) use secrets::Secrets;
pub(crate) use subscribers::Subscribers;
pub(crate) use target::{Guard, Refused};

/// A connection is made within this.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// A call is answered within this.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections that nobody uses are kept for so long.
const IDLE_FOR: Duration = Duration::from_secs(20);
/// So many of them to one host.
const IDLE_PER_HOST_MAX: usize = 8;

/// What a webhook is told.
#[derive(Serialize)]
struct Document<'a> {
    /// The notification: the same at each attempt.
    id: Uuid,
    /// Such as `order_confirmed`.
    r#type: &'a str,
    /// When it was queued (RFC 3339).
    created_at: String,
    data: Data<'a>,
}

#[derive(Serialize)]
struct Data<'a> {
    user_id: UserId,
    #[serde(skip_serializing_if = "Option::is_none")]
    order_id: Option<OrderId>,
    /// A decimal; its currency beside it.
    #[serde(skip_serializing_if = "Option::is_none")]
    amount: Option<event_schemas::Amount>,
    #[serde(skip_serializing_if = "Option::is_none")]
    currency: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

/// Calls webhooks.
pub(crate) struct WebhookChannel {
    client: reqwest::Client,
    commands: Arc<Commands>,
    secrets: Secrets,
    guard: Guard,
}

impl WebhookChannel {
    /// # Errors
    /// TLS cannot be set up.
    pub(crate) fn new(commands: Arc<Commands>, secrets: Secrets, guard: Guard) -> anyhow::Result<Self> {
        let client = web::http_client()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(CALL_TIMEOUT)
            // Where somebody else sends us, nobody has looked at.
            .redirect(reqwest::redirect::Policy::none())
            .dns_resolver(guard)
            .pool_idle_timeout(IDLE_FOR)
            .pool_max_idle_per_host(IDLE_PER_HOST_MAX)
            // As the documents write them: not every receiver knows that case does not matter.
            .http1_title_case_headers()
            .user_agent(concat!("Sagashop-Webhooks/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self { client, commands, secrets, guard })
    }

    async fn call(&self, notice: Notice<'_>, webhook_id: WebhookId, webhook: &Webhook) -> Result<(), Unsent> {
        let registered = match webhook {
            Webhook::Registered(registered) if registered.settings.enabled => registered,
            Webhook::Registered(_) => return Err(Unsent::Skip(Skip::WebhookDisabled)),
            Webhook::Removed | Webhook::Unknown => return Err(Unsent::Skip(Skip::WebhookRemoved)),
        };
        let url = self.guard.admit(registered.settings.address.as_str()).map_err(|_| Failure::ForbiddenAddress)?;
        let body = body(notice)?;
        let now = self.commands.clock().now();
        let keys = registered.generations(now).map(|generation| self.secrets.key(webhook_id, generation));
        let signature = web::WebhookKey::sign_with(keys, now, &body);
        let call = self
            .client
            .post(url)
            .header("content-type", "application/json")
            .header(web::SIGNATURE, signature)
            .header("Sagashop-Event", notice.letter.template.as_str())
            .header("Sagashop-Delivery", notice.id.to_string())
            .body(body);
        let response = call.send().await.map_err(|error| unanswered(&error))?;
        // What the answer says besides is not read.
        let status = response.status();
        match status.as_u16() {
            200..=299 => Ok(()),
            // Gone for good, it says.
            code @ 410 => Err(Unsent::Failed { failure: Failure::Refused, code: Some(code) }),
            code => Err(Unsent::Failed { failure: Failure::RefusedForNow, code: Some(code) }),
        }
    }
}

#[async_trait]
impl Channel for WebhookChannel {
    fn kind(&self) -> Kind {
        Kind::Webhook
    }

    async fn send(&self, _: Live, notice: Notice<'_>) -> Result<(), Unsent> {
        let Some(webhook_id) = notice.letter.webhook_id else { return Err(Failure::NoRecipient.into()) };
        let loaded = self.commands.load::<Webhook>(&webhook_id.to_string()).await;
        let (webhook, _) = loaded.map_err(|error| {
            tracing::warn!(webhook.id = %webhook_id, %error, "a webhook cannot be looked up");
            Failure::Other
        })?;
        self.call(notice, webhook_id, &webhook).await
    }
}

fn body(notice: Notice<'_>) -> Result<Vec<u8>, Failure> {
    let Letter { recipient, template, order_id, amount, reason, .. } = notice.letter;
    let document = Document {
        id: notice.id.0,
        r#type: template,
        created_at: notice.queued_at.to_rfc3339_opts(SecondsFormat::Micros, true),
        data: Data {
            user_id: *recipient,
            order_id: *order_id,
            amount: amount.map(event_schemas::Amount::from),
            currency: amount.as_ref().map(|amount| amount.currency.code()),
            reason: reason.as_ref().map(domain::Reason::as_str),
        },
    };
    serde_json::to_vec(&document).map_err(|_| Failure::Other)
}

/// The kind of failure of a call that was not answered; its own words hold the address, which may hold a secret.
fn unanswered(error: &reqwest::Error) -> Failure {
    let causes = std::iter::successors(std::error::Error::source(error), |error| error.source());
    if causes.into_iter().any(|cause| cause.is::<Refused>()) {
        Failure::ForbiddenAddress
    } else if error.is_timeout() {
        Failure::TimedOut
    } else if error.is_connect() {
        Failure::Unreachable
    } else {
        Failure::Other
    }
}
