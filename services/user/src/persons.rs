//! The key of each person's data: made with their account, destroyed with it. Nothing of it is kept in memory, so what
//! is destroyed is gone at once, for every instance.

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::user::Sealed;
use kernel::{AddressId, UserId};
use sqlx::PgPool;
use uuid::Uuid;

use crate::vault::{self, Cipher, Vault};

/// What is shown in a deleted person's place.
pub(crate) const TOMBSTONE: &str = "deleted user";

/// The table of keys.
#[derive(Clone)]
pub(crate) struct Persons {
    pool: PgPool,
    vault: Vault,
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The table cannot be read at present.
    #[error("the keys of persons cannot be read: {0}")]
    Away(#[from] sqlx::Error),
    /// A key cannot be used.
    #[error("{0:#}")]
    Damaged(anyhow::Error),
}

/// What a ciphertext holds; bound to it, so that none can be put in another's place.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Field {
    Name,
    Email,
    Address(AddressId),
    /// What was answered to the request of this fingerprint.
    Answer([u8; 32]),
}

/// Seals and opens one person's data.
pub(crate) struct PersonKey {
    user_id: UserId,
    cipher: Cipher,
}

impl Persons {
    pub(crate) fn new(pool: PgPool, vault: Vault) -> Self {
        Self { pool, vault }
    }

    /// A key for a new person.
    pub(crate) async fn create(&self, user_id: UserId) -> Result<PersonKey, Error> {
        let (key, wrapped) = PersonKey::new(&self.vault, user_id)?;
        sqlx::query("INSERT INTO person_keys (user_id, wrapped_key, master_id) VALUES ($1, $2, $3)")
            .bind(user_id.0)
            .bind(wrapped)
            .bind(self.vault.id())
            .execute(&self.pool)
            .await?;
        Ok(key)
    }

    /// A person's key, if there is any (more).
    pub(crate) async fn find(&self, user_id: UserId) -> Result<Option<PersonKey>, Error> {
        Ok(self.find_all(&[user_id]).await?.remove(&user_id))
    }

    /// The keys of those who have one.
    pub(crate) async fn find_all(&self, user_ids: &[UserId]) -> Result<HashMap<UserId, PersonKey>, Error> {
        let ids = user_ids.iter().map(|id| id.0).collect::<Vec<_>>();
        let rows: Vec<(Uuid, Vec<u8>)> =
            sqlx::query_as("SELECT user_id, wrapped_key FROM person_keys WHERE user_id = ANY($1)")
                .bind(ids)
                .fetch_all(&self.pool)
                .await?;
        let unwrapped = rows.into_iter().map(|(id, wrapped)| {
            let user_id = UserId(id);
            let key = self.vault.unwrap(&owner(user_id), &wrapped)?;
            Ok((user_id, PersonKey { user_id, cipher: Cipher::new(&key) }))
        });
        unwrapped.collect::<anyhow::Result<_>>().map_err(Error::Damaged)
    }

    /// Destroys a person's key: nothing that was sealed with it can ever be read again.
    pub(crate) async fn destroy(&self, user_id: UserId) -> Result<(), Error> {
        sqlx::query("DELETE FROM person_keys WHERE user_id = $1").bind(user_id.0).execute(&self.pool).await?;
        Ok(())
    }
}

impl PersonKey {
    /// A new one, and how it is kept.
    pub(crate) fn new(vault: &Vault, user_id: UserId) -> Result<(Self, Vec<u8>), Error> {
        let key = vault::random().map_err(Error::Damaged)?;
        let wrapped = vault.wrap(&owner(user_id), &key).map_err(Error::Damaged)?;
        Ok((Self { user_id, cipher: Cipher::new(&key) }, wrapped))
    }

    /// Whose it is.
    pub(crate) fn user_id(&self) -> UserId {
        self.user_id
    }

    /// The ciphertext of a text.
    pub(crate) fn seal(&self, field: Field, text: &str) -> Result<Sealed, Error> {
        let sealed = self.cipher.seal(&self.context(field), text.as_bytes()).map_err(Error::Damaged)?;
        Ok(Sealed::from(format!("{}{}", Sealed::PREFIX, URL_SAFE_NO_PAD.encode(sealed))))
    }

    /// The text, if it was sealed with this key for this field.
    pub(crate) fn open(&self, field: Field, sealed: &Sealed) -> Option<String> {
        let sealed = URL_SAFE_NO_PAD.decode(sealed.as_str().strip_prefix(Sealed::PREFIX)?).ok()?;
        String::from_utf8(self.cipher.open(&self.context(field), &sealed)?).ok()
    }

    fn context(&self, field: Field) -> String {
        match field {
            Field::Name => format!("user {} name", self.user_id),
            Field::Email => format!("user {} e-mail", self.user_id),
            Field::Address(id) => format!("user {} address {id}", self.user_id),
            Field::Answer(request) => format!("user {} answer {}", self.user_id, URL_SAFE_NO_PAD.encode(request)),
        }
    }
}

/// What the wrapped key is bound to.
fn owner(user_id: UserId) -> String {
    format!("person {user_id}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(user: u128, secret: &vault::Secret) -> PersonKey {
        PersonKey { user_id: UserId(Uuid::from_u128(user)), cipher: Cipher::new(secret) }
    }

    #[test]
    fn a_ciphertext_opens_in_its_own_place_alone() {
        let secret = vault::random().unwrap();
        let john = key(1, &secret);
        let id = AddressId(Uuid::from_u128(5));
        let sealed = john.seal(Field::Name, "John Doe").unwrap();
        assert!(Sealed::is_ciphertext(sealed.as_str()) && !sealed.as_str().contains("John"));
        assert_eq!(john.open(Field::Name, &sealed).as_deref(), Some("John Doe"));
        assert_eq!(john.open(Field::Email, &sealed), None);
        assert_eq!(john.open(Field::Address(id), &sealed), None);
        assert_eq!(key(2, &secret).open(Field::Name, &sealed), None, "another's name");
        assert_eq!(key(1, &vault::random().unwrap()).open(Field::Name, &sealed), None);
        assert_eq!(john.open(Field::Name, &Sealed::from("John Doe".to_owned())), None);
        assert_ne!(john.seal(Field::Name, "John Doe").unwrap(), sealed);
        assert!(Sealed::is_ciphertext(john.seal(Field::Name, "").unwrap().as_str()), "the shortest one");
    }
}
