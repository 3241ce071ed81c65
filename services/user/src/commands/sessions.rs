//! Logins, and what a login gives: a session with its family of refresh tokens.
//!
//! A refresh token names its session and holds 256 random bits; its hash alone is stored. It is exchanged for the next
//! one at each use. One that comes again was copied: its whole family ends.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::TimeDelta;
use domain::user::session::{self, Ending, Session, TokenHash};
use domain::user::{self, Account, Command, EmailAddress};
use kernel::{SessionId, UserId};
use runtime::Origin;
use sha2::{Digest, Sha256};
use uuid::Uuid;
use web::auth::Identity;

use super::{Answering, Error, Person, Users, unanswered};
use crate::{passwords, vault};

/// What a refresh token begins with, so that one that leaks is known for what it is.
const PREFIX: &str = "srt1_";
/// The session's id and the secret.
const TOKEN_BYTES: usize = 16 + 32;

/// A session, as whoever began or refreshed it gets it.
pub(crate) struct Opened {
    pub(crate) session_id: SessionId,
    pub(crate) refresh_token: String,
    pub(crate) account: Account,
}

/// A caller whose account and session are alive at this moment.
pub(crate) struct Caller {
    pub(crate) account: Account,
    pub(crate) session: Option<SessionId>,
}

impl From<session::Error> for Error {
    fn from(_: session::Error) -> Self {
        Self::SessionOver
    }
}

impl Users {
    /// A session, if the password is the account's own. An unknown address takes as long.
    pub(crate) async fn login(
        &self,
        email: Option<EmailAddress>,
        password: String,
        correlation: Uuid,
    ) -> Result<(Person, Opened), Error> {
        // All texts that are no address count as one.
        let attempted = email.as_ref().map_or(Uuid::nil(), |email| self.vault.email_id(email));
        let place = self.attempt(attempted).await?;
        let holder = match &email {
            Some(email) => self.holder(email).await?,
            None => None,
        };
        // Nobody is looked for, too: it takes as long.
        let account = self.find(holder.unwrap_or(UserId(Uuid::nil()))).await?;
        let hash = account.as_ref().map(|account| account.password_hash.clone());
        let (place, right) = place.verify(password.clone(), hash).await?;
        let Some(account) = account.filter(|_| right) else {
            self.attempts.failed(attempted);
            return Err(Error::WrongCredentials);
        };
        self.attempts.succeeded(attempted);
        if account.locked {
            return Err(Error::Locked);
        }
        let origin = self.origin(correlation, account.user_id);
        if passwords::is_outgrown(&account.password_hash) {
            let old = account.password_hash.clone();
            let new = place.hash(password).await?;
            let rehash = Command::Rehash { old, new, at: self.now() };
            self.execute(account.user_id, &origin, rehash, &unanswered).await?;
        }
        let opened = self.begin(account.clone(), &origin).await?;
        Ok((self.open(account).await?, opened))
    }

    async fn begin(&self, account: Account, origin: &Origin) -> Result<Opened, Error> {
        let session_id = SessionId(self.commands.clock().new_id());
        let (refresh_token, token) = new_token(session_id)?;
        let at = self.now();
        let lifetime = TimeDelta::from_std(self.refresh_lifetime).map_err(anyhow::Error::from)?;
        let command = session::Command::Open {
            session_id,
            user_id: account.user_id,
            generation: account.generation,
            token,
            expires_at: at + lifetime,
            at,
        };
        self.commands.create::<Session>(&session_id.to_string(), origin, command).await?;
        Ok(Opened { session_id, refresh_token, account })
    }

