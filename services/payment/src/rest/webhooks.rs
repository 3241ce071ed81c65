//! What the provider tells by itself.

use std::sync::Arc;
use std::time::Duration;

use event_store::clock::Clock;
use poem::Request;
use poem_openapi::param::Header;
use poem_openapi::payload::Json;
use poem_openapi::{Object, OpenApi};
use psp::protocol::Event;
use psp::signed::{Doorkeeper, Raw};
use web::Problem;

use super::Tag;
use crate::measures;
use crate::notices::{self, Notices, Taken};
use crate::provider::Notice;

/// Takes webhooks, where there is a provider that sends them.
pub(crate) struct Webhooks {
    pub(crate) door: Doorkeeper,
    pub(crate) notices: Notices,
    pub(crate) clock: Arc<dyn Clock>,
}

/// The API for the provider.
pub(crate) struct WebhookApi {
    webhooks: Option<Webhooks>,
}

/// A webhook was taken.
#[derive(Object)]
struct Received {
    /// Always true.
    received: bool,
    /// Whether a payment waited for it; what is late or comes again changes nothing.
    recorded: bool,
}

#[OpenApi]
impl WebhookApi {
    /// Takes a webhook of the payment provider
    ///
    /// For the provider alone: the body is signed with the shared secret, within five minutes, and comes once (409 for
    /// the same call again). The result it tells is recorded if the payment still waits for it.
    #[oai(path = "/webhooks/psp", method = "post", tag = "Tag::Webhooks", operation_id = "receiveProviderWebhook")]
    async fn receive(
        &self,
        request: &Request,
        /// `t=<unix seconds>,v1=<hex>`: HMAC-SHA256 of `<unix seconds>.<body>` under the shared secret.
        #[oai(name = "Sagashop-Signature")]
        _signature: Header<Option<String>>,
        body: Raw<Event>,
    ) -> Result<Json<Received>, Problem> {
        let webhooks = self.webhooks.as_ref().ok_or_else(|| {
            Problem::not_found("This shop's payment provider is the simulated one: it sends no webhooks")
        })?;
        let taken = webhooks.take(request, &body).await.inspect_err(|_| measures::told("refused"))?;
        let recorded = taken == Taken::Recorded;
        measures::told(if recorded { "recorded" } else { "known" });
        Ok(Json(Received { received: true, recorded }))
    }
}

impl WebhookApi {
    pub(crate) fn new(webhooks: Option<Webhooks>) -> Self {
        Self { webhooks }
    }
}

impl Webhooks {
    async fn take(&self, request: &Request, body: &Raw<Event>) -> Result<Taken, Problem> {
        self.door.webhook(request, body.bytes(), self.clock.now())?;
        let notice = Notice::of(body.read()?.data).map_err(|error| Problem::bad_request(error.to_string()))?;
        self.notices.take(notice).await.map_err(|error| match error {
            notices::Error::NotNow(reason) => {
                tracing::warn!(reason, "a webhook is not recorded yet");
                Problem::unavailable("The result cannot be recorded at present", Duration::from_secs(1))
            }
            notices::Error::Contradiction(reason) => {
                tracing::error!(reason, "a webhook contradicts the payment");
                Problem::conflict("The result contradicts what was asked")
            }
        })
    }
}
