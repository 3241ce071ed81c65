//! Checking access tokens: with keys that are known, or asked for from whoever issues them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use chrono::Utc;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use parking_lot::RwLock;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::cache::Verified;
use super::keys::{KeySetUrl, KeySource};
use super::token::{ACCESS, ACCESS_HEADER, AUDIENCE, Claims, ISSUER};
use super::{Identity, TokenSigner};

/// A source is asked at most this often.
const REFRESH_INTERVAL: Duration = Duration::from_secs(2);
/// As long as there is no key at all, it is asked more often: the issuer may just be starting.
const FIRST_INTERVAL: Duration = Duration::from_millis(100);
/// Keys are asked for again this often, so that a retired one is good nowhere for longer.
const RENEWAL_INTERVAL: Duration = Duration::from_secs(30);
/// Clocks may differ by this.
pub(super) const LEEWAY_S: u64 = 5;
/// Longer tokens are not ours.
const TOKEN_BYTES_MAX: usize = 4_096;

/// Why a token was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It is not a good token of its kind. Which of its faults was found is nobody's business.
    #[error("the token is not valid")]
    Invalid,
    /// No key is known yet, and their issuer does not answer.
    #[error("tokens cannot be checked at present")]
    Unavailable,
}

/// Checks access tokens; cheap to clone. Strict: EdDSA alone, and key, issuer, audience, type, expiry, time of issue
/// and id must be there and right. What was found good is remembered until it expires or the keys change.
#[derive(Clone)]
pub struct TokenVerifier(Arc<Inner>);

struct Inner {
    keys: RwLock<HashMap<String, ([u8; 32], DecodingKey)>>,
    rules: Validation,
    verified: Verified<Identity>,
    source: Option<Source>,
}

struct Source {
    keys: Box<dyn KeySource>,
    asked_at: tokio::sync::Mutex<Option<Instant>>,
    is_renewed: AtomicBool,
}

impl TokenVerifier {
    /// A verifier with these public keys, by their `kid`.
    pub fn from_keys(keys: impl IntoIterator<Item = (String, [u8; 32])>) -> Self {
        Self::new(decoding(keys), None)
    }

    /// A verifier of what `signer` signs.
    pub fn of_signer(signer: &TokenSigner) -> Self {
        Self::from_keys([(signer.kid().to_owned(), signer.public_key())])
    }

    /// A verifier with the keys of a JSON Web Key Set: see [`TokenVerifier::from_source`].
    ///
    /// # Errors
    /// No HTTP client can be made here.
    pub fn from_jwks_url(url: impl Into<String>) -> anyhow::Result<Self> {
        Ok(Self::from_source(KeySetUrl::new(url.into())?))
    }

    /// A verifier with the keys of a source. It is asked at the first token, then every 30 s, and (every two seconds at
    /// most) when a token names a key that is not known. While it is away, the keys known so far stay good.
    pub fn from_source(keys: impl KeySource) -> Self {
        let source = Source {
            keys: Box::new(keys),
            asked_at: tokio::sync::Mutex::default(),
            is_renewed: AtomicBool::new(false),
        };
        Self::new(HashMap::new(), Some(source))
    }

    fn new(keys: HashMap<String, ([u8; 32], DecodingKey)>, source: Option<Source>) -> Self {
        let rules = rules(AUDIENCE);
        Self(Arc::new(Inner { keys: RwLock::new(keys), rules, verified: Verified::new(), source }))
    }

    /// Who the bearer of `token` is.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn verify(&self, token: &str) -> Result<Identity, Error> {
        if let Some(identity) = self.0.verified.get(token) {
            return Ok(identity);
        }
        let kid = kid(token, ACCESS_HEADER)?;
        let key = self.key(&kid).await?;
        let claims = claims::<Claims>(token, &key, &self.0.rules)?;
        if claims.typ != ACCESS || is_ahead(claims.iat) {
            return Err(Error::Invalid);
        }
        let identity =
            Identity { user_id: claims.sub, role: claims.role, session: claims.sid, token: Some(token.into()) };
        self.0.verified.put(token, identity.clone(), claims.exp);
        // Keys that changed meanwhile have emptied the cache before this token came into it.
        if !self.0.keys.read().contains_key(&kid) {
            self.0.verified.clear();
            return Err(Error::Invalid);
        }
        Ok(identity)
    }

    async fn key(&self, kid: &str) -> Result<DecodingKey, Error> {
        let known = |kid: &str| self.0.keys.read().get(kid).map(|(_, key)| key.clone());
        if let Some(key) = known(kid) {
            return Ok(key);
        }
        if let Some(source) = &self.0.source {
            if !source.is_renewed.swap(true, Ordering::Relaxed) {
                tokio::spawn(renew(Arc::downgrade(&self.0)));
            }
            self.0.refresh(source).await;
        }
        known(kid).ok_or_else(|| if self.0.keys.read().is_empty() { Error::Unavailable } else { Error::Invalid })
    }
}

