//! What users change of themselves.

use domain::user::{Account, Command, Locale, PersonName};
use uuid::Uuid;

use super::{Answering, Caller, Error, Person, Users, unanswered};
use crate::persons::Field;

/// Decisions that others may overtake before they are given up.
pub(super) const TRIES_MAX: usize = 6;

impl Users {
    /// Calls the user otherwise, or speaks another language to them.
    pub(crate) async fn update(
        &self,
        account: Account,
        name: Option<PersonName>,
        locale: Option<Locale>,
        correlation: Uuid,
    ) -> Result<Person, Error> {
        let user_id = account.user_id;
        let key = self.key(user_id).await?;
        let origin = self.origin(correlation, user_id);
        let mut changed = account;
        if let Some(name) = name {
            // Ciphertexts cannot be compared: whether it is another name is seen here.
            let same = key.open(Field::Name, &changed.name).is_some_and(|old| old == name.as_str());
            if !same {
                let name = key.seal(Field::Name, name.as_str())?;
                let command = Command::ChangeName { name, at: self.now() };
                changed = self.change(user_id, &origin, command, &unanswered).await?;
            }
        }
        if let Some(locale) = locale {
            let command = Command::ChangeLocale { locale, at: self.now() };
            changed = self.change(user_id, &origin, command, &unanswered).await?;
        }
        Ok(Person::opened(changed, Some(&key)))
    }

    /// Changes the password; the caller's own session goes on, all others end.
    pub(crate) async fn change_password(
        &self,
        caller: Caller,
        current: String,
        new: String,
        correlation: Uuid,
        answering: Answering<'_, ()>,
    ) -> Result<(), Error> {
        let Caller { account, session } = caller;
        let user_id = account.user_id;
        let place = self.confirm(&account, current).await?;
        let person = self.open(account).await?;
        let about = std::iter::once(person.name).chain(person.email).collect();
        let password_hash = place.hash_new(new, about).await?;
        let origin = self.origin(correlation, user_id);
        let command = Command::ChangePassword { password_hash, kept: session, at: self.now() };
        self.change(user_id, &origin, command, &|_| answering(&())).await.map(|_| ())
    }
}
