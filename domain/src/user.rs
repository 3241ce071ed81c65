//! Users: who has an account. Personal data stands in the events as ciphertext alone: see [`Sealed`].

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use kernel::{AddressId, Idempotent, SessionId, UserId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub mod address;
pub mod session;
mod upcasters;
mod values;

pub use values::{EmailAddress, EmailError, Locale, LocaleError, PasswordHash, PersonName, Role, Sealed};

/// Entries of one address book.
pub const ADDRESSES_MAX: usize = 20;

/// What may be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Give somebody an account. That the address is free is checked by whoever stores it.
    Register {
        /// The new user.
        user_id: UserId,
        /// Their name.
        name: Sealed,
        /// Their address.
        email: Sealed,
        /// Their password's hash.
        password_hash: PasswordHash,
        /// What they may do.
        role: Role,
        /// Now.
        at: DateTime<Utc>,
    },
    /// Call them otherwise.
    ChangeName {
        /// The new name.
        name: Sealed,
        /// Now.
        at: DateTime<Utc>,
    },
    /// Speak another language to them.
    ChangeLocale {
        /// The language.
        locale: Locale,
        /// Now.
        at: DateTime<Utc>,
    },
    /// Change the password: every session but the one that it is changed in ends.
    ChangePassword {
        /// The new password's hash.
        password_hash: PasswordHash,
        /// The session that goes on.
        kept: Option<SessionId>,
        /// Now.
        at: DateTime<Utc>,
    },
    /// Store the same password's hash anew, made with today's parameters.
    Rehash {
        /// The hash that the password was checked against.
        old: PasswordHash,
        /// The new one.
        new: PasswordHash,
        /// Now.
        at: DateTime<Utc>,
    },
    /// Log out everywhere.
    EndSessions {
        /// Now.
        at: DateTime<Utc>,
    },
    /// Let them in no more.
    Lock {
        /// The administrator who asks.
        by: UserId,
        /// Now.
        at: DateTime<Utc>,
    },
    /// Let them in again.
    Unlock {
        /// Now.
        at: DateTime<Utc>,
    },
    /// Let them do more, or less.
    ChangeRole {
        /// The new role.
        role: Role,
        /// The administrator who asks.
        by: UserId,
        /// Now.
        at: DateTime<Utc>,
    },
    /// Put an entry into the address book.
    AddAddress {
        /// The entry.
        address_id: AddressId,
        /// What it says.
        address: Sealed,
        /// Now.
        at: DateTime<Utc>,
    },
    /// Write an entry anew.
    ReplaceAddress {
        /// The entry.
        address_id: AddressId,
        /// What it says.
        address: Sealed,
        /// Now.
        at: DateTime<Utc>,
    },
    /// Take an entry out.
    RemoveAddress {
        /// The entry.
        address_id: AddressId,
        /// Now.
        at: DateTime<Utc>,
    },
    /// Forget them.
    Delete {
        /// Now.
        at: DateTime<Utc>,
    },
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// Somebody got an account.
    UserRegistered {
        /// The user.
        user_id: UserId,
        /// Their name.
        name: Sealed,
        /// Their address.
        email: Sealed,
        /// Their password's hash.
        password_hash: PasswordHash,
        /// What they may do.
        role: Role,
        /// When.
        at: DateTime<Utc>,
    },
    /// They are called otherwise.
    NameChanged {
        /// The new name.
        name: Sealed,
        /// When.
        at: DateTime<Utc>,
    },
    /// They are spoken to in another language.
    LocaleChanged {
        /// The language.
        locale: Locale,
        /// When.
        at: DateTime<Utc>,
    },
    /// They have another password; their other sessions are over.
    PasswordChanged {
        /// The new password's hash.
        password_hash: PasswordHash,
        /// The session that goes on.
        kept: Option<SessionId>,
        /// When.
        at: DateTime<Utc>,
    },
    /// The same password's hash was made anew.
    PasswordRehashed {
        /// The hash.
        password_hash: PasswordHash,
        /// When.
        at: DateTime<Utc>,
    },
    /// All their sessions are over.
    SessionsEnded {
        /// When.
        at: DateTime<Utc>,
    },
    /// They are not let in; their sessions are over.
    UserLocked {
        /// When.
        at: DateTime<Utc>,
    },
    /// They are let in again.
    UserUnlocked {
        /// When.
        at: DateTime<Utc>,
    },
    /// They may do more, or less.
    RoleChanged {
        /// The new role.
        role: Role,
        /// When.
        at: DateTime<Utc>,
    },
    /// The address book has an entry, or the entry says something else.
    AddressSaved {
        /// The entry.
        address_id: AddressId,
        /// What it says.
        address: Sealed,
        /// When.
        at: DateTime<Utc>,
    },
    /// An entry is gone.
    AddressRemoved {
        /// The entry.
        address_id: AddressId,
        /// When.
        at: DateTime<Utc>,
    },
    /// They are forgotten: the key of all that is personal here is destroyed.
    UserDeleted {
        /// When.
        at: DateTime<Utc>,
    },
}