    /// Exchanges a refresh token. One that was exchanged before ends its session.
    pub(crate) async fn refresh(&self, token: &str, correlation: Uuid) -> Result<Opened, Error> {
        let session_id = session_of(token).ok_or(Error::SessionOver)?;
        let (session, _) = self.commands.load::<Session>(&session_id.to_string()).await?;
        let Session::Open(open) = session else { return Err(Error::SessionOver) };
        let account = self.find(open.user_id).await?.ok_or(Error::SessionOver)?;
        if !account.admits(session_id, open.generation) {
            return Err(Error::SessionOver);
        }
        let (refresh_token, next) = new_token(session_id)?;
        let command = session::Command::Refresh { presented: hash(token), next, at: self.now() };
        let origin = self.origin(correlation, open.user_id);
        let executed = self.commands.execute::<Session>(&session_id.to_string(), &origin, command).await?;
        match executed.events.last() {
            Some(session::Event::SessionEnded { reason: Ending::TokenReplayed, .. }) => {
                tracing::warn!(user.id = %open.user_id, session.id = %session_id, "a refresh token came again: its session is over");
                Err(Error::SessionOver)
            }
            _ => Ok(Opened { session_id, refresh_token, account }),
        }
    }

    /// The caller, if their account and session are alive: here, unlike in other services, a token is not enough.
    pub(crate) async fn caller(&self, identity: &Identity) -> Result<Caller, Error> {
        let account = self.find(identity.user_id).await?.filter(|account| !account.locked).ok_or(Error::SessionOver)?;
        let session = identity.session.map(SessionId);
        if let Some(session_id) = session {
            let (found, _) = self.commands.load::<Session>(&session_id.to_string()).await?;
            let alive = matches!(&found, Session::Open(open)
                if open.user_id == account.user_id && account.admits(session_id, open.generation));
            if !alive {
                return Err(Error::SessionOver);
            }
        }
        Ok(Caller { account, session })
    }

    /// As [`Users::caller`], for those who run the shop now, whatever their token says.
    pub(crate) async fn administrator(&self, identity: &Identity) -> Result<UserId, Error> {
        let caller = self.caller(identity).await?;
        if caller.account.role == user::Role::Admin { Ok(caller.account.user_id) } else { Err(Error::Forbidden) }
    }

    /// Ends the caller's session, or all of them.
    pub(crate) async fn logout(
        &self,
        caller: &Caller,
        everywhere: bool,
        correlation: Uuid,
        answering: Answering<'_, ()>,
    ) -> Result<(), Error> {
        let (user_id, at) = (caller.account.user_id, self.now());
        let origin = self.origin(correlation, user_id);
        match caller.session {
            Some(session_id) if !everywhere => {
                let (id, end) = (session_id.to_string(), session::Command::End { at });
                let answering = |_: &Session, _| answering(&());
                self.commands.execute_answered(&id, &origin, end, |_, _| Ok(()), &answering).await?;
            }
            _ => {
                self.execute(user_id, &origin, Command::EndSessions { at }, &|_| answering(&())).await?;
            }
        }
        Ok(())
    }
}

/// A refresh token of the session, and its hash.
fn new_token(session_id: SessionId) -> anyhow::Result<(String, TokenHash)> {
    let secret = vault::random()?;
    let mut bytes = [0_u8; TOKEN_BYTES];
    bytes[..16].copy_from_slice(session_id.0.as_bytes());
    bytes[16..].copy_from_slice(secret.as_slice());
    let token = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes));
    let hash = hash(&token);
    Ok((token, hash))
}

/// The session that a token names, if it has the form of one.
fn session_of(token: &str) -> Option<SessionId> {
    let encoded = token.strip_prefix(PREFIX).filter(|encoded| encoded.len() == TOKEN_BYTES / 3 * 4)?;
    let bytes = URL_SAFE_NO_PAD.decode(encoded).ok()?;
    Some(SessionId(Uuid::from_slice(bytes.get(..16)?).ok()?))
}

/// 256 random bits need no slow hash.
fn hash(token: &str) -> TokenHash {
    TokenHash::new(URL_SAFE_NO_PAD.encode(Sha256::digest(token.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refresh_token_names_its_session_and_is_never_the_same() {
        let id = SessionId(Uuid::now_v7());
        let ((one, one_hash), (two, two_hash)) = (new_token(id).unwrap(), new_token(id).unwrap());
        assert_ne!(one, two);
        assert!(one_hash != two_hash && hash(&one) == one_hash);
        assert_eq!(session_of(&one), Some(id));
        for bad in
            ["", PREFIX, "x", &one[1..], &one[..one.len() - 1], &format!("{one}A"), &one.replace(PREFIX, "srt2_")]
        {
            assert_eq!(session_of(bad), None, "{bad}");
        }
    }
}
