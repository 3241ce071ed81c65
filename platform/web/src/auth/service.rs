//! Tokens that the shop's own services show each other: an audience of their own, and a minute's life.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use chrono::Utc;
use hkdf::Hkdf;
use jsonwebtoken::{DecodingKey, Validation};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use tonic::Status;
use tonic::metadata::{AsciiMetadataValue, MetadataMap};
use uuid::Uuid;

use super::TokenSigner;
use super::cache::Verified;
use super::token::ISSUER;
use super::verify::{self, Error};
use crate::grpc;

/// Whom service tokens are for; no access token has this audience.
const AUDIENCE: &str = "sagashop-internal";
const TYPE: &str = "service";
const TYPE_HEADER: &str = "service+jwt";
/// The key's name; the key itself is a matter of the shared secret.
const KID: &str = "internal";
const LIFETIME: Duration = Duration::from_secs(60);
/// A token is shown for the first half of its life only, so that it does not expire on its way.
const SHOWN_S: i64 = 30;
/// The shortest secret.
const SECRET_CHARS_MIN: usize = 32;

/// Makes and checks the tokens of one service, with a key that all services derive from the secret that they share.
/// Such a token is never good as a user's: it has another key, audience and type. Cheap to clone.
#[derive(Clone)]
pub struct ServiceTokens(Arc<Inner>);

struct Inner {
    service: String,
    signer: TokenSigner,
    key: DecodingKey,
    rules: Validation,
    verified: Verified<Arc<str>>,
    /// The token shown at present, and until when it is shown.
    shown: Mutex<Option<(AsciiMetadataValue, i64)>>,
}

#[derive(Serialize, Deserialize)]
struct Claims {
    sub: String,
    iss: String,
    aud: String,
    typ: String,
    iat: i64,
    exp: i64,
    jti: Uuid,
}

impl ServiceTokens {
    /// The tokens of the service of this name, with a key derived (HKDF-SHA256) from `secret`.
    ///
    /// # Errors
    /// A secret of less than 32 characters.
    pub fn from_secret(secret: &str, service: impl Into<String>) -> anyhow::Result<Self> {
        anyhow::ensure!(
            secret.chars().count() >= SECRET_CHARS_MIN,
            "INTERNAL_TOKEN is too short: it needs at least {SECRET_CHARS_MIN} characters"
        );
        let mut seed = [0_u8; 32];
        Hkdf::<Sha256>::new(Some(b"sagashop"), secret.as_bytes())
            .expand(b"service tokens, Ed25519, 1", &mut seed)
            .map_err(|_| anyhow::anyhow!("no key can be derived from INTERNAL_TOKEN"))?;
        let signer = TokenSigner::from_seed(&seed, KID)?;
        let key = DecodingKey::from_ed_der(&signer.public_key());
        let (verified, shown) = (Verified::new(), Mutex::new(None));
        let rules = verify::rules(AUDIENCE);
        Ok(Self(Arc::new(Inner { service: service.into(), signer, key, rules, verified, shown })))
    }

    /// Puts this service's token into a call's metadata.
    ///
    /// # Errors
    /// None that a secret can cause.
    pub fn authorize<T>(&self, request: &mut tonic::Request<T>) -> anyhow::Result<()> {
        let value = self.authorization()?;
        request.metadata_mut().insert("authorization", value);
        Ok(())
    }

    /// `Bearer` and a token that is good for half a minute at least.
    ///
    /// # Errors
    /// None that a secret can cause.
    pub fn authorization(&self) -> anyhow::Result<AsciiMetadataValue> {
        let now = Utc::now().timestamp();
        let mut shown = self.0.shown.lock();
        if let Some((value, until)) = shown.as_ref()
            && now < *until
        {
            return Ok(value.clone());
        }
        let token = self.sign(now, LIFETIME)?;
        let mut value: AsciiMetadataValue = format!("Bearer {token}").parse().context("a token is plain ASCII")?;
        value.set_sensitive(true);
        *shown = Some((value.clone(), now + SHOWN_S));
        Ok(value)
    }

    fn sign(&self, now: i64, lifetime: Duration) -> anyhow::Result<String> {
        let claims = Claims {
            sub: self.0.service.clone(),
            iss: ISSUER.to_owned(),
            aud: AUDIENCE.to_owned(),
            typ: TYPE.to_owned(),
            iat: now,
            exp: now + i64::try_from(lifetime.as_secs())?,
            jti: Uuid::now_v7(),
        };
        self.0.signer.sign(TYPE_HEADER, &claims)
    }

    /// Which service shows this token.
    ///
    /// # Errors
    /// [`Error::Invalid`] for all that is no good service token.
    pub fn verify(&self, token: &str) -> Result<Arc<str>, Error> {
        if let Some(service) = self.0.verified.get(token) {
            return Ok(service);
        }
        if verify::kid(token, TYPE_HEADER)? != KID {
            return Err(Error::Invalid);
        }
        let claims = verify::claims::<Claims>(token, &self.0.key, &self.0.rules)?;
        let too_long = claims.exp.saturating_sub(claims.iat) > i64::try_from(LIFETIME.as_secs()).unwrap_or(0);
        if claims.typ != TYPE || verify::is_ahead(claims.iat) || too_long || claims.sub.is_empty() {
            return Err(Error::Invalid);
        }
        let service: Arc<str> = claims.sub.into();
        self.0.verified.put(token, Arc::clone(&service), claims.exp);
        Ok(service)
    }

    /// Which service calls, by the `authorization` of the call's metadata.
    ///
    /// # Errors
    /// `Unauthenticated` without a good service token.
    pub fn authenticate(&self, metadata: &MetadataMap) -> Result<Arc<str>, Status> {
        let token = grpc::bearer(metadata).ok_or_else(|| Status::unauthenticated("a service token is needed"))?;
        self.verify(token).map_err(|_| Status::unauthenticated("the service token is not valid"))
    }
}

impl fmt::Debug for ServiceTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceTokens").field("service", &self.0.service).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
