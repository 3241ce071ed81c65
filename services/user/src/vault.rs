//! The master key, and what is derived from it: nothing secret or personal is stored that is not wrapped by it.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use domain::user::EmailAddress;
use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use rand::TryRng;
use sha2::Sha256;
use uuid::{Builder, Uuid};
use zeroize::Zeroizing;

const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 24;

/// Secret bytes that are wiped when they are let go of.
pub(crate) type Secret = Zeroizing<[u8; KEY_BYTES]>;

/// The key that wraps all others: 32 bytes from the configuration. Whoever loses it loses every person's data.
#[derive(Clone)]
pub struct MasterKey(Arc<Secret>);

impl MasterKey {
    /// A new one.
    ///
    /// # Errors
    /// The system has no randomness.
    pub fn random() -> anyhow::Result<Self> {
        Ok(Self(Arc::new(random()?)))
    }

    /// The key as it stands in a configuration: base64.
    pub fn expose(&self) -> String {
        STANDARD_NO_PAD.encode(self.0.as_slice())
    }
}

impl FromStr for MasterKey {
    type Err = anyhow::Error;

    /// Reads 64 hexadecimal digits, or base64 of 32 bytes.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let is_hex = text.len() == 2 * KEY_BYTES && text.bytes().all(|b| b.is_ascii_hexdigit());
        let bytes = if is_hex {
            (0..KEY_BYTES).map(|n| u8::from_str_radix(&text[2 * n..2 * n + 2], 16).ok()).collect::<Option<Vec<_>>>()
        } else {
            let text = text.trim_end_matches('=');
            STANDARD_NO_PAD.decode(text).or_else(|_| URL_SAFE_NO_PAD.decode(text)).ok()
        };
        let bytes: [u8; KEY_BYTES] = bytes
            .and_then(|bytes| bytes.try_into().ok())
            .context("MASTER_KEY is not 32 bytes in base64 or hexadecimal: `openssl rand -base64 32` makes one")?;
        anyhow::ensure!(
            bytes.iter().any(|byte| *byte != bytes[0]),
            "MASTER_KEY is one byte again and again: `openssl rand -base64 32` makes a good one"
        );
        Ok(Self(Arc::new(Zeroizing::new(bytes))))
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(…)")
    }
}

/// Wraps and unwraps with keys derived (HKDF-SHA256) from the master key. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Vault(Arc<Inner>);

struct Inner {
    wrapping: Cipher,
    emails: Secret,
    requests: Secret,
    id: String,
}

impl Vault {
    pub(crate) fn new(master: &MasterKey) -> anyhow::Result<Self> {
        let hkdf = Hkdf::<Sha256>::new(Some(b"sagashop"), master.0.as_slice());
        let derive = |purpose: &str| -> anyhow::Result<Secret> {
            let mut key = Secret::default();
            hkdf.expand(purpose.as_bytes(), key.as_mut_slice())
                .map_err(|_| anyhow::anyhow!("no key can be derived from MASTER_KEY"))?;
            Ok(key)
        };
        let (wrapping, emails) = (Cipher::new(&derive("wrapping of keys, 1")?), derive("claims of addresses, 1")?);
        let requests = derive("fingerprints of requests, 1")?;
        let id = URL_SAFE_NO_PAD.encode(&derive("name of the master key, 1")?[..9]);
        Ok(Self(Arc::new(Inner { wrapping, emails, requests, id })))
    }

    /// The master key's name: tells whether something was wrapped by it, and nothing of the key.
    pub(crate) fn id(&self) -> &str {
        &self.0.id
    }

    /// Wraps a key; `whose` is bound to it.
    pub(crate) fn wrap(&self, whose: &str, key: &Secret) -> anyhow::Result<Vec<u8>> {
        self.0.wrapping.seal(whose, key.as_slice())
    }

    /// The key that was wrapped for `whose`.
    pub(crate) fn unwrap(&self, whose: &str, wrapped: &[u8]) -> anyhow::Result<Secret> {
        let key = self.0.wrapping.open(whose, wrapped).map(Zeroizing::new);
        let key: [u8; KEY_BYTES] = key
            .and_then(|key| key.as_slice().try_into().ok())
            .with_context(|| format!("the key of {whose} is damaged, or another's"))?;
        Ok(Zeroizing::new(key))
    }

    /// What stands for an address where it must be found and not read: a keyed hash. Without the master key nobody can
    /// tell whose it is by trying addresses.
    pub(crate) fn email_id(&self, email: &EmailAddress) -> Uuid {
        let hash = keyed_hash(&self.0.emails, email.as_str().as_bytes());
        let mut bytes = [0_u8; 16];
        bytes.copy_from_slice(&hash[..16]);
        Builder::from_custom_bytes(bytes).into_uuid()
    }

