//! What is recorded: results of attempts here, what callers ask for in [`Desk`].

mod desk;

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use domain::notification::{Channel, Command, Failure, Kind, Known, Letter, Notification, Preferences, Status};
use event_store::clock::Clock;
use kernel::NotificationId;
use runtime::commands::Error;
use runtime::{Commands, Origin};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub(crate) use desk::Desk;

/// Between two tries of recording one result.
const RECORD_AGAIN_AFTER: Duration = Duration::from_millis(500);

/// What a notification belongs to.
#[derive(Debug, Clone)]
pub(crate) struct Story {
    /// The message that it tells of.
    pub(crate) message_id: Uuid,
    pub(crate) correlation_id: Uuid,
    pub(crate) traceparent: Option<String>,
}

/// A notification that waits to be sent, as it stands in the store.
#[derive(Debug, Clone)]
pub(crate) struct Queued {
    pub(crate) id: NotificationId,
    pub(crate) letter: Letter,
    pub(crate) queued_at: DateTime<Utc>,
    pub(crate) status: Status,
    pub(crate) attempts: u32,
    pub(crate) failed_attempts: u32,
    /// The stream's last sequence.
    pub(crate) sequence: u64,
    pub(crate) story: Story,
}

impl Queued {
    /// The name of its text, as a label: names that this version does not know are one.
    pub(crate) fn template(&self) -> &'static str {
        Kind::named(&self.letter.template).map_or("other", Kind::as_str)
    }
}

/// Where the result of an attempt comes from: it goes on with the story of the message that it tells of.
pub fn attempted(correlation_id: Uuid, message_id: Uuid, clock: &dyn Clock) -> Origin {
    Origin {
        correlation_id,
        causation_id: message_id,
        command_id: clock.new_id(),
        actor: "service:notification".to_owned(),
        traceparent: None,
    }
}

/// Records what came of attempts.
#[derive(Clone)]
pub(crate) struct Results {
    commands: Arc<Commands>,
    shutdown: CancellationToken,
}

impl Results {
    pub(crate) fn new(commands: Arc<Commands>, shutdown: CancellationToken) -> Self {
        Self { commands, shutdown }
    }

    /// Whether the recipient wants to hear of this by mail, as the store has it now.
    pub(crate) async fn is_wanted(&self, letter: &Letter) -> Result<bool, Failure> {
        if Kind::named(&letter.template).is_none_or(Kind::is_mandatory) {
            return Ok(true);
        }
        let loaded = self.commands.load::<Preferences>(&letter.recipient.to_string()).await;
        let (preferences, _) = loaded.map_err(|error| {
            tracing::warn!(%error, "preferences cannot be looked up");
            Failure::Other
        })?;
        Ok(preferences.want(&letter.template, Channel::Email))
    }

    pub(crate) fn now(&self) -> DateTime<Utc> {
        self.clock().now()
    }

    fn clock(&self) -> &dyn Clock {
        self.commands.clock()
    }

    /// Records the result of an attempt. While the store is away it goes on trying: a mail that was sent and not
    /// recorded would be sent again.
    pub(crate) async fn record(&self, queued: Queued, result: Command) {
        let Queued { id, letter, status, attempts, failed_attempts, sequence, story, .. } = queued;
        let state = Notification::Known(Known { letter, status, attempts, failed_attempts });
        let origin = Origin {
            traceparent: story.traceparent,
            ..attempted(story.correlation_id, story.message_id, self.clock())
        };
        let stream = id.to_string();
        loop {
            let recorded = self.commands.execute_from(&stream, state.clone(), sequence, &origin, result.clone()).await;
            let error = match recorded {
                Ok(_) => return,
                // Another instance tried as well, and its result stands.
                Err(Error::Denied(reason)) => {
                    tracing::warn!(notification.id = %id, %reason, "an attempt's result came too late");
                    return;
                }
                Err(error) => error,
            };
            tracing::warn!(notification.id = %id, %error, "an attempt's result is recorded later");
            tokio::select! {
                () = tokio::time::sleep(RECORD_AGAIN_AFTER) => {}
                () = self.shutdown.cancelled() => return,
            }
        }
    }
}