impl Inner {
    /// Asks for the keys unless somebody has just done so. One asks, the others wait for the answer.
    async fn refresh(&self, source: &Source) {
        let mut asked_at = source.asked_at.lock().await;
        let interval = if self.keys.read().is_empty() { FIRST_INTERVAL } else { REFRESH_INTERVAL };
        if asked_at.is_some_and(|at| at.elapsed() < interval) {
            return;
        }
        match source.keys.keys().await {
            Ok(keys) if !keys.is_empty() => self.replace(decoding(keys)),
            Ok(_) => tracing::warn!("the key set holds no key of ours"),
            Err(error) => tracing::warn!(error = format!("{error:#}"), "no key set: the known keys stay good"),
        }
        *asked_at = Some(Instant::now());
    }

    /// Takes the keys. If one of them is gone, or is another, what was checked with it is forgotten.
    fn replace(&self, new: HashMap<String, ([u8; 32], DecodingKey)>) {
        let mut keys = self.keys.write();
        let stays = |(kid, (public, _)): (&String, &([u8; 32], _))| new.get(kid).is_some_and(|(key, _)| key == public);
        let all_stay = keys.iter().all(stays);
        *keys = new;
        drop(keys);
        if !all_stay {
            self.verified.clear();
        }
    }
}

/// Asks for the keys now and then, as long as somebody has the verifier.
async fn renew(verifier: Weak<Inner>) {
    loop {
        tokio::time::sleep(RENEWAL_INTERVAL).await;
        let Some(inner) = verifier.upgrade() else { return };
        if let Some(source) = &inner.source {
            inner.refresh(source).await;
        }
    }
}

fn decoding(keys: impl IntoIterator<Item = (String, [u8; 32])>) -> HashMap<String, ([u8; 32], DecodingKey)> {
    // For Ed25519 the library's "DER" is the bare 32 bytes.
    keys.into_iter().map(|(kid, key)| (kid, (key, DecodingKey::from_ed_der(&key)))).collect()
}

/// What every token of ours must fulfil.
pub(super) fn rules(audience: &str) -> Validation {
    let mut rules = Validation::new(Algorithm::EdDSA);
    rules.set_audience(&[audience]);
    rules.set_issuer(&[ISSUER]);
    rules.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    rules.validate_nbf = true;
    rules.leeway = LEEWAY_S;
    rules
}

/// The key that the token names, if its header is that of a token of this type.
pub(super) fn kid(token: &str, typ: &str) -> Result<String, Error> {
    if token.len() > TOKEN_BYTES_MAX {
        return Err(Error::Invalid);
    }
    let header = jsonwebtoken::decode_header(token).map_err(|_| Error::Invalid)?;
    let fits = header.alg == Algorithm::EdDSA && header.typ.is_some_and(|named| named.eq_ignore_ascii_case(typ));
    header.kid.filter(|_| fits).ok_or(Error::Invalid)
}

/// What the token says, if the key has signed it and it is good now.
pub(super) fn claims<C: DeserializeOwned>(token: &str, key: &DecodingKey, rules: &Validation) -> Result<C, Error> {
    jsonwebtoken::decode::<C>(token, key, rules).map(|token| token.claims).map_err(|_| Error::Invalid)
}

/// Whether a token says that it was issued in the future.
pub(super) fn is_ahead(issued_at_s: i64) -> bool {
    issued_at_s > Utc::now().timestamp().saturating_add(i64::try_from(LEEWAY_S).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests;
