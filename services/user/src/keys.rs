//! The key that access tokens are signed with: made once, kept in the service's own database.

use anyhow::Context;
use event_store::clock::Clock;
use rand::TryRng;
use sqlx::PgPool;
use web::auth::TokenSigner;

/// The newest key; a first one is made if there is none.
pub(crate) async fn signer(pool: &PgPool, clock: &dyn Clock) -> anyhow::Result<TokenSigner> {
    if find(pool).await?.is_none() {
        let mut seed = [0_u8; 32];
        rand::rngs::SysRng.try_fill_bytes(&mut seed).context("the system has no randomness")?;
        // Of two instances that start at once, the older key wins below.
        sqlx::query("INSERT INTO signing_keys (kid, seed) SELECT $1, $2 WHERE NOT EXISTS (SELECT FROM signing_keys)")
            .bind(clock.new_id().to_string())
            .bind(seed.as_slice())
            .execute(pool)
            .await?;
    }
    let (kid, seed) = find(pool).await?.context("the signing key was not kept")?;
    let seed: [u8; 32] = seed.try_into().ok().context("the signing key is damaged")?;
    TokenSigner::from_seed(&seed, kid)
}

async fn find(pool: &PgPool) -> Result<Option<(String, Vec<u8>)>, sqlx::Error> {
    sqlx::query_as("SELECT kid, seed FROM signing_keys ORDER BY created_at, kid LIMIT 1").fetch_optional(pool).await
}
