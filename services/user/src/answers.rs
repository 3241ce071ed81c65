//! Answers under idempotency keys. They tell of persons, so what is kept of one is its ciphertext under the key of the
//! person whom it tells of: it can be told again as long as they are not forgotten. Requests hold passwords, so what is
//! kept to know one again is a hash that nobody can try passwords on.

use async_trait::async_trait;
use event_store::Answer;
use kernel::UserId;
use web::Problem;
use web::idempotency::{Keeper, gone};

use crate::commands::Error;
use crate::persons::{Field, PersonKey, Persons};
use crate::rest;
use crate::vault::Vault;

/// Stands among a kept answer's headers, and is never sent: whose key it is sealed with.
const SEALED_FOR: &str = "sealed-for";

/// Opens what [`sealed`] closed.
pub(crate) struct Answers {
    persons: Persons,
    vault: Vault,
}

impl Answers {
    pub(crate) fn new(persons: Persons, vault: Vault) -> Self {
        Self { persons, vault }
    }
}

/// The answer as it is kept: it tells of this person.
pub(crate) fn sealed(answer: Answer, person: &PersonKey) -> Option<Answer> {
    let text = std::str::from_utf8(&answer.body).ok()?;
    match person.seal(Field::Answer(place(&answer)?), text) {
        Ok(body) => {
            let mut headers = answer.headers;
            headers.push((SEALED_FOR.to_owned(), person.user_id().to_string()));
            Some(Answer { headers, body: String::from(body).into_bytes(), ..answer })
        }
        // The request takes effect; that it did is not remembered under its key.
        Err(error) => {
            tracing::error!(%error, "an answer cannot be kept under its idempotency key");
            None
        }
    }
}

/// What a ciphertext is bound to: the request that it answers.
fn place(answer: &Answer) -> Option<[u8; 32]> {
    answer.fingerprint.as_slice().try_into().ok()
}

#[async_trait]
impl Keeper for Answers {
    fn fingerprint(&self, request: [u8; 32]) -> [u8; 32] {
        self.vault.fingerprint(&request)
    }

    async fn recall(&self, mut kept: Answer) -> Result<Answer, Problem> {
        let Some(at) = kept.headers.iter().position(|(name, _)| name == SEALED_FOR) else { return Ok(kept) };
        let (_, owner) = kept.headers.remove(at);
        let owner: UserId = owner.parse().map_err(Problem::internal)?;
        let key = self.persons.find(owner).await.map_err(|error| rest::refusal(Error::from(error)))?;
        let opened = || {
            let sealed = String::from_utf8(kept.body.clone()).ok()?.into();
            key?.open(Field::Answer(place(&kept)?), &sealed)
        };
        let body = opened().ok_or_else(gone)?.into_bytes();
        Ok(Answer { body, ..kept })
    }
}
