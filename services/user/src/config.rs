//! What the user service is told.

use std::time::Duration;

use domain::user::Role;

/// The shortest internal token that is accepted: it opens personal data to the other services.
const INTERNAL_TOKEN_BYTES_MIN: usize = 32;

/// The user service's configuration.
#[derive(Clone)]
pub struct Config {
    /// How long an access token is good.
    pub token_lifetime: Duration,
    /// Passwords hashed at once; each takes 19 MiB and tens of milliseconds of a core.
    pub hashing_at_once: usize,
    /// Requests that may wait for a place to hash; more are shed with 503.
    pub hashing_queue_max: usize,
    /// What other services show to learn a user's address. None: nobody may.
    pub internal_token: Option<String>,
    /// Accounts that are made when their address has none.
    pub bootstrap: Vec<Bootstrap>,
    /// The limits and manners of its servers.
    pub edge: web::EdgeOptions,
}

/// An account that is there from the start.
#[derive(Clone)]
pub struct Bootstrap {
    /// Its name.
    pub name: String,
    /// Its address.
    pub email: String,
    /// Its password.
    pub password: String,
    /// What it may do.
    pub role: Role,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            token_lifetime: Duration::from_secs(24 * 60 * 60),
            hashing_at_once: std::thread::available_parallelism().map_or(2, std::num::NonZero::get),
            hashing_queue_max: 64,
            internal_token: None,
            bootstrap: Vec::new(),
            edge: web::EdgeOptions::default(),
        }
    }
}

impl Config {
    /// A service with a weak secret does not start.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        let weak = self.internal_token.as_ref().is_some_and(|token| token.len() < INTERNAL_TOKEN_BYTES_MIN);
        anyhow::ensure!(!weak, "INTERNAL_TOKEN is too short: it needs at least {INTERNAL_TOKEN_BYTES_MIN} characters");
        Ok(())
    }
}
