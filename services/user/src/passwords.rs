//! Password hashing: argon2id, off the async threads and after all else, behind a bound that sheds.

use std::sync::Arc;
use std::time::Instant;

use argon2::password_hash::phc::PasswordHash as Phc;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use domain::user::PasswordHash;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::measures::{self, Counted};

/// OWASP's least for argon2id: 19 MiB, two passes, one lane.
const MEMORY_KIB: u32 = 19_456;
const PASSES: u32 = 2;
const LANES: u32 = 1;
/// About a seventieth of the time of a thread of ordinary priority, where both want all of it.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 19;

/// Passwords that are found within so many guesses, in powers of ten, are refused: those of lists, and what is made of
/// their words by a digit more. (What zxcvbn scores 0 or 1.)
const GUESSES_LOG10_MIN: f64 = 6.0;

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
    /// It is among the first that anybody would try.
    #[error("is too common: it would be guessed at once")]
    Common,
    /// The hasher failed.
    #[error("a password could not be hashed: {0}")]
    Failed(String),
}

/// The right to hash one password after the other.
pub(crate) struct Place {
    decoy: PasswordHash,
    _held: (OwnedSemaphorePermit, OwnedSemaphorePermit),
    _running: Counted,
}

impl Passwords {
    pub(crate) fn new(at_once: usize, waiting_max: usize) -> Self {
        let decoy = hash("an unknown user's password").unwrap_or_else(|_| PasswordHash::new(String::new()));
        let at_once = at_once.max(1);
        let admitted = Arc::new(Semaphore::new(at_once + waiting_max));
        Self { places: Arc::new(Semaphore::new(at_once)), admitted, decoy }
    }

    /// A place to hash, as soon as one is free.
    pub(crate) async fn place(&self) -> Result<Place, Error> {
        let admitted = Arc::clone(&self.admitted).try_acquire_owned().map_err(|_| {
            measures::shed();
            Error::Busy
        })?;
        let (waiting, since) = (measures::waiting(), Instant::now());
        let place = Arc::clone(&self.places).acquire_owned().await.map_err(|_| Error::Busy)?;
        drop(waiting);
        measures::waited(since.elapsed());
        Ok(Place { decoy: self.decoy.clone(), _held: (place, admitted), _running: measures::running() })
    }
}

impl Place {
    /// The hash of a password that was checked.
    pub(crate) async fn hash(self, password: String) -> Result<PasswordHash, Error> {
        self.blocking("hash", move |_| hash(&password)).await?.1
    }

    /// The hash of a new password, unless it is a common one; `about` is what others know of the user.
    pub(crate) async fn hash_new(self, password: String, about: Vec<String>) -> Result<PasswordHash, Error> {
        let hashed = self.blocking("hash", move |_| {
            let words = about.iter().flat_map(|text| text.split(|c: char| !c.is_alphanumeric()));
            let about = words.filter(|word| !word.is_empty()).chain(["sagashop"]).collect::<Vec<_>>();
            if zxcvbn::zxcvbn(&password, &about).guesses_log10() < GUESSES_LOG10_MIN {
                return Err(Error::Common);
            }
            hash(&password)
        });
        hashed.await?.1
    }

    /// Whether the password is the hash's; with no hash, as slowly, that it is not. Gives the place back.
    pub(crate) async fn verify(self, password: String, hash: Option<PasswordHash>) -> Result<(Self, bool), Error> {
        let verified = self.blocking("verify", move |decoy| {
            let (known, hash) = hash.as_ref().map_or((false, decoy), |hash| (true, hash));
            let phc = Phc::new(hash.expose()).map_err(|error| Error::Failed(error.to_string()))?;
            Ok(argon2()?.verify_password(password.as_bytes(), &phc).is_ok() && known)
        });
        let (place, right) = verified.await?;
        Ok((place, right?))
    }

