//! Password hashing: argon2id, off the async threads, behind a bound that sheds.

use std::sync::Arc;

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
    /// Those who hash and those who may wait; whoever goes away while waiting frees their share.
    admitted: Arc<Semaphore>,
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
        let at_once = at_once.max(1);
        let admitted = Arc::new(Semaphore::new(at_once + waiting_max));
        Self { places: Arc::new(Semaphore::new(at_once)), admitted, decoy }
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
        let admitted = Arc::clone(&self.admitted).try_acquire_owned().map_err(|_| Error::Busy)?;
        let place = Arc::clone(&self.places).acquire_owned().await.map_err(|_| Error::Busy)?;
        tokio::task::spawn_blocking(move || {
            let result = work();
            drop((place, admitted));
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
    use std::time::Duration;

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
        let passwords = Passwords::new(1, 1);
        let place = passwords.places.acquire().await.unwrap();
        let _hashing = passwords.admitted.acquire().await.unwrap();
        let waiting = tokio::time::timeout(Duration::from_millis(10), async {
            tokio::join!(passwords.hash("x".to_owned()), async {
                assert!(matches!(passwords.hash("x".to_owned()).await, Err(Error::Busy)));
            })
        });
        assert!(waiting.await.is_err(), "it waits until its caller goes away");
        drop(place);
        assert!(passwords.hash("x".to_owned()).await.is_ok());
    }
}
