//! The secrets that calls are signed with: derived, so that none is stored anywhere.

use anyhow::ensure;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hkdf::Hkdf;
use kernel::WebhookId;
use sha2::Sha256;
use web::WebhookKey;

/// What a key shorter than this would be worth guessing.
const KEY_CHARS_MIN: usize = 32;

/// Makes the secret of each webhook, and of each of its generations.
#[derive(Clone)]
pub(crate) struct Secrets(Hkdf<Sha256>);

impl Secrets {
    /// # Errors
    /// A key of less than 32 characters.
    pub(crate) fn new(key: &str) -> anyhow::Result<Self> {
        ensure!(
            key.chars().count() >= KEY_CHARS_MIN,
            "the key of the webhooks' secrets is too short: it needs at least {KEY_CHARS_MIN} characters"
        );
        Ok(Self(Hkdf::new(Some(b"sagashop webhooks"), key.as_bytes())))
    }

    /// The secret, as whoever receives the calls is told it.
    pub(crate) fn secret(&self, webhook: WebhookId, generation: u32) -> String {
        let mut secret = [0_u8; 32];
        let of = format!("{webhook}:{generation}");
        if self.0.expand(of.as_bytes(), &mut secret).is_err() {
            unreachable!("32 bytes are not too many");
        }
        format!("whsec_{}", URL_SAFE_NO_PAD.encode(secret))
    }

    /// The secret, as calls are signed with it.
    pub(crate) fn key(&self, webhook: WebhookId, generation: u32) -> WebhookKey {
        WebhookKey::new(self.secret(webhook, generation)).unwrap_or_else(|_| unreachable!("secrets are long enough"))
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn each_webhook_and_generation_has_a_secret_that_stays() {
        let secrets = Secrets::new(&"k".repeat(32)).unwrap();
        let (one, two) = (WebhookId(Uuid::from_u128(1)), WebhookId(Uuid::from_u128(2)));
        let first = secrets.secret(one, 1);
        assert_eq!(first, Secrets::new(&"k".repeat(32)).unwrap().secret(one, 1));
        assert!(first.starts_with("whsec_") && first.len() > 40, "{first}");
        for other in
            [secrets.secret(one, 2), secrets.secret(two, 1), Secrets::new(&"K".repeat(32)).unwrap().secret(one, 1)]
        {
            assert_ne!(first, other);
        }
        assert!(Secrets::new("short").is_err());
    }
}
