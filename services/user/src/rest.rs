//! REST: registration and sessions, the caller's own profile and address book, and what administrators do.

use std::sync::Arc;
use std::time::Duration;

use domain::user;
use poem_openapi::{ApiResponse, Tags};
use runtime::ProjectionHandle;
use sqlx::PgPool;
use web::{App, EdgeOptions, Idempotency, Problem};

use crate::commands::{Error, Users};
use crate::keys::KeyRing;
use crate::passwords;
use crate::queries::Queries;

mod accounts;
mod addresses;
mod admin;
mod bodies;
mod email;
mod profile;
mod refused;

pub(crate) const TITLE: &str = "Sagashop users";

const PASSWORD_CHARS_MIN: usize = 8;
const PASSWORD_CHARS_MAX: usize = 256;

/// The user service's API.
pub(crate) type Api = (accounts::Accounts, profile::Profiles, addresses::Addresses, admin::Administration);

/// What stands behind it.
pub(crate) struct Parts {
    pub(crate) users: Arc<Users>,
    pub(crate) queries: Queries,
    pub(crate) keys: Arc<KeyRing>,
    pub(crate) idempotency: Idempotency,
    pub(crate) token_lifetime: Duration,
    pub(crate) projection: ProjectionHandle,
}

impl Parts {
    pub(crate) fn api(self) -> Api {
        let Self { users, queries, keys, idempotency, token_lifetime, projection } = self;
        (
            accounts::Accounts::new(Arc::clone(&users), keys, idempotency.clone(), token_lifetime),
            profile::Profiles::new(Arc::clone(&users), idempotency.clone()),
            addresses::Addresses::new(Arc::clone(&users), idempotency.clone()),
            admin::Administration::new(users, queries, idempotency, projection),
        )
    }
}

/// The service's HTTP side. Who guesses passwords is slowed down at the door already.
pub(crate) fn app(parts: Parts, pool: PgPool, options: &EdgeOptions) -> App {
    let guarded = ["/register", "/login", "/refresh", "/profile/password"];
    let app = App::new("user-service", TITLE, parts.api()).options(options.clone());
    let app = guarded.into_iter().fold(app, App::guarded);
    app.check("database", move || {
        let pool = pool.clone();
        async move { Ok(sqlx::query("SELECT 1").execute(&pool).await.map(|_| ())?) }
    })
}

#[derive(Tags)]
enum Tag {
    /// Registration, login, sessions and the keys of their tokens.
    Accounts,
    /// The caller's own profile and address book.
    Profile,
    /// What administrators do to others' accounts.
    Administration,
}

#[derive(ApiResponse)]
enum Done {
    /// It was done; there is nothing to tell.
    #[oai(status = 204)]
    Done,
}

/// The length of a password that somebody chooses.
fn new_password(field: &str, password: &str) -> Result<String, Problem> {
    let length = password.chars().count();
    if (PASSWORD_CHARS_MIN..=PASSWORD_CHARS_MAX).contains(&length) {
        return Ok(password.to_owned());
    }
    let message = format!("must have {PASSWORD_CHARS_MIN} to {PASSWORD_CHARS_MAX} characters");
    Err(Problem::bad_request("The password is not acceptable").field(field, message))
}

/// A password to be compared: a longer one cannot be right, and is not hashed.
fn shown_password(password: &str) -> Result<String, Problem> {
    let too_long = password.chars().count() > PASSWORD_CHARS_MAX;
    if too_long { Err(refusal(Error::WrongCredentials)) } else { Ok(password.to_owned()) }
}

/// A password shown by somebody who is logged in already: a wrong one is no reason to log in again.
fn confirmation(field: &'static str) -> impl Fn(Error) -> Problem {
    move |error| match error {
        Error::WrongCredentials => {
            Problem::forbidden("The password is not right").field(field, "is not the account's password")
        }
        other => refusal(other),
    }
}

pub(crate) fn refusal(error: Error) -> Problem {
    let away = |what: &str| Problem::unavailable(format!("{what} does not answer at present"), Duration::from_secs(1));
    match error {
        Error::Taken => Problem::conflict("User already exists").field("email", "has an account already"),
        Error::WrongCredentials => Problem::unauthenticated("Invalid credentials"),
        Error::Locked => Problem::forbidden("This account is locked").kind("account-locked", "The account is locked"),
        Error::TooManyAttempts(wait) => Problem::too_many_requests("Too many wrong passwords for this account", wait),
        Error::SessionOver => Problem::unauthenticated("The session is over: log in again"),
        Error::Forbidden => Problem::forbidden("Only administrators may do this"),
        Error::Contended => Problem::conflict("Others keep changing this account: try again"),
        Error::Denied(user::Error::Unknown | user::Error::Deleted) => Problem::not_found("There is no such user"),
        Error::Denied(user::Error::UnknownAddress) => Problem::not_found("There is no such address"),
        Error::Denied(reason) => Problem::conflict(reason.to_string()),
        Error::Passwords(passwords::Error::Busy) => {
            Problem::unavailable("Too many logins at once", Duration::from_secs(1))
        }
        Error::Passwords(error @ passwords::Error::Common) => {
            Problem::bad_request("The password is not acceptable").field("password", error.to_string())
        }
        Error::Passwords(error) => Problem::internal(error),
        Error::Persons(crate::persons::Error::Away(error)) => {
            tracing::warn!(%error, "the keys of persons cannot be read");
            away("The user store")
        }
        Error::Persons(error) => Problem::internal(error),
        Error::Store(error) => {
            tracing::warn!(%error, "the user store did not answer");
            away("The user store")
        }
        Error::Internal(error) => Problem::internal(error),
    }
}
