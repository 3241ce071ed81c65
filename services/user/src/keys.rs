//! The key that access tokens are signed with: made once, kept in the service's own database.

use anyhow::Context;
use event_store::clock::Clock;
use rand::TryRng;
use sqlx::{PgConnection, PgPool};
use web::auth::TokenSigner;

/// The newest key; a first one is made if there is none.
pub(crate) async fn signer(pool: &PgPool, clock: &dyn Clock) -> anyhow::Result<TokenSigner> {
    let mut transaction = pool.begin().await?;
    // Instances that start at once come one after another here, so that all sign with the first one's key.
    sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended('signing_keys', 0))").execute(&mut *transaction).await?;
    if find(&mut transaction).await?.is_none() {
        let mut seed = [0_u8; 32];
        rand::rngs::SysRng.try_fill_bytes(&mut seed).context("the system has no randomness")?;
        sqlx::query("INSERT INTO signing_keys (kid, seed) VALUES ($1, $2)")
            .bind(clock.new_id().to_string())
            .bind(seed.as_slice())
            .execute(&mut *transaction)
            .await?;
    }
    let (kid, seed) = find(&mut transaction).await?.context("the signing key was not kept")?;
    transaction.commit().await?;
    let seed: [u8; 32] = seed.try_into().ok().context("the signing key is damaged")?;
    TokenSigner::from_seed(&seed, kid)
}

async fn find(connection: &mut PgConnection) -> Result<Option<(String, Vec<u8>)>, sqlx::Error> {
    let newest = sqlx::query_as("SELECT kid, seed FROM signing_keys ORDER BY created_at DESC, kid DESC LIMIT 1");
    newest.fetch_optional(connection).await
}
