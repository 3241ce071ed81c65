//! Address books.

use domain::user::address::Address;
use domain::user::{Account, Command, Sealed};
use kernel::{AddressId, UserId};
use uuid::Uuid;

use super::{Answering, Error, Users, unanswered};
use crate::answers;
use crate::persons::{Field, PersonKey};

/// An entry, readable.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) id: AddressId,
    pub(crate) address: Address,
}

impl Users {
    /// All entries of the account, the oldest first.
    pub(crate) async fn addresses(&self, account: &Account) -> Result<Vec<Entry>, Error> {
        let Some(key) = self.persons.find(account.user_id).await? else { return Ok(Vec::new()) };
        Ok(account.addresses.iter().filter_map(|(id, sealed)| read(&key, *id, sealed)).collect())
    }

    /// One entry of a user, if they have it.
    pub(crate) async fn address(&self, account: &Account, id: AddressId) -> Result<Option<Entry>, Error> {
        let Some(sealed) = account.addresses.get(&id) else { return Ok(None) };
        let key = self.persons.find(account.user_id).await?;
        Ok(key.and_then(|key| read(&key, id, sealed)))
    }

    /// A new entry.
    pub(crate) async fn add_address(
        &self,
        user_id: UserId,
        address: Address,
        correlation: Uuid,
        answering: Answering<'_, Entry>,
    ) -> Result<Entry, Error> {
        let entry = Entry { id: AddressId(self.commands.clock().new_id()), address };
        let key = self.key(user_id).await?;
        let sealed = seal(&key, &entry)?;
        let command = Command::AddAddress { address_id: entry.id, address: sealed, at: self.now() };
        let answering = |_: &_| answers::sealed(answering(&entry)?, &key);
        self.change(user_id, &self.origin(correlation, user_id), command, &answering).await?;
        Ok(entry)
    }

    /// The entry, written anew.
    pub(crate) async fn replace_address(
        &self,
        user_id: UserId,
        id: AddressId,
        address: Address,
        correlation: Uuid,
    ) -> Result<Entry, Error> {
        let entry = Entry { id, address };
        let sealed = seal(&self.key(user_id).await?, &entry)?;
        let command = Command::ReplaceAddress { address_id: id, address: sealed, at: self.now() };
        self.change(user_id, &self.origin(correlation, user_id), command, &unanswered).await?;
        Ok(entry)
    }

    /// Takes an entry out.
    pub(crate) async fn remove_address(&self, user_id: UserId, id: AddressId, correlation: Uuid) -> Result<(), Error> {
        let command = Command::RemoveAddress { address_id: id, at: self.now() };
        self.change(user_id, &self.origin(correlation, user_id), command, &unanswered).await.map(|_| ())
    }
}

fn seal(key: &PersonKey, entry: &Entry) -> Result<Sealed, Error> {
    let text = serde_json::to_string(&entry.address).map_err(anyhow::Error::from)?;
    Ok(key.seal(Field::Address(entry.id), &text)?)
}

fn read(key: &PersonKey, id: AddressId, sealed: &Sealed) -> Option<Entry> {
    let text = key.open(Field::Address(id), sealed)?;
    Some(Entry { id, address: serde_json::from_str(&text).ok()? })
}