    /// What stands for a request where it must be known again and not be guessed: it may hold a password, and a plain
    /// hash of it could be tried against a list of them.
    pub(crate) fn fingerprint(&self, request: &[u8; 32]) -> [u8; 32] {
        keyed_hash(&self.0.requests, request)
    }
}

fn keyed_hash(key: &Secret, text: &[u8]) -> [u8; 32] {
    // HMAC takes keys of any length.
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_slice()).unwrap_or_else(|_| unreachable!("a key of 32 bytes"));
    mac.update(text);
    mac.finalize().into_bytes().into()
}

/// XChaCha20-Poly1305 under one key, with random nonces: 24 bytes are enough never to meet one twice.
pub(crate) struct Cipher(XChaCha20Poly1305);

impl Cipher {
    pub(crate) fn new(key: &Secret) -> Self {
        Self(XChaCha20Poly1305::new(&(**key).into()))
    }

    /// Nonce and ciphertext; `context` must be the same when it is opened.
    pub(crate) fn seal(&self, context: &str, text: &[u8]) -> anyhow::Result<Vec<u8>> {
        let mut nonce = [0_u8; NONCE_BYTES];
        rand::rngs::SysRng.try_fill_bytes(&mut nonce).context("the system has no randomness")?;
        let payload = Payload { msg: text, aad: context.as_bytes() };
        let sealed = self.0.encrypt(&XNonce::from(nonce), payload).map_err(|_| anyhow::anyhow!("too long to seal"))?;
        Ok([nonce.as_slice(), &sealed].concat())
    }

    /// The text, if it was sealed under this key in this context.
    pub(crate) fn open(&self, context: &str, sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_BYTES>()?;
        self.0.decrypt(&XNonce::from(*nonce), Payload { msg: sealed, aad: context.as_bytes() }).ok()
    }
}

/// 256 random bits.
pub(crate) fn random() -> anyhow::Result<Secret> {
    let mut bytes = Secret::default();
    rand::rngs::SysRng.try_fill_bytes(bytes.as_mut_slice()).context("the system has no randomness")?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_master_key_is_32_bytes_in_either_form() {
        let key = MasterKey::random().unwrap();
        let hex = key.0.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let url = URL_SAFE_NO_PAD.encode(key.0.as_slice());
        for text in [key.expose(), format!(" {}=\n", key.expose()), hex.clone(), hex.to_uppercase(), url] {
            assert_eq!(text.parse::<MasterKey>().unwrap().0, key.0, "{text}");
        }
        for bad in ["", "secret", &hex[1..], &key.expose()[1..], &"0".repeat(64), &"A".repeat(42)] {
            let error = bad.parse::<MasterKey>().unwrap_err();
            assert!(error.to_string().contains("MASTER_KEY"), "{error}");
        }
        assert_eq!(format!("{key:?}"), "MasterKey(…)");
    }

    #[test]
    fn a_wrapped_key_is_unwrapped_for_its_owner_alone() {
        let vault = Vault::new(&MasterKey::random().unwrap()).unwrap();
        let key = random().unwrap();
        let wrapped = vault.wrap("person 1", &key).unwrap();
        assert_eq!(*vault.unwrap("person 1", &wrapped).unwrap(), *key);
        let mut tampered = wrapped.clone();
        tampered[30] ^= 1;
        let other = Vault::new(&MasterKey::random().unwrap()).unwrap();
        assert!(vault.unwrap("person 2", &wrapped).is_err());
        assert!(vault.unwrap("person 1", &tampered).is_err() && vault.unwrap("person 1", b"short").is_err());
        assert!(other.unwrap("person 1", &wrapped).is_err());
        assert_ne!(vault.id(), other.id());
        assert_ne!(wrapped, vault.wrap("person 1", &key).unwrap(), "never the same nonce");
    }

    #[test]
    fn an_address_is_found_by_a_hash_that_needs_the_key() {
        let (one, two) = (MasterKey::random().unwrap(), MasterKey::random().unwrap());
        let (john, jane) = ("John@example.com".parse().unwrap(), "jane@example.com".parse().unwrap());
        let id = |key: &MasterKey, email: &EmailAddress| Vault::new(key).unwrap().email_id(email);
        assert_eq!(id(&one, &john), id(&one, &"john@EXAMPLE.com".parse().unwrap()));
        assert_ne!(id(&one, &john), id(&one, &jane));
        assert_ne!(id(&one, &john), id(&two, &john));
    }
}
