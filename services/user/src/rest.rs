//! REST: registration, login, the caller's own profile, and the public keys.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use domain::user::{Account, EmailAddress, PersonName, Role};
use poem_openapi::payload::Json;
use poem_openapi::{ApiResponse, Object, OpenApi, Tags};
use uuid::Uuid;
use web::auth::{Bearer, TokenSigner};
use web::{Problem, RequestContext};

use crate::commands::{Error, Registration, Users};
use crate::{passwords, queries};

pub(crate) const TITLE: &str = "Sagashop users";

const PASSWORD_CHARS_MIN: usize = 8;
const PASSWORD_CHARS_MAX: usize = 256;

#[derive(Tags)]
enum Tag {
    Users,
}

/// The user service's API.
#[derive(Clone)]
pub(crate) struct Api {
    /// None only where the API is described and not served.
    inner: Option<Arc<Inner>>,
}

struct Inner {
    users: Arc<Users>,
    signer: TokenSigner,
    token_lifetime: Duration,
}

/// A new account. The original shop calls the name `name` or `username`.
#[derive(Object)]
#[oai(deny_unknown_fields)]
struct Register {
    /// 1 to 100 characters.
    name: Option<String>,
    /// The same, under its other name.
    username: Option<String>,
    /// Where the user can be reached; one account an address, whatever its capitals.
    email: String,
    /// 8 to 256 characters.
    password: String,
}

/// What opens an account.
#[derive(Object)]
#[oai(deny_unknown_fields)]
struct Login {
    /// The account's address.
    email: String,
    /// Its password.
    password: String,
}

/// What can be changed of a profile.
#[derive(Object)]
#[oai(deny_unknown_fields)]
struct Rename {
    /// 1 to 100 characters.
    name: String,
}

/// A user.
#[derive(Object)]
struct User {
    /// Their id.
    id: Uuid,
    /// Their name.
    name: String,
    /// Their address.
    email: String,
    /// `customer` or `admin`.
    role: String,
    /// When they registered.
    created_at: DateTime<Utc>,
}

/// An access token and whose it is.
#[derive(Object)]
struct Session {
    /// To be sent as `Authorization: Bearer …`.
    token: String,
    /// Whose it is.
    user: User,
    /// Seconds that it is good for.
    expires_in: u64,
}

#[derive(ApiResponse)]
enum Registered {
    /// The account was made.
    #[oai(status = 201)]
    Created(Json<User>),
}

#[OpenApi]
impl Api {
    /// Makes an account.
    #[oai(path = "/register", method = "post", tag = "Tag::Users")]
    async fn register(&self, context: RequestContext, body: Json<Register>) -> Result<Registered, Problem> {
        let registration = registration(body.0)?;
        let account = self.inner()?.users.register(registration, context.correlation_id).await.map_err(refusal)?;
        Ok(Registered::Created(Json(user(&account))))
    }

    /// Opens an account: an access token for the other calls.
    #[oai(path = "/login", method = "post", tag = "Tag::Users")]
    async fn login(&self, body: Json<Login>) -> Result<Json<Session>, Problem> {
        let inner = self.inner()?;
        let too_long = body.0.password.chars().count() > PASSWORD_CHARS_MAX;
        if too_long {
            return Err(refusal(Error::WrongCredentials));
        }
        let account = inner.users.login(body.0.email.parse().ok(), body.0.password).await.map_err(refusal)?;
        let role = match account.role {
            Role::Customer => web::auth::Role::Customer,
            Role::Admin => web::auth::Role::Admin,
        };
        let (now, id) = inner.users.moment();
        let token = inner
            .signer
            .access_token(account.user_id, role, now, inner.token_lifetime, id)
            .map_err(Problem::internal)?;
        Ok(Json(Session { token, user: user(&account), expires_in: inner.token_lifetime.as_secs() }))
    }

    /// The caller's own profile.
    #[oai(path = "/profile", method = "get", tag = "Tag::Users")]
    async fn profile(&self, caller: Bearer) -> Result<Json<User>, Problem> {
        let found = self.inner()?.users.find(caller.0.user_id).await.map_err(refusal)?;
        found.map(|account| Json(user(&account))).ok_or_else(|| refusal(Error::Unknown))
    }

    /// Changes the caller's own name.
    #[oai(path = "/profile", method = "put", tag = "Tag::Users")]
    async fn rename(&self, caller: Bearer, context: RequestContext, body: Json<Rename>) -> Result<Json<User>, Problem> {
        let name = name(&body.0.name)?;
        let renamed = self.inner()?.users.rename(caller.0.user_id, name, context.correlation_id).await;
        Ok(Json(user(&renamed.map_err(refusal)?)))
    }

    /// The public keys that access tokens are verified with (RFC 7517).
    #[oai(path = "/.well-known/jwks.json", method = "get", tag = "Tag::Users")]
    async fn jwks(&self) -> Result<Json<serde_json::Value>, Problem> {
        Ok(Json(self.inner()?.signer.jwks()))
    }
}

impl Api {
    pub(crate) fn new(users: Arc<Users>, signer: TokenSigner, token_lifetime: Duration) -> Self {
        Self { inner: Some(Arc::new(Inner { users, signer, token_lifetime })) }
    }

    fn inner(&self) -> Result<&Inner, Problem> {
        self.inner.as_deref().ok_or_else(|| Problem::internal("the API is not served"))
    }
}

/// The API's document, as JSON.
pub(crate) fn document() -> String {
    web::App::new("user-service", TITLE, Api { inner: None }).openapi().to_owned()
}

fn registration(body: Register) -> Result<Registration, Problem> {
    let given = body.name.or(body.username);
    let Some(given) = given else {
        return Err(Problem::bad_request("A name is needed").field("name", "name or username is required"));
    };
    let email: EmailAddress = body
        .email
        .parse()
        .map_err(|error| Problem::bad_request("The address is not valid").field("email", format!("{error}")))?;
    let length = body.password.chars().count();
    if !(PASSWORD_CHARS_MIN..=PASSWORD_CHARS_MAX).contains(&length) {
        return Err(Problem::bad_request("The password is not acceptable")
            .field("password", format!("must have {PASSWORD_CHARS_MIN} to {PASSWORD_CHARS_MAX} characters")));
    }
    Ok(Registration { name: name(&given)?, email, password: body.password, role: Role::Customer })
}

fn name(text: &str) -> Result<PersonName, Problem> {
    text.parse().map_err(|error| Problem::bad_request("The name is not valid").field("name", format!("{error}")))
}

fn user(account: &Account) -> User {
    User {
        id: account.user_id.0,
        name: account.name.as_str().to_owned(),
        email: account.email.as_str().to_owned(),
        role: account.role.as_str().to_owned(),
        created_at: queries::created_at(account.user_id),
    }
}

fn refusal(error: Error) -> Problem {
    match error {
        Error::Taken => Problem::conflict("User already exists").field("email", "has an account already"),
        Error::WrongCredentials => Problem::unauthenticated("Invalid credentials"),
        Error::Unknown => Problem::not_found("There is no such user"),
        Error::Passwords(passwords::Error::Busy) => {
            Problem::unavailable("Too many logins at once", Duration::from_secs(1))
        }
        Error::Passwords(error) => Problem::internal(error),
        Error::Denied(reason) => Problem::conflict(reason),
        Error::Store(error) => {
            tracing::warn!(%error, "the user store did not answer");
            Problem::unavailable("The user store does not answer at present", Duration::from_secs(1))
        }
    }
}
