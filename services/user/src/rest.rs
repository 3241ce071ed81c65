//! REST: registration, login, the caller's own profile, and the public keys.

use std::sync::Arc;
use std::time::Duration;

use domain::user::{Account, EmailAddress, PersonName, Role};
use poem_openapi::payload::Json;
use poem_openapi::{ApiResponse, Object, OpenApi, Tags};
use uuid::Uuid;
use web::auth::{Bearer, TokenSigner};
use web::{Problem, RequestContext, Text, Timestamp};

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
    users: Arc<Users>,
    signer: TokenSigner,
    token_lifetime: Duration,
}

/// A new account. The original shop calls the name `name` or `username`.
#[derive(Object)]
#[oai(deny_unknown_fields)]
struct Register {
    /// 1 to 100 characters.
    name: Option<Text>,
    /// The same, under its other name.
    username: Option<Text>,
    /// Where the user can be reached; one account an address, whatever its capitals.
    email: Text,
    /// 8 to 256 characters.
    password: Text,
}

/// What opens an account.
#[derive(Object)]
#[oai(deny_unknown_fields)]
struct Login {
    /// The account's address.
    email: Text,
    /// Its password.
    password: Text,
}

/// What can be changed of a profile.
#[derive(Object)]
#[oai(deny_unknown_fields)]
struct Rename {
    /// 1 to 100 characters.
    name: Text,
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
    created_at: Timestamp,
}

/// A user, as they see themselves.
#[derive(Object)]
struct Profile {
    /// Their id.
    id: Uuid,
    /// The same, as the original shop calls it here.
    user_id: Uuid,
    /// Their name.
    name: String,
    /// Their address.
    email: String,
    /// `customer` or `admin`.
    role: String,
    /// When they registered.
    created_at: Timestamp,
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
        let account = self.users.register(registration, context.correlation_id).await.map_err(refusal)?;
        Ok(Registered::Created(Json(user(&account))))
    }

    /// Opens an account: an access token for the other calls.
    #[oai(path = "/login", method = "post", tag = "Tag::Users")]
    async fn login(&self, body: Json<Login>) -> Result<Json<Session>, Problem> {
        let too_long = body.0.password.chars().count() > PASSWORD_CHARS_MAX;
        if too_long {
            return Err(refusal(Error::WrongCredentials));
        }
        let account =
            self.users.login(body.0.email.parse().ok(), body.0.password.into_string()).await.map_err(refusal)?;
        let role = match account.role {
            Role::Customer => web::auth::Role::Customer,
            Role::Admin => web::auth::Role::Admin,
        };
        let (now, id) = self.users.moment();
        let token = self.signer.access_token(account.user_id, role, now, self.token_lifetime, id);
        let token = token.map_err(Problem::internal)?;
        Ok(Json(Session { token, user: user(&account), expires_in: self.token_lifetime.as_secs() }))
    }

    /// The caller's own profile.
    #[oai(path = "/profile", method = "get", tag = "Tag::Users")]
    async fn profile(&self, caller: Bearer) -> Result<Json<Profile>, Problem> {
        let found = self.users.find(caller.0.user_id).await.map_err(refusal)?;
        found.map(|account| Json(profile(&account))).ok_or_else(|| refusal(Error::Unknown))
    }

    /// Changes the caller's own name.
    #[oai(path = "/profile", method = "put", tag = "Tag::Users")]
    async fn rename(
        &self,
        caller: Bearer,
        context: RequestContext,
        body: Json<Rename>,
    ) -> Result<Json<Profile>, Problem> {
        let name = name("name", &body.0.name)?;
        let renamed = self.users.rename(caller.0.user_id, name, context.correlation_id).await;
        Ok(Json(profile(&renamed.map_err(refusal)?)))
    }

    /// The public keys that access tokens are verified with (RFC 7517).
    #[oai(path = "/.well-known/jwks.json", method = "get", tag = "Tag::Users")]
    async fn jwks(&self) -> Result<Json<serde_json::Value>, Problem> {
        Ok(Json(self.signer.jwks()))
    }
}

impl Api {
    pub(crate) fn new(users: Arc<Users>, signer: TokenSigner, token_lifetime: Duration) -> Self {
        Self { users, signer, token_lifetime }
    }
}

fn registration(body: Register) -> Result<Registration, Problem> {
    let name = match (body.name, body.username) {
        (Some(given), _) => name("name", &given)?,
        (None, Some(given)) => name("username", &given)?,
        (None, None) => {
            return Err(Problem::bad_request("Name or username is required").field("name", "is required"));
        }
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
    Ok(Registration { name, email, password: body.password.into_string(), role: Role::Customer })
}

fn name(field: &str, text: &str) -> Result<PersonName, Problem> {
    text.parse().map_err(|error| Problem::bad_request("The name is not valid").field(field, format!("{error}")))
}

fn user(account: &Account) -> User {
    User {
        id: account.user_id.0,
        name: account.name.as_str().to_owned(),
        email: account.email.as_str().to_owned(),
        role: account.role.as_str().to_owned(),
        created_at: queries::created_at(account.user_id).into(),
    }
}

fn profile(account: &Account) -> Profile {
    let User { id, name, email, role, created_at } = user(account);
    Profile { id, user_id: id, name, email, role, created_at }
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
