//! Access tokens: what they say, and how they are signed.

use std::fmt;
use std::time::Duration;

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::{DecodePrivateKey, EncodePrivateKey};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use kernel::UserId;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use super::Role;

/// Who issues the tokens, and whom they are for.
pub(super) const ISSUER: &str = "sagashop";
/// The only audience.
pub(super) const AUDIENCE: &str = "sagashop";
/// What tells an access token from any other token that the same key may sign.
pub(super) const ACCESS: &str = "access";
/// The same in the header (RFC 9068).
pub(super) const ACCESS_HEADER: &str = "at+jwt";

/// What an access token says.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Claims {
    pub sub: UserId,
    pub role: Role,
    pub iss: String,
    pub aud: String,
    pub typ: String,
    pub iat: i64,
    pub exp: i64,
    pub jti: Uuid,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sid: Option<Uuid>,
}

/// What an access token is to say.
#[derive(Debug, Clone, Copy)]
pub struct Grant {
    /// Whose it is.
    pub user: UserId,
    /// What they may do.
    pub role: Role,
    /// The session that it was given in, if any.
    pub session: Option<Uuid>,
}

/// Signs access tokens with one Ed25519 key.
#[derive(Clone)]
pub struct TokenSigner {
    key: EncodingKey,
    public: [u8; 32],
    kid: String,
}

impl TokenSigner {
    /// A signer with this secret key; verifiers know its public half by `kid`.
    ///
    /// # Errors
    /// None that a 32-byte seed can cause.
    pub fn from_seed(seed: &[u8; 32], kid: impl Into<String>) -> anyhow::Result<Self> {
        Self::from_key(&SigningKey::from_bytes(seed), kid.into())
    }

    /// A signer with the key of a PKCS #8 PEM file (`openssl genpkey -algorithm ed25519`).
    ///
    /// # Errors
    /// A text that is no such file.
    pub fn from_pkcs8_pem(pem: &str, kid: impl Into<String>) -> anyhow::Result<Self> {
        let key = SigningKey::from_pkcs8_pem(pem).context("not an Ed25519 private key in PKCS #8 PEM")?;
        Self::from_key(&key, kid.into())
    }

    fn from_key(key: &SigningKey, kid: String) -> anyhow::Result<Self> {
        let der = key.to_pkcs8_der().context("the signing key cannot be encoded")?;
        let public = key.verifying_key().to_bytes();
        Ok(Self { key: EncodingKey::from_ed_der(der.as_bytes()), public, kid })
    }

    /// The name of the key.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The public half of the key.
    pub fn public_key(&self) -> [u8; 32] {
        self.public
    }

    /// An access token for `user`, good from `now` for `lifetime`.
    ///
    /// # Errors
    /// None that these arguments can cause.
    pub fn access_token(
        &self,
        user: UserId,
        role: Role,
        now: DateTime<Utc>,
        lifetime: Duration,
        token_id: Uuid,
    ) -> anyhow::Result<String> {
        self.grant(Grant { user, role, session: None }, now, lifetime, token_id)
    }

    /// As [`TokenSigner::access_token`], within a session.
    ///
    /// # Errors
    /// None that these arguments can cause.
    pub fn grant(
        &self,
        grant: Grant,
        now: DateTime<Utc>,
        lifetime: Duration,
        token_id: Uuid,
    ) -> anyhow::Result<String> {
        let Grant { user, role, session } = grant;
        let iat = now.timestamp();
        let exp = iat.saturating_add(i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX));
        let (iss, aud, typ) = (ISSUER.to_owned(), AUDIENCE.to_owned(), ACCESS.to_owned());
        self.sign(ACCESS_HEADER, &Claims { sub: user, role, iss, aud, typ, iat, exp, jti: token_id, sid: session })
    }

    /// A token with this `typ` in its header.
    pub(super) fn sign(&self, typ: &str, claims: &impl Serialize) -> anyhow::Result<String> {
        let header = Header { kid: Some(self.kid.clone()), typ: Some(typ.to_owned()), ..Header::new(Algorithm::EdDSA) };
        jsonwebtoken::encode(&header, claims, &self.key).context("the token cannot be signed")
    }

    /// The JSON Web Key Set of this one key.
    pub fn jwks(&self) -> Value {
        jwks([(self.kid.as_str(), self.public)])
    }
}

/// The JSON Web Key Set of these public keys (RFC 8037): what `/.well-known/jwks.json` answers.
pub fn jwks<'k>(keys: impl IntoIterator<Item = (&'k str, [u8; 32])>) -> Value {
    let key = |(kid, public): (&str, [u8; 32])| {
        let x = URL_SAFE_NO_PAD.encode(public);
        json!({ "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": kid, "x": x })
    };
    json!({ "keys": keys.into_iter().map(key).collect::<Vec<_>>() })
}

impl fmt::Debug for TokenSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenSigner").field("kid", &self.kid).finish_non_exhaustive()
    }
}
