//! Topic `user_events`: what became of users. Personal data does not leave the user service.

use kernel::UserId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::EventType;
use crate::published::published;

/// A user has an account now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UserRegistered {
    /// The user.
    #[schemars(with = "Uuid")]
    pub user_id: UserId,
    /// Always `user_registered`.
    pub event_type: EventType<UserRegistered>,
}

published! {
    UserRegistered: "user_registered" on USER_EVENTS by user_id;
}
