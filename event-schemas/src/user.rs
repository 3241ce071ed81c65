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

/// A user is not let in any more, until further notice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UserLocked {
    /// The user.
    #[schemars(with = "Uuid")]
    pub user_id: UserId,
    /// Always `user_locked`.
    pub event_type: EventType<UserLocked>,
}

/// A user is let in again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UserUnlocked {
    /// The user.
    #[schemars(with = "Uuid")]
    pub user_id: UserId,
    /// Always `user_unlocked`.
    pub event_type: EventType<UserUnlocked>,
}

/// A user is forgotten: nobody can be told who it was. The id stays in what others hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UserDeleted {
    /// The user.
    #[schemars(with = "Uuid")]
    pub user_id: UserId,
    /// Always `user_deleted`.
    pub event_type: EventType<UserDeleted>,
}

published! {
    UserRegistered: "user_registered" on USER_EVENTS by user_id;
    UserLocked: "user_locked" on USER_EVENTS by user_id;
    UserUnlocked: "user_unlocked" on USER_EVENTS by user_id;
    UserDeleted: "user_deleted" on USER_EVENTS by user_id;
}
