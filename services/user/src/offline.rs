//! What operators do on the database itself, whether the service runs or not.

use std::sync::Arc;

use event_store::{Gate, HashChain, PgStore, StoreOptions};
use runtime::Commands;
use sqlx::PgPool;
use uuid::Uuid;

use crate::commands::{Error, Users, unanswered};
use crate::keys::check_master;
use crate::persons::Persons;
use crate::vault::Vault;
use crate::{Bootstrap, Config, MIGRATOR};

/// Whoever makes an account writes events.
const LIVE: kernel::Live = kernel::Live::because("an administrator is made");

/// Makes an account and returns its id; the database is brought up to date before.
///
/// # Errors
/// The address has an account, the password is none that may be used, the master key is another one, or the database is
/// away.
pub async fn create_account(pool: &PgPool, config: &Config, account: &Bootstrap) -> anyhow::Result<Uuid> {
    let registration = account.registration()?;
    let length = registration.password.chars().count();
    anyhow::ensure!((8..=256).contains(&length), "a password has 8 to 256 characters");
    runtime::service::migrate(pool, &MIGRATOR).await?;
    let vault = Vault::new(&config.master_key)?;
    check_master(&mut *pool.acquire().await?, &vault).await?;
    let options = StoreOptions { hash_chain: HashChain::Continue, ..StoreOptions::default() };
    let store = PgStore::with_gate(pool.clone(), options, Gate::new(pool.clone()), LIVE);
    let clock = event_store::clock::system();
    let correlation = clock.new_id();
    let commands = Commands::new(Arc::clone(&store) as Arc<dyn event_store::EventStore>, clock);
    let users = Users::new(commands, store, Persons::new(pool.clone(), vault.clone()), vault, config);
    match users.register(registration, correlation, &unanswered).await {
        Ok(person) => Ok(person.user_id.0),
        Err(Error::Passwords(error)) => anyhow::bail!("the password {error}"),
        Err(error) => Err(error.into()),
    }
}
