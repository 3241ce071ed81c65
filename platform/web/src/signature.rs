//! Signed webhooks, as Stripe has them: the sender signs the moment and the body with a secret that both sides know.
//!
//! The header [`SIGNATURE`] says `t=<unix seconds>,v1=<hex>`: HMAC-SHA256 under the secret of `<unix seconds>.<body>`.
//! The moment is signed too, so that a call that was overheard is worth nothing once its window has passed. While a
//! secret is changed a sender may put one `v1` for each of the two secrets.

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, Utc};
use hmac::{Hmac, Mac};
use sha2::Sha256;

/// The header that holds a signature.
pub const SIGNATURE: &str = "Sagashop-Signature";

/// How far the sender's clock and the way may put a call from the receiver's now, where nothing else is said.
pub const SIGNATURE_TOLERANCE: Duration = Duration::from_secs(300);

/// A secret has at least so many bytes.
const SECRET_BYTES_MIN: usize = 16;
/// A longer header is no signature.
const HEADER_BYTES_MAX: usize = 1_024;

/// Signs calls, and verifies them, with one secret.
#[derive(Clone)]
pub struct WebhookKey(Hmac<Sha256>);

impl WebhookKey {
    /// A key of this secret, at least 16 bytes of it.
    ///
    /// # Errors
    /// A secret that is shorter.
    pub fn new(secret: impl AsRef<[u8]>) -> Result<Self, WeakSecret> {
        let secret = secret.as_ref();
        if secret.len() < SECRET_BYTES_MIN {
            return Err(WeakSecret);
        }
        Hmac::new_from_slice(secret).map(Self).map_err(|_| WeakSecret)
    }

    /// The header's value for `body`, sent at `at`.
    pub fn sign(&self, at: DateTime<Utc>, body: &[u8]) -> String {
        let seconds = at.timestamp();
        let code = self.code(&seconds.to_string(), body).finalize().into_bytes();
        let mut header = format!("t={seconds},v1=");
        for byte in code {
            header.push_str(&format!("{byte:02x}"));
        }
        header
    }

    /// The header's value with a signature for each of the keys: while a secret is changed, those who have the old one
    /// and those who have the new one both believe it.
    pub fn sign_with(keys: impl IntoIterator<Item = Self>, at: DateTime<Utc>, body: &[u8]) -> String {
        let mut header = format!("t={}", at.timestamp());
        for key in keys {
            if let Some((_, code)) = key.sign(at, body).split_once(',') {
                header.push(',');
                header.push_str(code);
            }
        }
        header
    }

    /// Whether `header` signs `body`, and did so within `tolerance` of `now`. How long it takes says nothing of how
    /// near a wrong signature came. That one call comes once is for the receiver to see to, by the id in its body.
    ///
    /// # Errors
    /// Why it does not.
    pub fn verify(
        &self,
        header: &str,
        body: &[u8],
        now: DateTime<Utc>,
        tolerance: Duration,
    ) -> Result<(), SignatureError> {
        let (moment, codes) = read(header).ok_or(SignatureError::Malformed)?;
        let seconds: i64 = moment.parse().map_err(|_| SignatureError::Malformed)?;
        let expected = self.code(moment, body);
        // Whoever has not the secret does not learn whether the moment would have done.
        if !codes.iter().any(|code| expected.clone().verify_slice(code).is_ok()) {
            return Err(SignatureError::Wrong);
        }
        let apart = now.timestamp().abs_diff(seconds);
        if apart > tolerance.as_secs() { Err(SignatureError::OutsideWindow) } else { Ok(()) }
    }

    fn code(&self, moment: &str, body: &[u8]) -> Hmac<Sha256> {
        self.0.clone().chain_update(moment).chain_update(b".").chain_update(body)
    }
}

impl fmt::Debug for WebhookKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookKey(..)")
    }
}

