//! How an account begins, and how it ends.

use cqrs_es::DomainEvent;
use domain::user::{self, Account, Command, EmailAddress, Event, PersonName, Role, User};
use event_store::clock::Clock;
use event_store::{Append, EventStore, StreamId, UnitOfWork};
use kernel::{Decide, Idempotent, UserId};
use runtime::Origin;
use uuid::Uuid;

use super::claims::{self, Claim};
use super::{Answering, Error, Person, Users, unanswered};
use crate::answers;
use crate::config::Bootstrap;
use crate::persons::Field;

/// What somebody registers with.
pub(crate) struct Registration {
    pub(crate) name: PersonName,
    pub(crate) email: EmailAddress,
    pub(crate) password: String,
    pub(crate) role: Role,
}

impl Users {
    /// Makes an account; the address is claimed and the user registered in one unit of work.
    pub(crate) async fn register(
        &self,
        registration: Registration,
        correlation: Uuid,
        answering: Answering<'_, Person>,
    ) -> Result<Person, Error> {
        let Registration { name, email, password, role } = registration;
        let claim = Claim::of(&self.store, &self.vault, &email).await?;
        // Before the costly part; what decides is the append to the claim below.
        if claim.holder.is_some() {
            return Err(Error::Taken);
        }
        let about = vec![name.as_str().to_owned(), email.as_str().to_owned()];
        let password_hash = self.passwords.place().await?.hash_new(password, about).await?;
        let clock = self.commands.clock();
        let user_id = UserId(clock.new_id());
        // A key without a user is worth nothing; a user without a key would be lost.
        let key = self.persons.create(user_id).await?;
        let command = Command::Register {
            user_id,
            name: key.seal(Field::Name, name.as_str())?,
            email: key.seal(Field::Email, email.as_str())?,
            password_hash,
            role,
            at: clock.now(),
        };
        let Idempotent::Executed(events) = User::default().decide(command)? else { return Err(Error::Taken) };
        let origin = self.origin(correlation, user_id);
        let appends = vec![claim.claimed_by(user_id, &origin, clock), self.append(user_id, 0, &events, &origin)];
        let User::Registered(account) = kernel::fold::<User>(events) else {
            return Err(Error::Denied(user::Error::Unknown));
        };
        let person = Person::opened(account, Some(&key));
        let answers = answering(&person).and_then(|answer| answers::sealed(answer, &key)).into_iter().collect();
        match self.store.commit(UnitOfWork { appends, answers, ..UnitOfWork::default() }).await {
            Ok(()) => Ok(person),
            // Somebody else was faster, or another run of the same request.
            Err(event_store::Error::Conflict { .. } | event_store::Error::Repeated) => {
                self.persons.destroy(user_id).await?;
                Err(Error::Taken)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Forgets the user, who confirms it with their password: their events stay, and nobody can read what is personal in
    /// them. The address is free again, and no session goes on.
    pub(crate) async fn delete(&self, account: Account, password: String, correlation: Uuid) -> Result<(), Error> {
        let user_id = account.user_id;
        drop(self.confirm(&account, password).await?);
        let origin = self.origin(correlation, user_id);
        self.forget(user_id, &origin).await
    }

    async fn forget(&self, user_id: UserId, origin: &Origin) -> Result<(), Error> {
        for _ in 0..super::profile::TRIES_MAX {
            let (user, sequence) = self.commands.load::<User>(&user_id.to_string()).await?;
            let clock = self.commands.clock();
            let decided = user.decide(Command::Delete { at: clock.now() })?;
            if let Idempotent::Executed(events) = decided {
                let mut appends = vec![self.append(user_id, sequence, &events, origin)];
                // Their address is readable for the last time here.
                if let User::Registered(account) = user
                    && let Some(email) = self.open(account).await?.email.and_then(|email| email.parse().ok())
                {
                    let claim = Claim::of(&self.store, &self.vault, &email).await?;
                    if claim.holder == Some(user_id) {
                        appends.push(claim.released_by(user_id, origin, clock));
                    }
                }
                match self.store.commit(UnitOfWork { appends, ..UnitOfWork::default() }).await {
                    Ok(()) => {}
                    Err(event_store::Error::Conflict { .. }) => continue,
                    Err(error) => return Err(error.into()),
                }
            }
            // The read model does so too, should this process die here.
            return Ok(self.persons.destroy(user_id).await?);
        }
        Err(Error::Contended)
    }

    fn append(&self, user_id: UserId, expected: u64, events: &[Event], origin: &Origin) -> Append {
        append(user_id, expected, events, origin, self.commands.clock())
    }

    /// Makes the account unless its address has one.
    pub(crate) async fn bootstrap(&self, account: &Bootstrap) -> anyhow::Result<()> {
        match self.register(account.registration()?, self.commands.clock().new_id(), &unanswered).await {
            Ok(_) | Err(Error::Taken) => Ok(()),
            Err(Error::Passwords(error)) => Err(anyhow::anyhow!("the password of {}: {error}", account.role.as_str())),
            Err(error) => Err(error.into()),
        }
    }
}

/// The append of a user's events.
pub(crate) fn append(user_id: UserId, expected: u64, events: &[Event], origin: &Origin, clock: &dyn Clock) -> Append {
    let new = |event: &Event| claims::new_event(&event.event_type(), &event.event_version(), event, origin, clock);
    let stream = StreamId::of::<User>(user_id.to_string());
    Append { stream, expected, events: events.iter().map(new).collect() }
}

impl Bootstrap {
    /// The account as it is registered.
    ///
    /// # Errors
    /// A name or an address that is none.
    pub(crate) fn registration(&self) -> anyhow::Result<Registration> {
        Ok(Registration {
            name: self.name.parse().map_err(|error| anyhow::anyhow!("the account's name: {error}"))?,
            email: self.email.parse().map_err(|error| anyhow::anyhow!("the account's address {error}"))?,
            password: self.password.clone(),
            role: self.role,
        })
    }
}
