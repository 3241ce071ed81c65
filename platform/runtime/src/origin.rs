//! Who and what a command comes from.

use event_store::Metadata;
use event_store::clock::Clock;
use telemetry::logs::Ids;
use uuid::Uuid;

use crate::message::Message;

/// Where a command comes from: written into the metadata of each event that it decides.
#[derive(Debug, Clone)]
pub struct Origin {
    /// The whole story's id.
    pub correlation_id: Uuid,
    /// The request or message that the command came with.
    pub causation_id: Uuid,
    /// The command's own id.
    pub command_id: Uuid,
    /// `user:<id>`, `service:<name>`, `operator:<name>` or `system`.
    pub actor: String,
    /// W3C trace context.
    pub traceparent: Option<String>,
}

impl Origin {
    /// A request from outside: its correlation id begins the story. Its trace goes on, also where no spans are made here.
    pub fn request(correlation_id: Uuid, command_id: Uuid, actor: impl Into<String>) -> Self {
        Self {
            correlation_id,
            causation_id: correlation_id,
            command_id,
            actor: actor.into(),
            traceparent: telemetry::traceparent().or_else(telemetry::logs::traceparent),
        }
    }

    /// A message: the story goes on.
    pub fn message(message: &Message) -> Self {
        Self {
            correlation_id: message.correlation_id,
            causation_id: message.id,
            command_id: message.id,
            actor: format!("service:{}", message.source),
            traceparent: message.traceparent.clone(),
        }
    }

    /// What lines of the log about it have in common.
    pub fn ids(&self) -> Ids {
        Ids::new(self.correlation_id, self.traceparent.as_deref())
    }

    /// The metadata of one event recorded now.
    pub fn metadata(&self, clock: &dyn Clock) -> Metadata {
        Metadata {
            event_id: clock.new_id(),
            correlation_id: self.correlation_id,
            causation_id: self.causation_id,
            command_id: self.command_id,
            actor: self.actor.clone(),
            traceparent: self.traceparent.clone(),
            recorded_at: clock.now(),
            prev_hash: None,
        }
    }
}