impl Event {
    fn event_type(&self) -> &'static str {
        match self {
            Self::UserRegistered { .. } => "user_registered",
            Self::NameChanged { .. } => "name_changed",
            Self::LocaleChanged { .. } => "locale_changed",
            Self::PasswordChanged { .. } => "password_changed",
            Self::PasswordRehashed { .. } => "password_rehashed",
            Self::SessionsEnded { .. } => "sessions_ended",
            Self::UserLocked { .. } => "user_locked",
            Self::UserUnlocked { .. } => "user_unlocked",
            Self::RoleChanged { .. } => "role_changed",
            Self::AddressSaved { .. } => "address_saved",
            Self::AddressRemoved { .. } => "address_removed",
            Self::UserDeleted { .. } => "user_deleted",
        }
    }

    fn event_version(&self) -> &'static str {
        match self {
            Self::UserRegistered { .. } | Self::NameChanged { .. } => "2",
            _ => "1",
        }
    }
}

/// A user as the events tell.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum User {
    /// There is no such user.
    #[default]
    Unknown,
    /// They have an account.
    Registered(Account),
    /// They had one, and are forgotten.
    Deleted {
        /// What is left of them.
        user_id: UserId,
    },
}

/// A user's account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// The user.
    pub user_id: UserId,
    /// Their name.
    pub name: Sealed,
    /// Their address.
    pub email: Sealed,
    /// Their password's hash.
    pub password_hash: PasswordHash,
    /// What they may do.
    pub role: Role,
    /// The language that they are spoken to in, if they chose one.
    pub locale: Option<Locale>,
    /// Whether they are not let in.
    pub locked: bool,
    /// Their address book.
    pub addresses: BTreeMap<AddressId, Sealed>,
    /// Raised whenever all sessions end: those of an older generation are over.
    pub generation: u32,
    /// The session of an older generation that goes on all the same.
    pub kept: Option<SessionId>,
}

impl Account {
    /// Whether a session of this generation may go on.
    pub fn admits(&self, session: SessionId, generation: u32) -> bool {
        !self.locked && (generation == self.generation || self.kept == Some(session))
    }

    fn end_sessions(&mut self, kept: Option<SessionId>) {
        self.generation = self.generation.saturating_add(1);
        self.kept = kept;
    }

    fn fold_event(&mut self, event: Event) {
        match event {
            Event::NameChanged { name, .. } => self.name = name,
            Event::LocaleChanged { locale, .. } => self.locale = Some(locale),
            Event::PasswordChanged { password_hash, kept, .. } => {
                self.password_hash = password_hash;
                self.end_sessions(kept);
            }
            Event::PasswordRehashed { password_hash, .. } => self.password_hash = password_hash,
            Event::SessionsEnded { .. } => self.end_sessions(None),
            Event::UserLocked { .. } => {
                self.locked = true;
                self.end_sessions(None);
            }
            Event::UserUnlocked { .. } => self.locked = false,
            Event::RoleChanged { role, .. } => self.role = role,
            Event::AddressSaved { address_id, address, .. } => {
                self.addresses.insert(address_id, address);
            }
            Event::AddressRemoved { address_id, .. } => {
                self.addresses.remove(&address_id);
            }
            Event::UserRegistered { .. } | Event::UserDeleted { .. } => {}
        }
    }

