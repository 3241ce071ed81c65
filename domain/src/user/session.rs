//! Sessions: one login of a user, and its family of refresh tokens, of which the last one alone is good.

use std::fmt;

use chrono::{DateTime, Utc};
use kernel::{Idempotent, SessionId, UserId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A refresh token's hash: all that is stored of it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub struct TokenHash(String);

impl TokenHash {
    /// Takes a hash that was made elsewhere.
    pub fn new(hash: String) -> Self {
        Self(hash)
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash(…)")
    }
}

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// The user logged out.
    LoggedOut,
    /// A token was shown that had been exchanged before: somebody else has it.
    TokenReplayed,
}

/// What may be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Begin one.
    Open {
        /// The new session.
        session_id: SessionId,
        /// Whose it is.
        user_id: UserId,
        /// The generation of the user's sessions that it belongs to.
        generation: u32,
        /// The first refresh token.
        token: TokenHash,
        /// When it ends by itself.
        expires_at: DateTime<Utc>,
        /// Now.
        at: DateTime<Utc>,
    },
    /// Exchange a refresh token for the next one.
    Refresh {
        /// The token shown.
        presented: TokenHash,
        /// The next one.
        next: TokenHash,
        /// Now.
        at: DateTime<Utc>,
    },
    /// Log out.
    End {
        /// Now.
        at: DateTime<Utc>,
    },
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// Somebody logged in.
    SessionOpened {
        /// The session.
        session_id: SessionId,
        /// Whose it is.
        user_id: UserId,
        /// The generation of the user's sessions that it belongs to.
        generation: u32,
        /// The first refresh token.
        token: TokenHash,
        /// When it ends by itself.
        expires_at: DateTime<Utc>,
        /// When.
        at: DateTime<Utc>,
    },
    /// The refresh token was exchanged.
    SessionRefreshed {
        /// The one that is good now.
        token: TokenHash,
        /// When.
        at: DateTime<Utc>,
    },
    /// No token of the family is good any more.
    SessionEnded {
        /// Why.
        reason: Ending,
        /// When.
        at: DateTime<Utc>,
    },
}

impl Event {
    fn event_type(&self) -> &'static str {
        match self {
            Self::SessionOpened { .. } => "session_opened",
            Self::SessionRefreshed { .. } => "session_refreshed",
            Self::SessionEnded { .. } => "session_ended",
        }
    }

    fn event_version(&self) -> &'static str {
        "1"
    }
}

/// A session as the events tell.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Session {
    /// There is no such session.
    #[default]
    Unknown,
    /// It may be refreshed.
    Open(Open),
    /// It is over.
    Ended,
}

/// A session that may be refreshed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Open {
    /// The session.
    pub session_id: SessionId,
    /// Whose it is.
    pub user_id: UserId,
    /// The generation of the user's sessions that it belongs to.
    pub generation: u32,
    /// The refresh token that is good.
    pub token: TokenHash,
    /// When it ends by itself.
    pub expires_at: DateTime<Utc>,
}

impl Session {
    fn fold_event(&mut self, event: Event) {
        match (&mut *self, event) {
            (_, Event::SessionOpened { session_id, user_id, generation, token, expires_at, at: _ }) => {
                *self = Self::Open(Open { session_id, user_id, generation, token, expires_at });
            }
            (Self::Open(open), Event::SessionRefreshed { token, at: _ }) => open.token = token,
            (_, Event::SessionRefreshed { .. }) => {}
            (_, Event::SessionEnded { .. }) => *self = Self::Ended,
        }
    }

    fn decide_command(&self, command: Command) -> Result<Idempotent<Vec<Event>>, Error> {
        let event = match (self, command) {
            (Self::Unknown, Command::Open { session_id, user_id, generation, token, expires_at, at }) => {
                Event::SessionOpened { session_id, user_id, generation, token, expires_at, at }
            }
            (_, Command::Open { .. }) => return Err(Error::AlreadyOpened),
            (Self::Unknown, _) => return Err(Error::Unknown),
            (Self::Ended, Command::End { .. }) => return Ok(Idempotent::AlreadyDone),
            (Self::Ended, Command::Refresh { .. }) => return Err(Error::Ended),
            (Self::Open(open), Command::Refresh { at, .. }) if at >= open.expires_at => return Err(Error::Ended),
            (Self::Open(open), Command::Refresh { presented, next, at }) if presented == open.token => {
                Event::SessionRefreshed { token: next, at }
            }
            (Self::Open(_), Command::Refresh { at, .. }) => Event::SessionEnded { reason: Ending::TokenReplayed, at },
            (Self::Open(_), Command::End { at }) => Event::SessionEnded { reason: Ending::LoggedOut, at },
        };
        Ok(Idempotent::Executed(vec![event]))
    }
}

kernel::aggregate!(Session, "session", Command, Event, Error, snapshot_every = 50);

/// Why not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The id belongs to another session.
    #[error("the session was opened already")]
    AlreadyOpened,
    /// There is no such session.
    #[error("there is no such session")]
    Unknown,
    /// It is over.
    #[error("the session is over")]
    Ended,
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;
    use crate::testing::{at, every_command_in_every_state, id};

    fn hash(token: &str) -> TokenHash {
        TokenHash::new(token.to_owned())
    }

    fn open() -> Command {
        let (session_id, user_id) = (id(1), id(2));
        let expires_at = at() + TimeDelta::days(30);
        Command::Open { session_id, user_id, generation: 0, token: hash("first"), expires_at, at: at() }
    }

    fn refresh(presented: &str, next: &str) -> Command {
        Command::Refresh { presented: hash(presented), next: hash(next), at: at() }
    }

    #[test]
    fn the_last_token_of_a_family_alone_is_good_and_an_older_one_ends_it() {
        let late = Command::Refresh { presented: hash("first"), next: hash("second"), at: at() + TimeDelta::days(30) };
        let end = || Command::End { at: at() };
        let commands = [open(), refresh("first", "x"), refresh("second", "x"), late, end()];
        every_command_in_every_state::<Session>(
            &commands,
            &[
                ("unknown", vec![], "session_opened !Unknown !Unknown !Unknown !Unknown"),
                ("open", vec![open()], "!AlreadyOpened session_refreshed session_ended !Ended session_ended"),
                (
                    "refreshed",
                    vec![open(), refresh("first", "second")],
                    "!AlreadyOpened session_ended session_refreshed !Ended session_ended",
                ),
                (
                    "replayed",
                    vec![open(), refresh("first", "second"), refresh("first", "third")],
                    "!AlreadyOpened !Ended !Ended !Ended -",
                ),
                ("logged out", vec![open(), end()], "!AlreadyOpened !Ended !Ended !Ended -"),
            ],
        );
    }
}
