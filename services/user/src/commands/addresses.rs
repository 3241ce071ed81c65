//! Address books.

use domain::user::address::Address;
use domain::user::{Account, Command, Sealed};
use kernel::{AddressId, UserId};
use uuid::Uuid;

use super::{Error, Users};
use crate::persons::{Field, PersonKey};

/// An entry, readable.
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
    ) -> Result<Entry, Error> {
        let id = AddressId(self.commands.clock().new_id());
        let sealed = self.seal(user_id, id, &address).await?;
        let command = Command::AddAddress { address_id: id, address: sealed, at: self.now() };
        self.change(user_id, &self.origin(correlation, user_id), command).await?;
        Ok(Entry { id, address })
    }

    /// The entry, written anew.
    pub(crate) async fn replace_address(
        &self,
        user_id: UserId,
        id: AddressId,
        address: Address,
        correlation: Uuid,
    ) -> Result<Entry, Error> {
        let sealed = self.seal(user_id, id, &address).await?;
        let command = Command::ReplaceAddress { address_id: id, address: sealed, at: self.now() };
        self.change(user_id, &self.origin(correlation, user_id), command).await?;
        Ok(Entry { id, address })
    }

    /// Takes an entry out.
    pub(crate) async fn remove_address(&self, user_id: UserId, id: AddressId, correlation: Uuid) -> Result<(), Error> {
        let command = Command::RemoveAddress { address_id: id, at: self.now() };
        self.change(user_id, &self.origin(correlation, user_id), command).await.map(|_| ())
    }

    async fn seal(&self, user_id: UserId, id: AddressId, address: &Address) -> Result<Sealed, Error> {
        let text = serde_json::to_string(address).map_err(anyhow::Error::from)?;
        Ok(self.key(user_id).await?.seal(Field::Address(id), &text)?)
    }
}

fn read(key: &PersonKey, id: AddressId, sealed: &Sealed) -> Option<Entry> {
    let text = key.open(Field::Address(id), sealed)?;
    Some(Entry { id, address: serde_json::from_str(&text).ok()? })
}
