//! The keys that access tokens are signed with, kept in the service's own database. One signs; those before it stay
//! published as long as their tokens live. Instances follow what is changed here within seconds.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use event_store::clock::Clock;
use parking_lot::RwLock;
use serde::Serialize;
use sqlx::{PgConnection, PgPool};
use tokio_util::sync::CancellationToken;
use web::auth::{KeySource, TokenSigner};

use crate::vault::{self, MasterKey, Vault};

/// How long an instance signs on with a key that was rotated.
const RELOAD_INTERVAL: Duration = Duration::from_secs(5);

/// Where a key stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It signs.
    Active,
    /// It signed: what it signed is still good.
    Published,
    /// Nothing that it signed is good any more; its secret half is destroyed.
    Retired,
}

impl State {
    fn of(name: &str) -> anyhow::Result<Self> {
        match name {
            "active" => Ok(Self::Active),
            "published" => Ok(Self::Published),
            "retired" => Ok(Self::Retired),
            other => anyhow::bail!("a signing key is {other:?}"),
        }
    }

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Published => "published",
            Self::Retired => "retired",
        }
    }
}

/// A signing key, without its secret.
#[derive(Debug, Clone, Serialize)]
pub struct SigningKey {
    /// Its name in tokens.
    pub kid: String,
    /// Where it stands.
    pub state: State,
    /// When it was made; from then on it signed.
    pub created_at: DateTime<Utc>,
    /// When another took over.
    pub rotated_at: Option<DateTime<Utc>>,
    /// When it was retired.
    pub retired_at: Option<DateTime<Utc>>,
}

/// All keys, the youngest first.
///
/// # Errors
/// The database is away.
pub async fn list(pool: &PgPool) -> anyhow::Result<Vec<SigningKey>> {
    type Row = (String, String, DateTime<Utc>, Option<DateTime<Utc>>, Option<DateTime<Utc>>);
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT kid, state, created_at, rotated_at, retired_at FROM signing_keys ORDER BY created_at DESC, kid DESC",
    )
    .fetch_all(pool)
    .await?;
    let key = |(kid, state, created_at, rotated_at, retired_at): Row| {
        Ok(SigningKey { kid, state: State::of(&state)?, created_at, rotated_at, retired_at })
    };
    rows.into_iter().map(key).collect()
}

/// Makes a new key that signs from now on; the one before it stays published. Its name is returned.
///
/// # Errors
/// The database is away, or its keys are wrapped by another master key.
pub async fn rotate(pool: &PgPool, master: &MasterKey, clock: &dyn Clock) -> anyhow::Result<String> {
    let vault = Vault::new(master)?;
    let mut transaction = lock(pool).await?;
    check_master(&mut transaction, &vault).await?;
    sqlx::query("UPDATE signing_keys SET state = 'published', rotated_at = $1 WHERE state = 'active'")
        .bind(clock.now())
        .execute(&mut *transaction)
        .await?;
    let kid = insert(&mut transaction, &vault, clock).await?;
    transaction.commit().await?;
    Ok(kid)
}

/// Retires a published key: what it signed is good no more, within half a minute everywhere, and its secret half is
/// destroyed.
///
/// # Errors
/// There is no such key, or it signs at present, or the database is away.
pub async fn retire(pool: &PgPool, kid: &str, clock: &dyn Clock) -> anyhow::Result<()> {
    let mut transaction = lock(pool).await?;
    let found: Option<String> = sqlx::query_scalar("SELECT state FROM signing_keys WHERE kid = $1")
        .bind(kid)
        .fetch_optional(&mut *transaction)
        .await?;
    match State::of(&found.with_context(|| format!("there is no signing key {kid}"))?)? {
        State::Active => anyhow::bail!("{kid} signs at present: rotate first"),
        State::Retired => return Ok(()),
        State::Published => {}
    }
    sqlx::query("UPDATE signing_keys SET state = 'retired', wrapped_seed = NULL, retired_at = $2 WHERE kid = $1")
        .bind(kid)
        .bind(clock.now())
        .execute(&mut *transaction)
        .await?;
    Ok(transaction.commit().await?)
}

/// The keys as this instance has them.
pub(crate) struct KeyRing {
    pool: PgPool,
    vault: Vault,
    keys: RwLock<Keys>,
}

#[derive(Clone)]
struct Keys {
    signer: TokenSigner,
    public: Vec<(String, [u8; 32])>,
}

