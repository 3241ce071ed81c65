//! What callers ask for: notifications sent once more, preferences, webhooks.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, SubsecRound, Utc};
use domain::notification::preferences::{self, Preferences};
use domain::notification::webhook::{self, Settings, Webhook};
use domain::notification::{self, Notification};
use kernel::{Decide, NotificationId, UserId, WebhookId};
use runtime::commands::{Answering, Error};
use runtime::{Commands, Executed, Origin, ProjectionHandle};
use web::Problem;

use crate::webhooks::Subscribers;

/// An answer waits so long for the read model to show what was done.
const READ_YOUR_WRITES: Duration = Duration::from_millis(50);
/// When to come again while the store is away or others are faster.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Carries out what callers ask for.
#[derive(Clone)]
pub(crate) struct Desk {
    commands: Arc<Commands>,
    notifications: ProjectionHandle,
    webhooks: ProjectionHandle,
    subscribers: Option<Subscribers>,
}

impl Desk {
    pub(crate) fn new(
        commands: Arc<Commands>,
        notifications: ProjectionHandle,
        webhooks: ProjectionHandle,
        subscribers: Option<Subscribers>,
    ) -> Self {
        Self { commands, notifications, webhooks, subscribers }
    }

    /// Now, as exactly as the database has it.
    fn now(&self) -> DateTime<Utc> {
        self.commands.clock().now().trunc_subsecs(6)
    }

    /// A request by this user, as the events' metadata will have it.
    pub(crate) fn origin(&self, context: &web::RequestContext, by: UserId) -> Origin {
        Origin::request(context.correlation_id, self.commands.clock().new_id(), format!("user:{by}"))
    }

    /// A new id.
    pub(crate) fn new_webhook_id(&self) -> WebhookId {
        WebhookId(self.commands.clock().new_id())
    }

    /// Queues a notification that has ended once more.
    pub(crate) async fn resend(
        &self,
        id: NotificationId,
        origin: &Origin,
        answering: Answering<'_, Notification>,
    ) -> Result<Notification, Problem> {
        let command = notification::Command::Resend { at: self.now() };
        let resent = self.commands.execute_answered(&id.to_string(), origin, command, |_, _| Ok(()), answering).await;
        let executed = resent.map_err(|error| match error {
            Error::Denied(_) => Problem::not_found("There is no such notification"),
            other => passing(other),
        })?;
        caught_up(&self.notifications, &executed).await;
        Ok(executed.state)
    }

    /// A user's preferences as the store has them now.
    pub(crate) async fn preferences(&self, user: UserId) -> Result<Preferences, Problem> {
        let loaded = self.commands.load::<Preferences>(&user.to_string()).await;
        loaded.map(|(preferences, _)| preferences).map_err(|error| unavailable(&error))
    }

    /// Turns these off, and all others on.
    pub(crate) async fn turn_off(
        &self,
        user: UserId,
        choices: BTreeSet<preferences::Choice>,
        origin: &Origin,
    ) -> Result<Preferences, Problem> {
        let command = preferences::Command::TurnOff { choices, at: self.now() };
        match self.commands.execute::<Preferences>(&user.to_string(), origin, command).await {
            Ok(executed) => Ok(executed.state),
            Err(Error::Denied(error)) => Err(Problem::unprocessable(format!("Not so: {error}"))
                .kind("mandatory-notification", "A customer is told of this in any case")
                .field("preferences", error.to_string())),
            Err(other) => Err(passing(other)),
        }
    }

    /// Registers a webhook.
    pub(crate) async fn register(
        &self,
        id: WebhookId,
        settings: Settings,
        origin: &Origin,
        answering: Answering<'_, Webhook>,
    ) -> Result<Webhook, Problem> {
        let command = webhook::Command::Register { settings, at: self.now() };
        self.seen(id, self.commands.create_answered(&id.to_string(), origin, command, answering).await).await
    }

    /// Gives a webhook other settings.
    pub(crate) async fn change(&self, id: WebhookId, settings: Settings, origin: &Origin) -> Result<Webhook, Problem> {
        let command = webhook::Command::Change { settings, at: self.now() };
        self.seen(id, self.commands.execute(&id.to_string(), origin, command).await).await
    }

    /// Gives a webhook a new secret.
    pub(crate) async fn rotate(
        &self,
        id: WebhookId,
        origin: &Origin,
        answering: Answering<'_, Webhook>,
    ) -> Result<Webhook, Problem> {
        let command = webhook::Command::RotateSecret { at: self.now() };
        let rotated = self.commands.execute_answered(&id.to_string(), origin, command, |_, _| Ok(()), answering).await;
        self.seen(id, rotated).await
    }

    /// Removes a webhook.
    pub(crate) async fn remove(&self, id: WebhookId, origin: &Origin) -> Result<(), Problem> {
        let command = webhook::Command::Remove { at: self.now() };
        self.seen(id, self.commands.execute(&id.to_string(), origin, command).await).await.map(|_| ())
    }

    /// A webhook as the store has it now.
    pub(crate) async fn webhook(&self, id: WebhookId) -> Result<Webhook, Problem> {
        let loaded = self.commands.load::<Webhook>(&id.to_string()).await;
        loaded.map(|(webhook, _)| webhook).map_err(|error| unavailable(&error))
    }

    /// The consumer knows of it at once; the read model is waited for a little.
    async fn seen(
        &self,
        id: WebhookId,
        executed: Result<Executed<Webhook>, Error<webhook::Error>>,
    ) -> Result<Webhook, Problem> {
        let executed = executed.map_err(|error| match error {
            Error::Denied(webhook::Error::Unknown) => Problem::not_found("There is no such webhook"),
            Error::Denied(error @ webhook::Error::NoKinds) => {
                Problem::bad_request(error.to_string()).field("kinds", "must not be empty")
            }
            other => passing(other),
        })?;
        if let (Some(subscribers), Some(at)) = (&self.subscribers, executed.cursor) {
            subscribers.record(id, &executed.state, at);
        }
        caught_up(&self.webhooks, &executed).await;
        Ok(executed.state)
    }
}

async fn caught_up<A: Decide>(projection: &ProjectionHandle, executed: &Executed<A>) {
    if let Some(cursor) = executed.cursor {
        projection.wait_for(cursor, READ_YOUR_WRITES).await;
    }
}

fn passing<E: std::error::Error + 'static>(error: Error<E>) -> Problem {
    match error {
        Error::NotRecorded(error) => unavailable(&error),
        Error::Conflict => Problem::conflict("Others are changing it: try again").retry_after(RETRY_AFTER),
        Error::Denied(error) => Problem::internal(error),
    }
}

fn unavailable(error: &event_store::Error) -> Problem {
    tracing::warn!(%error, "the store is away");
    Problem::unavailable("Temporarily unavailable", RETRY_AFTER)
}
