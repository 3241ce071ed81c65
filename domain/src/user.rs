//! Users: who has an account.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use kernel::{Idempotent, UserId};
use serde::{Deserialize, Serialize};

use crate::text::line;

line!(
    /// A person's name: 1 to 100 characters.
    PersonName,
    100
);

/// An e-mail address in lower case, so that one mailbox is one user. ASCII, with a host of at least two labels.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EmailAddress(String);

/// Not an e-mail address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not an e-mail address such as john@example.com")]
pub struct EmailError;

impl EmailAddress {
    /// The longest address that can be mailed to (RFC 5321, erratum 1690), in bytes.
    pub const BYTES_MAX: usize = 254;

    /// The address.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for EmailAddress {
    type Err = EmailError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let address = text.trim().to_ascii_lowercase();
        let (mailbox, host) = address.rsplit_once('@').ok_or(EmailError)?;
        // The characters of an `atom` (RFC 5322, 3.2.3), without capitals.
        let in_atom = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"!#$%&'*+-/=?^_`{|}~".contains(&b);
        let atom = |part: &str| !part.is_empty() && part.bytes().all(in_atom);
        let label = |part: &str| {
            (1..=63).contains(&part.len())
                && !part.starts_with('-')
                && !part.ends_with('-')
                && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        let valid = address.len() <= Self::BYTES_MAX
            && mailbox.len() <= 64
            && mailbox.split('.').all(atom)
            && host.contains('.')
            && host.split('.').all(label);
        if valid { Ok(Self(address)) } else { Err(EmailError) }
    }
}

impl fmt::Display for EmailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A password's hash in PHC format. It is not shown by `Debug`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PasswordHash(String);

impl PasswordHash {
    /// Takes a hash that was made elsewhere.
    pub fn new(phc: String) -> Self {
        Self(phc)
    }

    /// The hash, to verify a password against.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(…)")
    }
}

/// What a user may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Buys.
    Customer,
    /// Runs the shop.
    Admin,
}

impl Role {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Customer => "customer",
            Self::Admin => "admin",
        }
    }
}

impl FromStr for Role {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        [Self::Customer, Self::Admin].into_iter().find(|role| role.as_str() == name).ok_or(Error::UnknownRole)
    }
}

/// What may be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Give somebody an account. That the address is free is checked by whoever stores it.
    Register {
        /// The new user.
        user_id: UserId,
        /// Their name.
        name: PersonName,
        /// Their address.
        email: EmailAddress,
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
        name: PersonName,
        /// Now.
        at: DateTime<Utc>,
    },
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// Somebody got an account.
    UserRegistered {
        /// The user.
        user_id: UserId,
        /// Their name.
        name: PersonName,
        /// Their address.
        email: EmailAddress,
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
        name: PersonName,
        /// When.
        at: DateTime<Utc>,
    },
}

impl Event {
    fn event_type(&self) -> &'static str {
        match self {
            Self::UserRegistered { .. } => "user_registered",
            Self::NameChanged { .. } => "name_changed",
        }
    }

    fn event_version(&self) -> &'static str {
        "1"
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
}

/// A user's account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// The user.
    pub user_id: UserId,
    /// Their name.
    pub name: PersonName,
    /// Their address.
    pub email: EmailAddress,
    /// Their password's hash.
    pub password_hash: PasswordHash,
    /// What they may do.
    pub role: Role,
}

impl User {
    fn fold_event(&mut self, event: Event) {
        match (&mut *self, event) {
            (_, Event::UserRegistered { user_id, name, email, password_hash, role, at: _ }) => {
                *self = Self::Registered(Account { user_id, name, email, password_hash, role });
            }
            (Self::Registered(account), Event::NameChanged { name, at: _ }) => account.name = name,
            (Self::Unknown, Event::NameChanged { .. }) => {}
        }
    }

    fn decide_command(&self, command: Command) -> Result<Idempotent<Vec<Event>>, Error> {
        let event = match (self, command) {
            (Self::Unknown, Command::Register { user_id, name, email, password_hash, role, at }) => {
                Event::UserRegistered { user_id, name, email, password_hash, role, at }
            }
            (Self::Registered(account), Command::Register { user_id, email, .. }) => {
                let same = account.user_id == user_id && account.email == email;
                return if same { Ok(Idempotent::AlreadyDone) } else { Err(Error::AlreadyRegistered) };
            }
            (Self::Unknown, Command::ChangeName { .. }) => return Err(Error::Unknown),
            (Self::Registered(account), Command::ChangeName { name, .. }) if account.name == name => {
                return Ok(Idempotent::AlreadyDone);
            }
            (Self::Registered(_), Command::ChangeName { name, at }) => Event::NameChanged { name, at },
        };
        Ok(Idempotent::Executed(vec![event]))
    }
}

kernel::aggregate!(User, "user", Command, Event, Error);

/// Why not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The id belongs to somebody else.
    #[error("the user is registered already")]
    AlreadyRegistered,
    /// There is no such user.
    #[error("there is no such user")]
    Unknown,
    /// Not a role.
    #[error("a role is customer or admin")]
    UnknownRole,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{at, every_command_in_every_state, given, id};

    fn register(email: &str) -> Command {
        Command::Register {
            user_id: id(1),
            name: "John Doe".parse().unwrap(),
            email: email.parse().unwrap(),
            password_hash: PasswordHash::new("$argon2id$…".to_owned()),
            role: Role::Customer,
            at: at(),
        }
    }

    fn change_name(name: &str) -> Command {
        Command::ChangeName { name: name.parse().unwrap(), at: at() }
    }

    #[test]
    fn every_command_does_what_it_must_in_every_state() {
        let john = || register("john@example.com");
        every_command_in_every_state::<User>(
            &[john(), register("jane@example.com"), change_name("Jonny"), change_name("John Doe")],
            &[
                ("unknown", vec![], "user_registered user_registered !Unknown !Unknown"),
                ("registered", vec![john()], "- !AlreadyRegistered name_changed -"),
                ("renamed", vec![john(), change_name("Jonny")], "- !AlreadyRegistered - name_changed"),
            ],
        );
    }

    #[test]
    fn an_account_is_what_was_registered_under_the_last_name() {
        let User::Registered(account) = given([register("JOHN@Example.com"), change_name("  Jonny ")]).0 else {
            panic!("registered");
        };
        assert_eq!((account.name.as_str(), account.email.as_str()), ("Jonny", "john@example.com"));
        assert_eq!(account.role, Role::Customer);
        assert!(!format!("{account:?}").contains("argon2id"));
    }

    #[test]
    fn addresses_are_parsed() {
        for good in
            ["a@b.co", "john.doe+tag@mail.example.com", "o'neil@example.com", &format!("{}@b.co", "a".repeat(64))]
        {
            assert!(good.parse::<EmailAddress>().is_ok(), "{good}");
        }
        let long_host = format!("a@{}.com", "abcdefgh.".repeat(28));
        for bad in [
            "",
            "@",
            "a@",
            "@b.co",
            "a@b",
            "a b@c.de",
            "a@b..co",
            ".a@b.co",
            "a.@b.co",
            "a@-b.co",
            "a@b.co\0x",
            "a\n@b.co",
            "ä@b.co",
            "a@b@c.de",
            "<a@b.co>",
            &format!("{}@b.co", "a".repeat(65)),
            &long_host,
        ] {
            assert_eq!(bad.parse::<EmailAddress>(), Err(EmailError), "{bad}");
        }
        assert_eq!("admin".parse(), Ok(Role::Admin));
        assert_eq!("root".parse::<Role>(), Err(Error::UnknownRole));
    }
}
