//! Where the public keys of access tokens come from.

use std::time::Duration;

use anyhow::Context;
use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

/// One answer may take so long.
const FETCH_TIMEOUT: Duration = Duration::from_secs(2);

/// Knows the public keys that are good now, by their `kid`.
#[async_trait]
pub trait KeySource: Send + Sync + 'static {
    /// All of them; a key that is missing is not good any more.
    async fn keys(&self) -> anyhow::Result<Vec<(String, [u8; 32])>>;
}

/// A JSON Web Key Set behind a URL.
pub(super) struct KeySetUrl {
    url: String,
    client: reqwest::Client,
}

impl KeySetUrl {
    pub(super) fn new(url: String) -> anyhow::Result<Self> {
        let client = crate::http_client()
            .timeout(FETCH_TIMEOUT)
            .connect_timeout(FETCH_TIMEOUT / 2)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .context("no HTTP client can be made")?;
        Ok(Self { url, client })
    }
}

#[async_trait]
impl KeySource for KeySetUrl {
    async fn keys(&self) -> anyhow::Result<Vec<(String, [u8; 32])>> {
        let fetched = async {
            let answer = self.client.get(&self.url).send().await?.error_for_status()?;
            answer.json::<KeySet>().await.context("not a key set")
        };
        let KeySet { keys } = fetched.await.with_context(|| self.url.clone())?;
        Ok(keys.into_iter().filter_map(Key::read).collect())
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

impl Key {
    /// Only Ed25519 keys with a name; a set may hold others.
    fn read(self) -> Option<(String, [u8; 32])> {
        let public = URL_SAFE_NO_PAD.decode(self.x?).ok()?.try_into().ok()?;
        (self.crv.as_deref() == Some("Ed25519")).then_some((self.kid?, public))
    }
}
