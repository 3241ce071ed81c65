//! The only place where users' events become published messages. Nothing personal leaves.

use domain::user::{Event, User};
use event_schemas::user::{UserDeleted, UserLocked, UserRegistered, UserUnlocked};
use event_schemas::{EventType, Published};
use event_store::RecordedEvent;
use kernel::UserId;
use runtime::{Outgoing, Publish};

use crate::commands::is_user;

/// Publishes who registered, who is locked or let in again, and who is forgotten.
pub struct Publisher;

impl Publish for Publisher {
    fn publish(&self, event: &RecordedEvent) -> Result<Vec<Outgoing>, event_store::Error> {
        if !is_user(&event.aggregate_type) {
            return Ok(Vec::new());
        }
        let user_id = || {
            event.aggregate_id.parse::<UserId>().map_err(|error| event_store::Error::Undecodable {
                stream: format!("{}/{}", event.aggregate_type, event.aggregate_id),
                sequence: event.sequence,
                error: error.to_string(),
            })
        };
        let told = |event| {
            Ok(Some(match event {
                Event::UserRegistered { user_id, .. } => {
                    outgoing(&UserRegistered { user_id, event_type: EventType::default() })
                }
                Event::UserLocked { .. } => {
                    outgoing(&UserLocked { user_id: user_id()?, event_type: EventType::default() })
                }
                Event::UserUnlocked { .. } => {
                    outgoing(&UserUnlocked { user_id: user_id()?, event_type: EventType::default() })
                }
                Event::UserDeleted { .. } => {
                    outgoing(&UserDeleted { user_id: user_id()?, event_type: EventType::default() })
                }
                Event::NameChanged { .. }
                | Event::LocaleChanged { .. }
                | Event::PasswordChanged { .. }
                | Event::PasswordRehashed { .. }
                | Event::SessionsEnded { .. }
                | Event::RoleChanged { .. }
                | Event::AddressSaved { .. }
                | Event::AddressRemoved { .. } => return Ok(None),
            }))
        };
        event.decode_all::<User>()?.filter_map(|event| told(event).transpose()).collect()
    }
}

fn outgoing<M: Published>(message: &M) -> Outgoing {
    Outgoing::new(M::TOPIC, message.key(), M::TYPE, message)
}
