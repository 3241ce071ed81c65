//! What administrators do to others' accounts.

use domain::user::{Command, Role, User};
use event_store::Cursor;
use kernel::UserId;
use uuid::Uuid;

use super::{Answering, Error, Person, Users, unanswered};
use crate::answers;

impl Users {
    /// Lets the user in no more; their sessions are over.
    pub(crate) async fn lock(
        &self,
        user_id: UserId,
        by: UserId,
        correlation: Uuid,
        answering: Answering<'_, Person>,
    ) -> Result<Changed, Error> {
        self.administer(user_id, by, correlation, Command::Lock { by, at: self.now() }, answering).await
    }

    /// Lets the user in again.
    pub(crate) async fn unlock(
        &self,
        user_id: UserId,
        by: UserId,
        correlation: Uuid,
        answering: Answering<'_, Person>,
    ) -> Result<Changed, Error> {
        self.administer(user_id, by, correlation, Command::Unlock { at: self.now() }, answering).await
    }

    /// Lets the user do more, or less.
    pub(crate) async fn change_role(
        &self,
        user_id: UserId,
        role: Role,
        by: UserId,
        correlation: Uuid,
    ) -> Result<Changed, Error> {
        self.administer(user_id, by, correlation, Command::ChangeRole { role, by, at: self.now() }, &unanswered).await
    }

    async fn administer(
        &self,
        user_id: UserId,
        by: UserId,
        correlation: Uuid,
        command: Command,
        answering: Answering<'_, Person>,
    ) -> Result<Changed, Error> {
        // Somebody without a key was deleted, and the decision says so.
        let key = self.persons.find(user_id).await?;
        let answering = |user: &User| {
            let (User::Registered(account), Some(key)) = (user, &key) else { return None };
            answers::sealed(answering(&Person::opened(account.clone(), Some(key)))?, key)
        };
        let executed = self.execute(user_id, &self.origin(correlation, by), command, &answering).await?;
        let User::Registered(account) = executed.state else {
            return Err(Error::Denied(domain::user::Error::Unknown));
        };
        Ok(Changed { person: Person::opened(account, key.as_ref()), cursor: executed.cursor })
    }
}

/// A user after a change, and where it stands, for whoever waits until lists show it.
pub(crate) struct Changed {
    pub(crate) person: Person,
    pub(crate) cursor: Option<Cursor>,
}
