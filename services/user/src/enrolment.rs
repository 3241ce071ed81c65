//! Accounts of people who registered some time ago, for whoever writes a history: as registering makes them, but for the
//! store. Nobody knows their password.

use domain::user::{Command, EmailAddress, PasswordHash, Role, User};
use event_store::Append;
use event_store::clock::Clock;
use kernel::{Decide, Idempotent, UserId};
use runtime::Origin;
use sqlx::PgPool;

use crate::commands::claims::Claim;
use crate::commands::registering;
use crate::keys::check_master;
use crate::passwords::Passwords;
use crate::persons::{Field, PersonKey};
use crate::vault::{self, MasterKey, Vault};

/// Makes accounts.
pub struct Enrolment {
    vault: Vault,
    password_hash: PasswordHash,
}

/// A new account: what is to be recorded of it.
#[derive(Debug)]
pub struct Enrolled {
    /// Whose.
    pub user_id: UserId,
    /// The claim on the address, and the registration.
    pub appends: Vec<Append>,
    /// The row of `person_keys`: the wrapped key, and the name of the key that wraps it.
    pub key: (Vec<u8>, String),
}

impl Enrolment {
    /// On this database, whose keys the master key wraps.
    ///
    /// # Errors
    /// The master key is another one, or the database is away.
    pub async fn begin(pool: &PgPool, master: &MasterKey) -> anyhow::Result<Self> {
        let vault = Vault::new(master)?;
        check_master(&mut *pool.acquire().await?, &vault).await?;
        let password = vault::random()?.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        // Hashing takes as long as it is meant to: one for all.
        let password_hash = Passwords::new(1, 1).place().await?.hash(password).await?;
        Ok(Self { vault, password_hash })
    }

    /// Somebody registers, now by this clock.
    ///
    /// # Errors
    /// A name or an address that is none.
    pub fn enrol(&self, name: &str, email: &str, clock: &dyn Clock) -> anyhow::Result<Enrolled> {
        let user_id = UserId(clock.new_id());
        let email = email.parse().map_err(|error| anyhow::anyhow!("the address {error}"))?;
        let (key, wrapped) = PersonKey::new(&self.vault, user_id)?;
        let command = Command::Register {
            user_id,
            name: key.seal(Field::Name, name)?,
            email: key.seal(Field::Email, EmailAddress::as_str(&email))?,
            password_hash: self.password_hash.clone(),
            role: Role::Customer,
            at: clock.now(),
        };
        let Idempotent::Executed(events) = User::default().decide(command)? else {
            anyhow::bail!("the account is not new");
        };
        let origin = Origin::request(clock.new_id(), clock.new_id(), format!("user:{user_id}"));
        let claim = Claim::first(&self.vault, &email).claimed_by(user_id, &origin, clock);
        let registered = registering::append(user_id, 0, &events, &origin, clock);
        let key = (wrapped, self.vault.id().to_owned());
        Ok(Enrolled { user_id, appends: vec![claim, registered], key })
    }
}
