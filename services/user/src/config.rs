//! What the user service is told.

use std::time::Duration;

use domain::user::Role;

use crate::vault::MasterKey;

/// The user service's configuration.
#[derive(Clone)]
pub struct Config {
    /// Wraps the keys of persons and of tokens.
    pub master_key: MasterKey,
    /// How long an access token is good. So long other services let in who was locked or has logged out.
    pub token_lifetime: Duration,
    /// How long a login lasts, however often its tokens are refreshed.
    pub refresh_lifetime: Duration,
    /// Wrong passwords for one account before it rests.
    pub login_failures_max: u32,
    /// The time within which they are counted, and for which the account rests.
    pub login_failures_window: Duration,
    /// Passwords hashed at once; each takes 19 MiB and tens of milliseconds of a core.
    pub hashing_at_once: usize,
    /// Requests that may wait for a place to hash; more are shed with 503.
    pub hashing_queue_max: usize,
    /// The secret of the service tokens by which others may ask where to reach a user. None: nobody may.
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

impl Config {
    /// What is usual, with this master key.
    pub fn new(master_key: MasterKey) -> Self {
        Self {
            master_key,
            token_lifetime: Duration::from_secs(15 * 60),
            refresh_lifetime: Duration::from_secs(30 * 24 * 60 * 60),
            login_failures_max: 10,
            login_failures_window: Duration::from_secs(15 * 60),
            hashing_at_once: std::thread::available_parallelism().map_or(2, std::num::NonZero::get),
            hashing_queue_max: 64,
            internal_token: None,
            bootstrap: Vec::new(),
            edge: web::EdgeOptions::default(),
        }
    }
}
