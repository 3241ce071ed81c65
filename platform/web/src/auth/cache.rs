//! Tokens that were found good: the same token comes with every request, and a signature costs more than a hash.

use chrono::Utc;
use moka::sync::Cache;
use sha2::{Digest, Sha256};
use telemetry::metrics::CacheReads;

/// Tokens that are remembered; each takes its own length and about 200 bytes.
const TOKENS_MAX: u64 = 16_384;

/// What good tokens say, by the tokens' hashes; never longer than the token is good.
pub(super) struct Verified<T> {
    tokens: Cache<[u8; 32], (T, i64)>,
    reads: CacheReads,
}

impl<T: Clone + Send + Sync + 'static> Verified<T> {
    pub(super) fn new() -> Self {
        Self { tokens: Cache::new(TOKENS_MAX), reads: CacheReads::new("", "access_tokens") }
    }

    /// What the token says, if it was found good and has not expired since.
    pub(super) fn get(&self, token: &str) -> Option<T> {
        let hash = hash(token);
        if let Some((said, expires_at_s)) = self.tokens.get(&hash) {
            if Utc::now().timestamp() < expires_at_s {
                self.reads.hit();
                return Some(said);
            }
            self.tokens.invalidate(&hash);
        }
        self.reads.miss();
        None
    }

    /// Remembers a good token.
    pub(super) fn put(&self, token: &str, said: T, expires_at_s: i64) {
        self.tokens.insert(hash(token), (said, expires_at_s));
    }

    /// Forgets all: the keys that they were checked with have changed.
    pub(super) fn clear(&self) {
        self.tokens.invalidate_all();
    }
}

/// The token itself is not kept as a key: whoever reads memory dumps learns hashes.
fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_remembered_until_it_expires() {
        let (verified, now) = (Verified::new(), Utc::now().timestamp());
        verified.put("good", 1, now + 60);
        verified.put("expired", 2, now);
        assert_eq!((verified.get("good"), verified.get("expired"), verified.get("other")), (Some(1), None, None));
        verified.clear();
        assert_eq!(verified.get("good"), None);
    }
}