/// The moment and the signatures of a header; what it says besides is of a later version.
fn read(header: &str) -> Option<(&str, Vec<[u8; 32]>)> {
    if header.len() > HEADER_BYTES_MAX {
        return None;
    }
    let (mut moment, mut codes) = (None, Vec::new());
    for part in header.split(',') {
        match part.trim().split_once('=')? {
            ("t", _) if moment.is_some() => return None,
            ("t", value) => moment = Some(value).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit())),
            ("v1", value) => codes.push(unhex(value)?),
            _ => {}
        }
    }
    moment.filter(|_| !codes.is_empty()).map(|moment| (moment, codes))
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 2 * bytes.len() || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, at) in bytes.iter_mut().zip((0..text.len()).step_by(2)) {
        *byte = u8::from_str_radix(text.get(at..at + 2)?, 16).ok()?;
    }
    Some(bytes)
}

/// A secret that could be guessed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a webhook's secret has at least 16 bytes")]
pub struct WeakSecret;

/// Why a call is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// The header is not `t=…,v1=…`.
    #[error("the signature cannot be read")]
    Malformed,
    /// Another secret, another body or another moment.
    #[error("the signature is wrong")]
    Wrong,
    /// Too long ago, or from the future.
    #[error("the signature is outside its time window")]
    OutsideWindow,
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] = br#"{"id":"evt_1"}"#;

    fn key() -> WebhookKey {
        WebhookKey::new("whsec_0123456789abcdef").unwrap()
    }

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + seconds, 0).unwrap()
    }

    fn verify(header: &str, body: &[u8], now: i64) -> Result<(), SignatureError> {
        key().verify(header, body, at(now), SIGNATURE_TOLERANCE)
    }

    #[test]
    fn a_signature_is_the_one_that_openssl_makes() {
        // printf '1800000000.{"id":"evt_1"}' | openssl dgst -sha256 -hmac whsec_0123456789abcdef
        let code = "1b747fba732f4b4d62dd4147ec50c7ed04a385c1290c2ae75c2cb2b1ae03aa9b";
        assert_eq!(key().sign(at(0), BODY), format!("t=1800000000,v1={code}"));
    }

    #[test]
    fn what_was_signed_is_believed_within_its_window() {
        let header = key().sign(at(0), BODY);
        for now in [-300, 0, 300] {
            assert_eq!(verify(&header, BODY, now), Ok(()), "{now}");
        }
        for now in [-301, 301] {
            assert_eq!(verify(&header, BODY, now), Err(SignatureError::OutsideWindow), "{now}");
        }
    }

    #[test]
    fn another_body_moment_or_secret_is_not_believed() {
        let header = key().sign(at(0), BODY);
        assert_eq!(verify(&header, b"{}", 0), Err(SignatureError::Wrong));
        assert_eq!(verify(&header.replace("t=1800000000", "t=1800000100"), BODY, 100), Err(SignatureError::Wrong));
        let other = WebhookKey::new("whsec_another_secret").unwrap();
        assert_eq!(verify(&other.sign(at(0), BODY), BODY, 0), Err(SignatureError::Wrong));
        // While a secret is changed both sign.
        let both = WebhookKey::sign_with([other, key()], at(0), BODY);
        assert_eq!((both.matches("v1=").count(), verify(&both, BODY, 0)), (2, Ok(())));
        assert_eq!(verify(&format!("{header},v2=later"), BODY, 0), Ok(()));
    }

    #[test]
    fn what_is_no_signature_is_refused() {
        let good = key().sign(at(0), BODY);
        let code = good.split_once("v1=").unwrap().1;
        for header in [
            String::new(),
            "t=1800000000".to_owned(),
            format!("v1={code}"),
            format!("t=,v1={code}"),
            format!("t=-1800000000,v1={code}"),
            format!("t=1,{good}"),
            format!("t=99999999999999999999,v1={code}"),
            format!("t=1800000000,v1={}", &code[2..]),
            format!("t=1800000000,v1={}é", &code[2..]),
            format!("{good},{}", "x=y,".repeat(400)),
        ] {
            assert_eq!(verify(&header, BODY, 0), Err(SignatureError::Malformed), "{header}");
        }
        assert_eq!(WebhookKey::new("short").err(), Some(WeakSecret));
    }
}