    fn decide_command(&self, command: Command) -> Result<Option<Event>, Error> {
        let event = match command {
            // Ciphertexts of one and the same text differ: whoever asks has seen whether it is another.
            Command::ChangeName { name, at } => Event::NameChanged { name, at },
            Command::ChangeLocale { locale, .. } if self.locale.as_ref() == Some(&locale) => return Ok(None),
            Command::ChangeLocale { locale, at } => Event::LocaleChanged { locale, at },
            Command::ChangePassword { password_hash, kept, at } => Event::PasswordChanged { password_hash, kept, at },
            // The password was changed since: its hash is younger than this one.
            Command::Rehash { old, .. } if old != self.password_hash => return Ok(None),
            Command::Rehash { new, at, .. } => Event::PasswordRehashed { password_hash: new, at },
            Command::EndSessions { at } => Event::SessionsEnded { at },
            Command::Lock { by, .. } | Command::ChangeRole { by, .. } if by == self.user_id => {
                return Err(Error::OwnAccount);
            }
            Command::Lock { .. } if self.locked => return Ok(None),
            Command::Lock { at, .. } => Event::UserLocked { at },
            Command::Unlock { .. } if !self.locked => return Ok(None),
            Command::Unlock { at } => Event::UserUnlocked { at },
            Command::ChangeRole { role, .. } if role == self.role => return Ok(None),
            Command::ChangeRole { role, at, .. } => Event::RoleChanged { role, at },
            Command::AddAddress { address_id, .. } if self.addresses.contains_key(&address_id) => return Ok(None),
            Command::AddAddress { .. } if self.addresses.len() >= ADDRESSES_MAX => return Err(Error::TooManyAddresses),
            Command::AddAddress { address_id, address, at } => Event::AddressSaved { address_id, address, at },
            Command::ReplaceAddress { address_id, .. } | Command::RemoveAddress { address_id, .. }
                if !self.addresses.contains_key(&address_id) =>
            {
                return Err(Error::UnknownAddress);
            }
            Command::ReplaceAddress { address_id, address, at } => Event::AddressSaved { address_id, address, at },
            Command::RemoveAddress { address_id, at } => Event::AddressRemoved { address_id, at },
            Command::Delete { at } => Event::UserDeleted { at },
            Command::Register { .. } => return Err(Error::AlreadyRegistered),
        };
        Ok(Some(event))
    }
}

impl User {
    fn fold_event(&mut self, event: Event) {
        match (&mut *self, event) {
            (Self::Unknown, Event::UserRegistered { user_id, name, email, password_hash, role, at: _ }) => {
                *self = Self::Registered(Account {
                    user_id,
                    name,
                    email,
                    password_hash,
                    role,
                    locale: None,
                    locked: false,
                    addresses: BTreeMap::new(),
                    generation: 0,
                    kept: None,
                });
            }
            (Self::Registered(account), Event::UserDeleted { .. }) => {
                *self = Self::Deleted { user_id: account.user_id };
            }
            (Self::Registered(account), event) => account.fold_event(event),
            (Self::Unknown | Self::Deleted { .. }, _) => {}
        }
    }

    fn decide_command(&self, command: Command) -> Result<Idempotent<Vec<Event>>, Error> {
        let event = match (self, command) {
            (Self::Unknown, Command::Register { user_id, name, email, password_hash, role, at }) => {
                Some(Event::UserRegistered { user_id, name, email, password_hash, role, at })
            }
            (Self::Unknown, _) => return Err(Error::Unknown),
            (Self::Registered(account), command) => account.decide_command(command)?,
            (Self::Deleted { .. }, Command::Delete { .. }) => None,
            (Self::Deleted { .. }, _) => return Err(Error::Deleted),
        };
        Ok(event.map_or(Idempotent::AlreadyDone, |event| Idempotent::Executed(vec![event])))
    }
}

kernel::aggregate!(User, "user", Command, Event, Error, snapshot_every = 0, upcasters = upcasters::ALL);

/// Why not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The id belongs to somebody else.
    #[error("the user is registered already")]
    AlreadyRegistered,
    /// There is no such user.
    #[error("there is no such user")]
    Unknown,
    /// There is no such user any more.
    #[error("the user was deleted")]
    Deleted,
    /// Nobody locks themselves out.
    #[error("administrators neither lock themselves nor change their own role")]
    OwnAccount,
    /// The address book is full.
    #[error("an address book has at most {ADDRESSES_MAX} entries")]
    TooManyAddresses,
    /// There is no such entry.
    #[error("there is no such address")]
    UnknownAddress,
    /// Not a role.
    #[error("a role is customer or admin")]
    UnknownRole,
}

#[cfg(test)]
mod tests;
