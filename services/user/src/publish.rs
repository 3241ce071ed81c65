//! The only place where users' events become published messages. Nothing personal leaves.

use domain::user::{Event, User};
use event_schemas::user::UserRegistered;
use event_schemas::{EventType, Published};
use event_store::RecordedEvent;
use runtime::{Outgoing, Publish};

use crate::commands::is_user;

/// Publishes who registered.
pub struct Publisher;

impl Publish for Publisher {
    fn publish(&self, event: &RecordedEvent) -> Result<Vec<Outgoing>, event_store::Error> {
        if !is_user(&event.aggregate_type) {
            return Ok(Vec::new());
        }
        Ok(match event.decode::<User>()? {
            Event::UserRegistered { user_id, .. } => {
                let message = UserRegistered { user_id, event_type: EventType::default() };
                vec![Outgoing::new(UserRegistered::TOPIC, message.key(), UserRegistered::TYPE, &message)]
            }
            Event::NameChanged { .. } => Vec::new(),
        })
    }
}