impl KeyRing {
    /// The keys of the database; a first one is made if there is none.
    pub(crate) async fn open(pool: PgPool, vault: Vault, clock: &dyn Clock) -> anyhow::Result<Self> {
        // Instances that start at once come one after another here, so that all sign with the first one's key.
        let mut transaction = lock(&pool).await?;
        check_master(&mut transaction, &vault).await?;
        let active: Option<i32> = sqlx::query_scalar("SELECT 1 FROM signing_keys WHERE state = 'active'")
            .fetch_optional(&mut *transaction)
            .await?;
        if active.is_none() {
            insert(&mut transaction, &vault, clock).await?;
        }
        transaction.commit().await?;
        let keys = RwLock::new(load(&pool, &vault).await?);
        Ok(Self { pool, vault, keys })
    }

    /// Signs.
    pub(crate) fn signer(&self) -> TokenSigner {
        self.keys.read().signer.clone()
    }

    /// What `/.well-known/jwks.json` answers.
    pub(crate) fn jwks(&self) -> serde_json::Value {
        let keys = self.keys.read();
        web::auth::jwks(keys.public.iter().map(|(kid, public)| (kid.as_str(), *public)))
    }

    async fn reload(&self) -> anyhow::Result<()> {
        let keys = load(&self.pool, &self.vault).await?;
        *self.keys.write() = keys;
        Ok(())
    }

    /// Follows rotations until shutdown.
    pub(crate) async fn follow(self: Arc<Self>, shutdown: CancellationToken) {
        while shutdown.run_until_cancelled(tokio::time::sleep(RELOAD_INTERVAL)).await.is_some() {
            if let Err(error) = self.reload().await {
                tracing::warn!(
                    error = format!("{error:#}"),
                    "the signing keys cannot be read: the known ones are used"
                );
            }
        }
    }
}

/// The ring as the service's own verifier asks it.
pub(crate) struct Ring(pub(crate) Arc<KeyRing>);

#[async_trait]
impl KeySource for Ring {
    async fn keys(&self) -> anyhow::Result<Vec<(String, [u8; 32])>> {
        self.0.reload().await?;
        Ok(self.0.keys.read().public.clone())
    }
}

async fn load(pool: &PgPool, vault: &Vault) -> anyhow::Result<Keys> {
    let rows: Vec<(String, String, Vec<u8>, Vec<u8>)> = sqlx::query_as(
        "SELECT kid, state, public_key, wrapped_seed FROM signing_keys WHERE state <> 'retired' ORDER BY created_at, kid",
    )
    .fetch_all(pool)
    .await?;
    let mut signer = None;
    let mut public = Vec::new();
    for (kid, state, key, wrapped) in rows {
        if State::of(&state)? == State::Active {
            signer = Some(TokenSigner::from_seed(&*vault.unwrap(&owner(&kid), &wrapped)?, kid.clone())?);
        }
        public.push((kid, key.try_into().ok().context("a public key is damaged")?));
    }
    Ok(Keys { signer: signer.context("no key signs")?, public })
}

async fn lock(pool: &PgPool) -> anyhow::Result<sqlx::Transaction<'static, sqlx::Postgres>> {
    let mut transaction = pool.begin().await?;
    sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended('signing_keys', 0))").execute(&mut *transaction).await?;
    Ok(transaction)
}

/// Better not to start than to write what the other half of the keys' readers cannot read.
pub(crate) async fn check_master(connection: &mut PgConnection, vault: &Vault) -> anyhow::Result<()> {
    let other: Option<i32> = sqlx::query_scalar(
        "SELECT 1 FROM (SELECT master_id FROM signing_keys WHERE state <> 'retired' UNION ALL
                        (SELECT master_id FROM person_keys ORDER BY created_at DESC LIMIT 1)) AS wrapped
          WHERE master_id <> $1 LIMIT 1",
    )
    .bind(vault.id())
    .fetch_optional(connection)
    .await?;
    anyhow::ensure!(
        other.is_none(),
        "MASTER_KEY is not the key that this database's secrets are wrapped with: without that one nobody's data can be read"
    );
    Ok(())
}

async fn insert(connection: &mut PgConnection, vault: &Vault, clock: &dyn Clock) -> anyhow::Result<String> {
    let kid = clock.new_id().to_string();
    let seed = vault::random()?;
    let public = TokenSigner::from_seed(&seed, kid.clone())?.public_key();
    sqlx::query(
        "INSERT INTO signing_keys (kid, state, public_key, wrapped_seed, master_id, created_at)
         VALUES ($1, 'active', $2, $3, $4, $5)",
    )
    .bind(&kid)
    .bind(public.as_slice())
    .bind(vault.wrap(&owner(&kid), &seed)?)
    .bind(vault.id())
    .bind(clock.now())
    .execute(connection)
    .await?;
    Ok(kid)
}

/// What a wrapped seed is bound to.
fn owner(kid: &str) -> String {
    format!("signing key {kid}")
}
