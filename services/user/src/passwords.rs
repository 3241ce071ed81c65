//! Password hashing: argon2id, off the async threads, behind a bound that sheds.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use argon2::password_hash::phc::PasswordHash as Phc;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use domain::user::PasswordHash;
use tokio::sync::Semaphore;

/// OWASP's least for argon2id: 19 MiB, two passes, one lane.
const MEMORY_KIB: u32 = 19_456;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// Hashes and verifies passwords.
pub(crate) struct Passwords {
    places: Arc<Semaphore>,
    waiting: AtomicUsize,
    waiting_max: usize,
    /// What an unknown user's password is verified against, so that it takes the same time.
    decoy: PasswordHash,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Too many wait already.
    #[error("too many passwords wait to be hashed")]
    Busy,
    /// The hasher failed.
    #[error("a password could not be hashed: {0}")]
    Failed(String),
}

impl Passwords {
    pub(crate) fn new(at_once: usize, waiting_max: usize) -> Self {
        let decoy = hash("an unknown user's password").unwrap_or_else(|_| PasswordHash::new(String::new()));
        Self { places: Arc::new(Semaphore::new(at_once.max(1))), waiting: AtomicUsize::new(0), waiting_max, decoy }
    }

    pub(crate) async fn hash(&self, password: String) -> Result<PasswordHash, Error> {
        self.blocking(move || hash(&password)).await?
    }

    /// Whether the password is the hash's; with no hash, as slowly, that it is not.
    pub(crate) async fn verify(&self, password: String, hash: Option<PasswordHash>) -> Result<bool, Error> {
        let (known, hash) = hash.map_or_else(|| (false, self.decoy.clone()), |hash| (true, hash));
        self.blocking(move || {
            let phc = Phc::new(hash.expose()).map_err(|error| Error::Failed(error.to_string()))?;
            Ok(argon2()?.verify_password(password.as_bytes(), &phc).is_ok() && known)
        })
        .await?
    }

    async fn blocking<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= self.waiting_max {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return Err(Error::Busy);
        }
        let place = Arc::clone(&self.places).acquire_owned().await;
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        let place = place.map_err(|_| Error::Busy)?;
        tokio::task::spawn_blocking(move || {
            let result = work();
            drop(place);
            result
        })
        .await
        .map_err(|error| Error::Failed(error.to_string()))
    }
}

fn argon2() -> Result<Argon2<'static>, Error> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).map_err(|error| Error::Failed(error.to_string()))?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

fn hash(password: &str) -> Result<PasswordHash, Error> {
    let hash: Phc = argon2()?.hash_password(password.as_bytes()).map_err(|error| Error::Failed(error.to_string()))?;
    Ok(PasswordHash::new(hash.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_opens_its_own_hash_alone() {
        let passwords = Passwords::new(2, 8);
        let hash = passwords.hash("correct horse".to_owned()).await.unwrap();
        assert!(hash.expose().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{}", hash.expose());
        assert!(passwords.verify("correct horse".to_owned(), Some(hash.clone())).await.unwrap());
        assert!(!passwords.verify("wrong horse".to_owned(), Some(hash)).await.unwrap());
        assert!(!passwords.verify("an unknown user's password".to_owned(), None).await.unwrap());
    }

    #[tokio::test]
    async fn more_than_the_queue_holds_is_shed() {
        let passwords = Passwords::new(1, 0);
        assert!(matches!(passwords.hash("x".to_owned()).await, Err(Error::Busy)));
    }
}
