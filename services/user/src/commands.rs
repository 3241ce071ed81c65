//! Commands on users: what is asked, checked against what is known, and recorded.

use std::sync::Arc;
use std::time::Duration;

use cqrs_es::Aggregate;
use domain::user::{self, Account, Command, EmailAddress, User};
use event_store::{Answer, PgStore};
use kernel::UserId;
use runtime::commands::Executed;
use runtime::{Commands, Origin};
use uuid::Uuid;

use crate::attempts::Attempts;
use crate::config::Config;
use crate::passwords::{self, Passwords, Place};
use crate::persons::{self, Field, PersonKey, Persons, TOMBSTONE};
use crate::vault::Vault;

mod addresses;
mod admin;
pub(crate) mod claims;
mod profile;
pub(crate) mod registering;
mod sessions;

pub(crate) use addresses::Entry;
pub(crate) use admin::Changed;
pub(crate) use registering::Registration;
pub(crate) use sessions::{Caller, Opened};

/// Makes the answer that is recorded together with what it tells of. What it tells is sealed here.
pub(crate) type Answering<'a, T> = &'a (dyn Fn(&T) -> Option<Answer> + Send + Sync);

/// Users, their passwords and sessions, and the keys of what is personal of them.
pub(crate) struct Users {
    commands: Commands,
    store: Arc<PgStore>,
    passwords: Passwords,
    attempts: Attempts,
    persons: Persons,
    vault: Vault,
    refresh_lifetime: Duration,
}

/// A user, readable.
#[derive(Clone)]
pub(crate) struct Person {
    pub(crate) user_id: UserId,
    /// [`TOMBSTONE`] where nothing is left.
    pub(crate) name: String,
    pub(crate) email: Option<String>,
    /// What the events tell; nothing of a deleted user.
    pub(crate) account: Option<Account>,
}