    async fn blocking<T: Send + 'static>(
        self,
        operation: &'static str,
        work: impl FnOnce(&PasswordHash) -> T + Send + 'static,
    ) -> Result<(Self, T), Error> {
        let (reply, answer) = oneshot::channel();
        // A thread of its own: it cannot take back that it stands behind the others. As many as there are places.
        let thread = std::thread::Builder::new().name("password".to_owned()).spawn(move || {
            stand_behind();
            // The place is given back by the thread that hashes, even if nobody waits for it any more.
            let began = Instant::now();
            let result = work(&self.decoy);
            measures::hashed(operation, began.elapsed());
            let _ = reply.send((self, result));
        });
        thread.map_err(|error| Error::Failed(error.to_string()))?;
        answer.await.map_err(|_| Error::Failed("the hashing thread died".to_owned()))
    }
}

/// Lets every other thread go first: a flood of logins takes the time that is left, and slows nothing else.
#[cfg(target_os = "linux")]
fn stand_behind() {
    // Of the calling thread alone, as Linux has it. Without the right to do so it hashes like any other.
    let _ = rustix::process::setpriority_process(None, NICENESS);
}

/// Elsewhere a priority is the whole process's.
#[cfg(not(target_os = "linux"))]
fn stand_behind() {}

/// Whether a hash was made with less than today's parameters.
pub(crate) fn is_outgrown(hash: &PasswordHash) -> bool {
    let params = Phc::new(hash.expose())
        .ok()
        .and_then(|phc| (phc.algorithm.as_str() == "argon2id").then(|| Params::try_from(&phc).ok()).flatten());
    params.is_none_or(|params| params.m_cost() < MEMORY_KIB || params.t_cost() < PASSES || params.p_cost() < LANES)
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

    async fn hashed(passwords: &Passwords, password: &str) -> Result<PasswordHash, Error> {
        passwords.place().await?.hash_new(password.to_owned(), vec!["John Doe".to_owned()]).await
    }

    #[tokio::test]
    async fn a_password_opens_its_own_hash_alone() {
        let passwords = Passwords::new(2, 8);
        let hash = hashed(&passwords, "correct horse").await.unwrap();
        assert!(hash.expose().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{}", hash.expose());
        let opens = async |password: &str, hash: Option<&PasswordHash>| {
            let place = passwords.place().await.unwrap();
            place.verify(password.to_owned(), hash.cloned()).await.unwrap().1
        };
        assert!(opens("correct horse", Some(&hash)).await);
        assert!(!opens("wrong horse", Some(&hash)).await);
        assert!(!opens("an unknown user's password", None).await);
    }

    #[tokio::test]
    async fn more_than_the_queue_holds_is_shed() {
        let passwords = Passwords::new(1, 1);
        let first = passwords.place().await.unwrap();
        let waiting = tokio::time::timeout(Duration::from_millis(10), async {
            tokio::join!(passwords.place(), async {
                assert!(matches!(passwords.place().await, Err(Error::Busy)));
            })
        });
        assert!(waiting.await.is_err(), "it waits until its caller goes away");
        drop(first);
        assert!(passwords.place().await.is_ok());
    }

    #[tokio::test]
    async fn what_everybody_would_try_first_is_refused() {
        let passwords = Passwords::new(2, 8);
        for common in
            ["password", "12345678", "password1", "Passw0rd", "qwertyuiop", "iloveyou", "aaaaaaaa", "johndoe1"]
        {
            assert!(matches!(hashed(&passwords, common).await, Err(Error::Common)), "{common}");
        }
        for good in ["correct horse battery", "k7 Qz-pm", "x7Kq-mmP2", &"🐎🐄🐖🐑🐐🦆🐓🐇".repeat(32)] {
            assert!(hashed(&passwords, good).await.is_ok(), "{good}");
        }
    }

    #[test]
    fn hashes_of_smaller_parameters_are_outgrown() {
        let today = hash("correct horse").unwrap();
        assert!(!is_outgrown(&today));
        let weak = |params| {
            let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
            let phc: Phc = argon2.hash_password(b"correct horse").unwrap();
            PasswordHash::new(phc.to_string())
        };
        assert!(is_outgrown(&weak(Params::new(8_192, 2, 1, None).unwrap())));
        assert!(is_outgrown(&weak(Params::new(19_456, 1, 1, None).unwrap())));
        assert!(is_outgrown(&PasswordHash::new("$2b$10$x".to_owned())));
    }
}
