//! Tokens as an attacker would make them, and one key of their maker that the shop knows: as if it had leaked.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::Utc;
use ed25519_dalek::{Signer, SigningKey};
use hmac::{Hmac, Mac};
use sagashop::ports::Role;
use serde_json::{Value, json};
use sha2::Sha256;
use uuid::Uuid;

use crate::folder::Folder;

/// How far the shop lets clocks differ.
pub const SKEW_S: i64 = 5;

/// Signs whatever it is told to.
pub struct Issuer {
    key: SigningKey,
    /// What the shop knows the key by.
    pub kid: String,
}

impl Issuer {
    /// With a key that the user service of this shop publishes from now on.
    pub async fn of(folder: &Folder) -> Self {
        let issuer = Self::unknown();
        let public: String = issuer.key.verifying_key().to_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        let insert = format!(
            "INSERT INTO signing_keys (kid, state, public_key, wrapped_seed, master_id, created_at, rotated_at)
             SELECT '{}', 'published', '\\x{public}', wrapped_seed, master_id, now(), now() FROM signing_keys
              WHERE state = 'active'",
            issuer.kid
        );
        assert_eq!(folder.execute(Role::User, &insert).await, 1, "no key is active");
        issuer
    }

    /// With a key that nobody knows.
    pub fn unknown() -> Self {
        let seed: Vec<u8> = [Uuid::now_v7(), Uuid::now_v7()].iter().flat_map(|id| *id.as_bytes()).collect();
        let key = SigningKey::from_bytes(&seed.try_into().expect("32 bytes"));
        Self { key, kid: Uuid::now_v7().to_string() }
    }

    /// Its key is good no longer.
    pub async fn retire(&self, folder: &Folder) {
        let update = format!(
            "UPDATE signing_keys SET state = 'retired', wrapped_seed = NULL, retired_at = now() WHERE kid = '{}'",
            self.kid
        );
        assert_eq!(folder.execute(Role::User, &update).await, 1);
    }

    pub fn public(&self) -> [u8; 32] {
        self.key.verifying_key().to_bytes()
    }

    /// The header of an access token.
    pub fn header(&self) -> Value {
        json!({ "alg": "EdDSA", "typ": "at+jwt", "kid": self.kid })
    }

    /// A good token that says this.
    pub fn good(&self, claims: &Value) -> String {
        self.sign(&self.header(), claims)
    }

    /// A token that was good until a second before the last moment that any clock could excuse.
    pub fn expired(&self, user_id: &str) -> String {
        let mut claims = claims(user_id, "customer");
        claims["exp"] = (Utc::now().timestamp() - SKEW_S - 1).into();
        self.sign(&self.header(), &claims)
    }

    /// A token that says this, signed with the key.
    pub fn sign(&self, header: &Value, claims: &Value) -> String {
        let said = said(header, claims);
        let signature = self.key.sign(said.as_bytes());
        format!("{said}.{}", URL_SAFE_NO_PAD.encode(signature.to_bytes()))
    }
}

/// What a token says.
pub fn read(token: &str) -> Value {
    let claims = token.split('.').nth(1).and_then(|part| URL_SAFE_NO_PAD.decode(part).ok()).expect("three parts");
    serde_json::from_slice(&claims).expect("JSON")
}

/// What a good access token of this user says now.
fn claims(user_id: &str, role: &str) -> Value {
    let now = Utc::now().timestamp();
    json!({
        "sub": user_id, "role": role, "iss": "sagashop", "aud": "sagashop", "typ": "access",
        "iat": now - 60, "exp": now + 600, "jti": Uuid::now_v7(),
    })
}

/// The same, authenticated with a secret that both sides are to share.
pub fn hmac(header: &Value, claims: &Value, secret: &[u8]) -> String {
    let said = said(header, claims);
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("any length");
    mac.update(said.as_bytes());
    format!("{said}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
}

/// What is signed.
pub fn said(header: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}", part(header), part(claims))
}
