//! Commands on users: what is asked, checked against what is known, and recorded.

use std::sync::Arc;

use cqrs_es::Aggregate;
use domain::user::{Account, Command, EmailAddress, Event, PersonName, Role, User};
use event_store::{Append, EventStore, NewEvent, PgStore, StreamId, UnitOfWork};
use kernel::{Decide, Idempotent, UserId};
use runtime::{Commands, Origin};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::config::{Bootstrap, Config};
use crate::passwords::{self, Passwords};

/// The stream that holds an address for its user: its first event can be written only once.
const CLAIM: &str = "email_claim";

/// Users and their passwords.
pub(crate) struct Users {
    commands: Commands,
    store: Arc<PgStore>,
    passwords: Passwords,
}

/// What somebody registers with.
pub(crate) struct Registration {
    pub(crate) name: PersonName,
    pub(crate) email: EmailAddress,
    pub(crate) password: String,
    pub(crate) role: Role,
}

/// Why not.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("the address has an account already")]
    Taken,
    #[error("the address and the password do not belong together")]
    WrongCredentials,
    #[error("there is no such user")]
    Unknown,
    #[error(transparent)]
    Passwords(#[from] passwords::Error),
    #[error(transparent)]
    Store(#[from] event_store::Error),
    #[error("{0}")]
    Denied(String),
}

/// The event of a claim's stream.
#[derive(Debug, Serialize, Deserialize)]
enum Claim {
    #[serde(rename = "email_claimed")]
    Claimed { user_id: UserId },
}

impl Users {
    pub(crate) fn new(commands: Commands, store: Arc<PgStore>, config: &Config) -> Self {
        let passwords = Passwords::new(config.hashing_at_once, config.hashing_queue_max);
        Self { commands, store, passwords }
    }

    /// Makes an account; the address is claimed and the user registered in one unit of work.
    pub(crate) async fn register(&self, registration: Registration, correlation: Uuid) -> Result<Account, Error> {
        let Registration { name, email, password, role } = registration;
        // Before the costly part; what decides is the claim below.
        if self.holder(&email).await?.is_some() {
            return Err(Error::Taken);
        }
        let password_hash = self.passwords.hash(password).await?;
        let clock = self.commands.clock();
        let user_id = UserId(clock.new_id());
        let at = clock.now();
        let command = Command::Register { user_id, name, email: email.clone(), password_hash, role, at };
        let decided = User::default().decide(command).map_err(|error| Error::Denied(error.to_string()))?;
        let Idempotent::Executed(events) = decided else { return Err(Error::Taken) };
        let origin = Origin::request(correlation, clock.new_id(), format!("user:{user_id}"));
        let claim = Append {
            stream: claim(&email),
            expected: 0,
            events: vec![NewEvent {
                event_type: "email_claimed".to_owned(),
                event_version: "1".to_owned(),
                payload: json(&Claim::Claimed { user_id }),
                metadata: origin.metadata(clock),
            }],
        };
        let user = Append {
            stream: StreamId::of::<User>(user_id.to_string()),
            expected: 0,
            events: events
                .iter()
                .map(|event: &Event| NewEvent {
                    event_type: cqrs_es::DomainEvent::event_type(event),
                    event_version: cqrs_es::DomainEvent::event_version(event),
                    payload: json(event),
                    metadata: origin.metadata(clock),
                })
                .collect(),
        };
        let work = UnitOfWork { appends: vec![claim, user], ..UnitOfWork::default() };
        match self.store.commit(work).await {
            Ok(()) => {}
            Err(event_store::Error::Conflict { .. }) => return Err(Error::Taken),
            Err(error) => return Err(error.into()),
        }
        match kernel::fold::<User>(events) {
            User::Registered(account) => Ok(account),
            User::Unknown => Err(Error::Unknown),
        }
    }

    /// The account, if the password is its own. An unknown address takes as long.
    pub(crate) async fn login(&self, email: Option<EmailAddress>, password: String) -> Result<Account, Error> {
        let account = match email {
            Some(email) => match self.holder(&email).await? {
                Some(user_id) => self.find(user_id).await?,
                None => None,
            },
            None => None,
        };
        let hash = account.as_ref().map(|account| account.password_hash.clone());
        let right = self.passwords.verify(password, hash).await?;
        account.filter(|_| right).ok_or(Error::WrongCredentials)
    }

    /// A user's account.
    pub(crate) async fn find(&self, user_id: UserId) -> Result<Option<Account>, Error> {
        let (user, _) = self.commands.load::<User>(&user_id.to_string()).await?;
        Ok(match user {
            User::Registered(account) => Some(account),
            User::Unknown => None,
        })
    }

    /// Calls the user otherwise.
    pub(crate) async fn rename(&self, user_id: UserId, name: PersonName, correlation: Uuid) -> Result<Account, Error> {
        let clock = self.commands.clock();
        let origin = Origin::request(correlation, clock.new_id(), format!("user:{user_id}"));
        let command = Command::ChangeName { name, at: clock.now() };
        let executed = self.commands.execute::<User>(&user_id.to_string(), &origin, command).await;
        match executed {
            Ok(executed) => match executed.state {
                User::Registered(account) => Ok(account),
                User::Unknown => Err(Error::Unknown),
            },
            Err(runtime::commands::Error::Denied(_)) => Err(Error::Unknown),
            Err(runtime::commands::Error::Conflict) => Err(Error::Denied("others keep changing it".to_owned())),
            Err(runtime::commands::Error::NotRecorded(error)) => Err(error.into()),
        }
    }

    /// Now, and an id for what is made now.
    pub(crate) fn moment(&self) -> (chrono::DateTime<chrono::Utc>, Uuid) {
        (self.commands.clock().now(), self.commands.clock().new_id())
    }

    /// Makes the account unless its address has one.
    pub(crate) async fn bootstrap(&self, account: &Bootstrap) -> anyhow::Result<()> {
        let registration = Registration {
            name: account.name.parse().map_err(|error| anyhow::anyhow!("the account's name: {error}"))?,
            email: account.email.parse().map_err(|error| anyhow::anyhow!("the account's address {error}"))?,
            password: account.password.clone(),
            role: account.role,
        };
        match self.register(registration, self.commands.clock().new_id()).await {
            Ok(_) | Err(Error::Taken) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Whose the address is.
    async fn holder(&self, email: &EmailAddress) -> Result<Option<UserId>, Error> {
        let events = self.store.load(&[(claim(email), 0)]).await?.pop().unwrap_or_default();
        let Some(first) = events.first() else { return Ok(None) };
        let Claim::Claimed { user_id } =
            serde_json::from_str(&first.payload).map_err(|error| event_store::Error::Undecodable {
                stream: CLAIM.to_owned(),
                sequence: first.sequence,
                error: error.to_string(),
            })?;
        Ok(Some(user_id))
    }
}

/// The stream's id is a hash: the address itself stands in the user's stream alone.
fn claim(email: &EmailAddress) -> StreamId {
    let id = Uuid::new_v5(&Uuid::NAMESPACE_URL, format!("mailto:{email}").as_bytes());
    StreamId { aggregate_type: CLAIM, aggregate_id: id.to_string() }
}

/// # Panics
/// If the event cannot be written as JSON: they are plain structures that can.
fn json(event: &impl Serialize) -> String {
    serde_json::to_string(event).expect("events are plain JSON structures")
}

/// The read model follows users only.
pub(crate) fn is_user(aggregate_type: &str) -> bool {
    aggregate_type == User::TYPE
}
