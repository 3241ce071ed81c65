//! What administrators do to others' accounts.

use domain::user::{Command, Role, User};
use event_store::Cursor;
use kernel::UserId;
use uuid::Uuid;

use super::{Error, Person, Users};

impl Users {
    /// Lets the user in no more; their sessions are over.
    pub(crate) async fn lock(&self, user_id: UserId, by: UserId, correlation: Uuid) -> Result<Changed, Error> {
        self.administer(user_id, by, correlation, Command::Lock { by, at: self.now() }).await
    }

    /// Lets the user in again.
    pub(crate) async fn unlock(&self, user_id: UserId, by: UserId, correlation: Uuid) -> Result<Changed, Error> {
        self.administer(user_id, by, correlation, Command::Unlock { at: self.now() }).await
    }

    /// Lets the user do more, or less.
    pub(crate) async fn change_role(
        &self,
        user_id: UserId,
        role: Role,
        by: UserId,
        correlation: Uuid,
    ) -> Result<Changed, Error> {
        self.administer(user_id, by, correlation, Command::ChangeRole { role, by, at: self.now() }).await
    }

    async fn administer(
        &self,
        user_id: UserId,
        by: UserId,
        correlation: Uuid,
        command: Command,
    ) -> Result<Changed, Error> {
        let executed = self.execute(user_id, &self.origin(correlation, by), command).await?;
        let User::Registered(account) = executed.state else {
            return Err(Error::Denied(domain::user::Error::Unknown));
        };
        Ok(Changed { person: self.open(account).await?, cursor: executed.cursor })
    }
}

/// A user after a change, and where it stands, for whoever waits until lists show it.
pub(crate) struct Changed {
    pub(crate) person: Person,
    pub(crate) cursor: Option<Cursor>,
}
