//! Checking access tokens: with keys that are known, or fetched from whoever issues them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use parking_lot::RwLock;
use serde::Deserialize;
use tokio::time::Instant;

use super::token::{ACCESS, AUDIENCE, Claims, ISSUER};
use super::{Identity, TokenSigner};

/// A key set is asked for at most this often.
const REFRESH_INTERVAL: Duration = Duration::from_secs(2);
/// As long as there is no key at all, it is asked for more often: its issuer may just be starting.
const FIRST_INTERVAL: Duration = Duration::from_millis(100);
/// One answer may take so long.
const FETCH_TIMEOUT: Duration = Duration::from_secs(2);
/// Clocks may differ by this.
const LEEWAY_S: u64 = 5;
/// Longer tokens are not ours.
const TOKEN_BYTES_MAX: usize = 4_096;

/// Why a token was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It is not a good access token. Which of its faults was found is nobody's business.
    #[error("the access token is not valid")]
    Invalid,
    /// No key is known yet, and their issuer does not answer.
    #[error("access tokens cannot be checked at present")]
    Unavailable,
}

/// Checks access tokens; cheap to clone. Strict: EdDSA alone, and issuer, audience, type and expiry must be there and right.
#[derive(Clone)]
pub struct TokenVerifier(Arc<Inner>);

struct Inner {
    keys: RwLock<HashMap<String, DecodingKey>>,
    rules: Validation,
    source: Option<Source>,
}

struct Source {
    url: String,
    client: reqwest::Client,
    asked_at: tokio::sync::Mutex<Option<Instant>>,
}

impl TokenVerifier {
    /// A verifier with these public keys, by their `kid`.
    pub fn from_keys(keys: impl IntoIterator<Item = (String, [u8; 32])>) -> Self {
        // For Ed25519 the library's "DER" is the bare 32 bytes.
        let keys = keys.into_iter().map(|(kid, key)| (kid, DecodingKey::from_ed_der(&key))).collect();
        Self::new(keys, None)
    }

    /// A verifier of what `signer` signs.
    pub fn of_signer(signer: &TokenSigner) -> Self {
        Self::from_keys([(signer.kid().to_owned(), signer.public_key())])
    }

    /// A verifier with the keys of a JSON Web Key Set. It is fetched at the first token, and again (every two seconds at
    /// most) when a token names a key that is not known; while the issuer is away, the keys known so far stay good.
    ///
    /// # Errors
    /// No HTTP client can be made here.
    pub fn from_jwks_url(url: impl Into<String>) -> anyhow::Result<Self> {
        let client = crate::http_client()
            .timeout(FETCH_TIMEOUT)
            .connect_timeout(FETCH_TIMEOUT / 2)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .context("no HTTP client can be made")?;
        let source = Source { url: url.into(), client, asked_at: tokio::sync::Mutex::default() };
        Ok(Self::new(HashMap::new(), Some(source)))
    }

    fn new(keys: HashMap<String, DecodingKey>, source: Option<Source>) -> Self {
        let mut rules = Validation::new(Algorithm::EdDSA);
        rules.set_audience(&[AUDIENCE]);
        rules.set_issuer(&[ISSUER]);
        rules.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        rules.validate_nbf = true;
        rules.leeway = LEEWAY_S;
        Self(Arc::new(Inner { keys: RwLock::new(keys), rules, source }))
    }

    /// Who the bearer of `token` is.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn verify(&self, token: &str) -> Result<Identity, Error> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(Error::Invalid);
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| Error::Invalid)?;
        if header.alg != Algorithm::EdDSA {
            return Err(Error::Invalid);
        }
        let key = self.key(&header.kid.ok_or(Error::Invalid)?).await?;
        let claims = jsonwebtoken::decode::<Claims>(token, &key, &self.0.rules).map_err(|_| Error::Invalid)?.claims;
        if claims.typ != ACCESS {
            return Err(Error::Invalid);
        }
        Ok(Identity { user_id: claims.sub, role: claims.role, token: Some(token.into()) })
    }

    async fn key(&self, kid: &str) -> Result<DecodingKey, Error> {
        let known = |kid: &str| self.0.keys.read().get(kid).cloned();
        if let Some(key) = known(kid) {
            return Ok(key);
        }
        if let Some(source) = &self.0.source {
            self.refresh(source).await;
        }
        known(kid).ok_or_else(|| if self.0.keys.read().is_empty() { Error::Unavailable } else { Error::Invalid })
    }

    /// Asks for the keys unless somebody has just done so. One asks, the others wait for the answer.
    async fn refresh(&self, source: &Source) {
        let mut asked_at = source.asked_at.lock().await;
        let interval = if self.0.keys.read().is_empty() { FIRST_INTERVAL } else { REFRESH_INTERVAL };
        if asked_at.is_some_and(|at| at.elapsed() < interval) {
            return;
        }
        match source.fetch().await {
            Ok(keys) if !keys.is_empty() => *self.0.keys.write() = keys,
            Ok(_) => tracing::warn!(jwks.url = source.url, "the key set holds no key of ours"),
            Err(error) => tracing::warn!(jwks.url = source.url, error = format!("{error:#}"), "no key set"),
        }
        *asked_at = Some(Instant::now());
    }
}

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<Key>,
}

#[derive(Deserialize)]
struct Key {
    kid: Option<String>,
    crv: Option<String>,
    x: Option<String>,
}

impl Source {
    async fn fetch(&self) -> anyhow::Result<HashMap<String, DecodingKey>> {
        let answer = self.client.get(&self.url).send().await?.error_for_status()?;
        let KeySet { keys } = answer.json().await.context("not a key set")?;
        Ok(keys.into_iter().filter_map(Key::read).collect())
    }
}

impl Key {
    /// Only Ed25519 keys with a name; a set may hold others.
    fn read(self) -> Option<(String, DecodingKey)> {
        let public = URL_SAFE_NO_PAD.decode(self.x?).ok()?;
        let fits = self.crv.as_deref() == Some("Ed25519") && public.len() == 32;
        Some((self.kid?, DecodingKey::from_ed_der(&public))).filter(|_| fits)
    }
}

#[cfg(test)]
mod tests;
