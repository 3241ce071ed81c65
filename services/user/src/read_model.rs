//! The read model of users as it is made from the events alone. What is personal comes and stays as ciphertext.

use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use domain::user::{Event, Role, Sealed, User};
use event_store::Stored;
use runtime::projection::{Fold, ReadModel, Row, Table};
use uuid::Uuid;

static USERS: Table = Table {
    name: "users",
    version: 1,
    columns: &["user_id", "name", "email", "role", "status", "created_at", "sequence"],
    kinds: &[User::TYPE],
    channel: None,
};

/// A row a user.
#[derive(Debug)]
pub struct UserList;

impl ReadModel for UserList {
    fn table(&self) -> &'static Table {
        &USERS
    }

    fn begin(&self) -> Box<dyn Fold> {
        Box::new(Folded { person: None, sequence: 0 })
    }
}

struct Folded {
    person: Option<Person>,
    sequence: i64,
}

struct Person {
    id: Uuid,
    name: Sealed,
    email: Sealed,
    role: Role,
    status: &'static str,
    created_at: DateTime<Utc>,
}

impl Fold for Folded {
    fn take(&mut self, event: &Stored<'_>) -> anyhow::Result<()> {
        self.sequence = i64::try_from(event.sequence)?;
        for event in event.decode_all::<User>()? {
            match (&mut self.person, event) {
                (none, Event::UserRegistered { user_id, name, email, role, at, .. }) => {
                    let person = Person { id: user_id.0, name, email, role, status: "active", created_at: at };
                    none.get_or_insert(person);
                }
                (Some(person), Event::NameChanged { name, .. }) => person.name = name,
                (Some(person), Event::RoleChanged { role, .. }) => person.role = role,
                (Some(person), Event::UserLocked { .. }) => person.status = "locked",
                (Some(person), Event::UserUnlocked { .. }) => person.status = "active",
                (Some(person), Event::UserDeleted { .. }) => person.status = "deleted",
                _ => {}
            }
        }
        Ok(())
    }

    fn row(&self, row: &mut Row<'_>) -> anyhow::Result<()> {
        let Some(person) = &self.person else { return Ok(()) };
        let is_there = person.status != "deleted";
        row.put(person.id)
            .put(is_there.then(|| person.name.as_str()))
            .put(is_there.then(|| person.email.as_str()))
            .put(person.role.as_str())
            .put(person.status)
            .put(person.created_at)
            .put(self.sequence);
        Ok(())
    }
}