/// Why not.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("the address has an account already")]
    Taken,
    #[error("the address and the password do not belong together")]
    WrongCredentials,
    #[error("the account is locked")]
    Locked,
    #[error("too many passwords were wrong")]
    TooManyAttempts(Duration),
    #[error("the session is over")]
    SessionOver,
    #[error("only administrators may do this")]
    Forbidden,
    #[error("others keep changing it")]
    Contended,
    #[error(transparent)]
    Denied(#[from] user::Error),
    #[error(transparent)]
    Passwords(#[from] passwords::Error),
    #[error(transparent)]
    Persons(#[from] persons::Error),
    #[error(transparent)]
    Store(#[from] event_store::Error),
    #[error("{0:#}")]
    Internal(#[from] anyhow::Error),
}

impl Users {
    pub(crate) fn new(
        commands: Commands,
        store: Arc<PgStore>,
        persons: Persons,
        vault: Vault,
        config: &Config,
    ) -> Self {
        Self {
            commands,
            store,
            passwords: Passwords::new(config.hashing_at_once, config.hashing_queue_max),
            attempts: Attempts::new(config.login_failures_max, config.login_failures_window),
            persons,
            vault,
            refresh_lifetime: config.refresh_lifetime,
        }
    }

    /// A user's account, if they have one.
    pub(crate) async fn find(&self, user_id: UserId) -> Result<Option<Account>, Error> {
        Ok(match self.load(user_id).await? {
            User::Registered(account) => Some(account),
            User::Unknown | User::Deleted { .. } => None,
        })
    }

    /// Anybody who ever had an account; of a deleted user the tombstone.
    pub(crate) async fn person(&self, user_id: UserId) -> Result<Option<Person>, Error> {
        Ok(match self.load(user_id).await? {
            User::Unknown => None,
            User::Registered(account) => Some(self.open(account).await?),
            User::Deleted { user_id } => Some(Person::deleted(user_id)),
        })
    }

    async fn load(&self, user_id: UserId) -> Result<User, Error> {
        Ok(self.commands.load::<User>(&user_id.to_string()).await?.0)
    }

    /// The account with what is personal of it.
    pub(crate) async fn open(&self, account: Account) -> Result<Person, Error> {
        let key = self.persons.find(account.user_id).await?;
        Ok(Person::opened(account, key.as_ref()))
    }

    /// The key of somebody who has an account; without it they were deleted a moment ago.
    async fn key(&self, user_id: UserId) -> Result<PersonKey, Error> {
        self.persons.find(user_id).await?.ok_or(Error::Denied(user::Error::Deleted))
    }

    async fn execute(
        &self,
        user_id: UserId,
        origin: &Origin,
        command: Command,
        answering: Answering<'_, User>,
    ) -> Result<Executed<User>, Error> {
        let (id, answering) = (user_id.to_string(), |user: &User, _| answering(user));
        let executed = self.commands.execute_answered::<User>(&id, origin, command, |_, _| Ok(()), &answering).await;
        executed.map_err(Error::from)
    }

    /// The account after a command.
    async fn change(
        &self,
        user_id: UserId,
        origin: &Origin,
        command: Command,
        answering: Answering<'_, User>,
    ) -> Result<Account, Error> {
        match self.execute(user_id, origin, command, answering).await?.state {
            User::Registered(account) => Ok(account),
            User::Unknown | User::Deleted { .. } => Err(Error::Denied(user::Error::Unknown)),
        }
    }

    fn origin(&self, correlation: Uuid, actor: UserId) -> Origin {
        Origin::request(correlation, self.commands.clock().new_id(), format!("user:{actor}"))
    }

    /// Now, and an id for what is made now.
    pub(crate) fn moment(&self) -> (chrono::DateTime<chrono::Utc>, Uuid) {
        (self.now(), self.commands.clock().new_id())
    }

    fn now(&self) -> chrono::DateTime<chrono::Utc> {
        self.commands.clock().now()
    }

    /// A place to hash for this account, unless too many of its passwords were wrong. Asked again once there is a
    /// place: of many guesses at once no more are tried than of as many one after the other.
    async fn attempt(&self, attempted: Uuid) -> Result<Place, Error> {
        let admitted = || self.attempts.refused(attempted).map_or(Ok(()), |wait| Err(Error::TooManyAttempts(wait)));
        admitted()?;
        let place = self.passwords.place().await?;
        admitted()?;
        Ok(place)
    }

    /// A place to hash, if the password is the account's.
    async fn confirm(&self, account: &Account, password: String) -> Result<Place, Error> {
        let attempted = account.user_id.0;
        let place = self.attempt(attempted).await?;
        let (place, right) = place.verify(password, Some(account.password_hash.clone())).await?;
        if !right {
            self.attempts.failed(attempted);
            return Err(Error::WrongCredentials);
        }
        self.attempts.succeeded(attempted);
        Ok(place)
    }

    /// Whose the address is.
    async fn holder(&self, email: &EmailAddress) -> Result<Option<UserId>, Error> {
        Ok(claims::load(&self.store, self.vault.email_id(email)).await?.holder)
    }
}

impl Person {
    pub(crate) fn opened(account: Account, key: Option<&PersonKey>) -> Self {
        let name = key.and_then(|key| key.open(Field::Name, &account.name));
        let email = key.and_then(|key| key.open(Field::Email, &account.email));
        let name = name.unwrap_or_else(|| TOMBSTONE.to_owned());
        Self { user_id: account.user_id, name, email, account: Some(account) }
    }

    fn deleted(user_id: UserId) -> Self {
        Self { user_id, name: TOMBSTONE.to_owned(), email: None, account: None }
    }
}

impl<E> From<runtime::commands::Error<E>> for Error
where
    E: std::error::Error + 'static,
    Error: From<E>,
{
    fn from(error: runtime::commands::Error<E>) -> Self {
        match error {
            runtime::commands::Error::Denied(error) => error.into(),
            runtime::commands::Error::Conflict => Self::Contended,
            runtime::commands::Error::NotRecorded(error) => error.into(),
        }
    }
}

/// The answer to a request that nobody can repeat, or need not.
pub(crate) fn unanswered<T>(_: &T) -> Option<Answer> {
    None
}

/// The read model follows users only.
pub(crate) fn is_user(aggregate_type: &str) -> bool {
    aggregate_type == User::TYPE
}
