//! Registration, login and sessions.

use std::sync::Arc;
use std::time::Duration;

use domain::user::Role;
use poem_openapi::payload::Json;
use poem_openapi::{ApiResponse, OpenApi};
use web::auth::{Bearer, Grant};
use web::{Answered, Idempotency, IdempotencyKey, Problem, RequestContext, Ticket};

use super::bodies::{Login, Refresh, Register, Session, User};
use super::refused::{ByLogin, ByRefresh, Refused};
use super::{Done, Tag, refusal, shown_password};
use crate::commands::{Opened, Person, Users};
use crate::keys::KeyRing;

/// How an account begins, and what opens it.
pub(crate) struct Accounts {
    users: Arc<Users>,
    keys: Arc<KeyRing>,
    idempotency: Idempotency,
    token_lifetime: Duration,
}

#[derive(ApiResponse)]
enum Registered {
    /// The account was made.
    #[oai(status = 201)]
    Created(Json<User>),
}

impl Registered {
    fn of(person: &Person) -> Self {
        Self::Created(Json(User::from(person)))
    }
}

#[OpenApi]
impl Accounts {
    /// Make an account
    #[oai(path = "/register", method = "post", tag = "Tag::Accounts", operation_id = "register")]
    async fn register(
        &self,
        context: RequestContext,
        /// Any text of your own. Sent again with the same key and body, the account is made once and answered the same.
        #[oai(name = "Idempotency-Key")]
        key: IdempotencyKey,
        body: Json<Register>,
    ) -> Result<Answered<Registered>, Problem> {
        let registration = body.0.read()?;
        let register = |ticket: Ticket| async move {
            let answering = |person: &Person| ticket.answer(|| Registered::of(person));
            let person = self.users.register(registration, context.correlation_id, &answering).await;
            Ok::<_, Problem>(Registered::of(&person.map_err(refusal)?))
        };
        self.idempotency.once(&key, None, register).await
    }

    /// Log in
    ///
    /// Opens a session: a short-lived access token for the other calls, and a refresh token for the next one. After ten
    /// wrong passwords within a quarter of an hour the account rests. No idempotency key is heeded: tokens are kept
    /// nowhere, and whoever misses the answer logs in again.
    #[oai(path = "/login", method = "post", tag = "Tag::Accounts", operation_id = "login")]
    async fn login(&self, context: RequestContext, body: Json<Login>) -> Result<Json<Session>, Refused<ByLogin>> {
        let password = shown_password(&body.password)?;
        let opened = self.users.login(body.email.parse().ok(), password, context.correlation_id).await;
        let (person, opened) = opened.map_err(refusal)?;
        Ok(self.session(opened, Some(User::from(&person)))?)
    }

    /// Exchange a refresh token
    ///
    /// For a new access token and the next refresh token. Each refresh token is good once: one that comes again ends its
    /// whole session, because somebody else has a copy of it. No idempotency key is heeded, for the same reason.
    #[oai(path = "/refresh", method = "post", tag = "Tag::Accounts", operation_id = "refresh")]
    async fn refresh(&self, context: RequestContext, body: Json<Refresh>) -> Result<Json<Session>, Refused<ByRefresh>> {
        let opened = self.users.refresh(&body.refresh_token, context.correlation_id).await.map_err(refusal)?;
        Ok(self.session(opened, None)?)
    }

    /// Log out on this device
    ///
    /// Its refresh token is good no more; access tokens end by themselves within minutes.
    #[oai(path = "/logout", method = "post", tag = "Tag::Accounts", operation_id = "logout")]
    async fn logout(
        &self,
        caller: Bearer,
        context: RequestContext,
        /// Any text of your own. Sent again with the same key, the request is answered the same, with the token that
        /// ended too.
        #[oai(name = "Idempotency-Key")]
        key: IdempotencyKey,
    ) -> Result<Answered<Done>, Problem> {
        self.end(&caller, false, &context, &key).await
    }

    /// Log out everywhere
    #[oai(path = "/logout/all", method = "post", tag = "Tag::Accounts", operation_id = "logoutEverywhere")]
    async fn logout_everywhere(
        &self,
        caller: Bearer,
        context: RequestContext,
        /// Any text of your own. Sent again with the same key, the request is answered the same, with the token that
        /// ended too.
        #[oai(name = "Idempotency-Key")]
        key: IdempotencyKey,
    ) -> Result<Answered<Done>, Problem> {
        self.end(&caller, true, &context, &key).await
    }

    /// The public keys that access tokens are verified with (RFC 7517)
    #[oai(path = "/.well-known/jwks.json", method = "get", tag = "Tag::Accounts", operation_id = "listKeys")]
    async fn jwks(&self) -> Result<Json<serde_json::Value>, Problem> {
        Ok(Json(self.keys.jwks()))
    }
}

impl Accounts {
    pub(super) fn new(
        users: Arc<Users>,
        keys: Arc<KeyRing>,
        idempotency: Idempotency,
        token_lifetime: Duration,
    ) -> Self {
        Self { users, keys, idempotency, token_lifetime }
    }

    /// Whether the session is alive is asked of a request that is new: of one that comes again it ended by the first.
    async fn end(
        &self,
        Bearer(identity): &Bearer,
        everywhere: bool,
        context: &RequestContext,
        key: &IdempotencyKey,
    ) -> Result<Answered<Done>, Problem> {
        let end = |ticket: Ticket| async move {
            let caller = self.users.caller(identity).await.map_err(refusal)?;
            let answering = |(): &()| ticket.answer(|| Done::Done);
            self.users.logout(&caller, everywhere, context.correlation_id, &answering).await.map_err(refusal)?;
            Ok::<_, Problem>(Done::Done)
        };
        self.idempotency.once(key, Some(identity), end).await
    }

    fn session(&self, opened: Opened, user: Option<User>) -> Result<Json<Session>, Problem> {
        let Opened { session_id, refresh_token, account } = opened;
        let role = match account.role {
            Role::Customer => web::auth::Role::Customer,
            Role::Admin => web::auth::Role::Admin,
        };
        let grant = Grant { user: account.user_id, role, session: Some(session_id.0) };
        let (now, id) = self.users.moment();
        let token = self.keys.signer().grant(grant, now, self.token_lifetime, id).map_err(Problem::internal)?;
        let expires_in = self.token_lifetime.as_secs();
        Ok(Json(Session { token, token_type: "Bearer".to_owned(), expires_in, refresh_token, user }))
    }
}
