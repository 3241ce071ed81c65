use super::first;
use crate::audit::findings::Findings;
use crate::audit::walk::Subject;
use domain::user::{Event, Sealed, User};
use sqlx::FromRow;
use std::collections::HashSet;
use std::sync::Arc;
use uuid::Uuid;

/// Users, and who of them has a key: whoever is deleted must not.
#[derive(Default)]
pub(in crate::audit) struct Users {
    with_key: Arc<HashSet<Uuid>>,
}

#[derive(FromRow)]
pub(in crate::audit) struct Row {
    user_id: Uuid,
    name: Option<String>,
    email: Option<String>,
    role: String,
    status: String,
    sequence: i64,
}

impl Users {
    pub(in crate::audit) fn with_keys_of(with_key: Arc<HashSet<Uuid>>) -> Self {
        Self { with_key }
    }
}

impl Subject for Users {
    type Aggregate = User;
    type Row = Row;

    const TABLE: &'static str = "users";
    const KEY: &'static str = "user_id";
    const ONCE: &'static [&'static str] = &["user_registered", "user_deleted"];

    fn key(row: &Row) -> Uuid {
        row.user_id
    }

    fn sequence(row: &Row) -> i64 {
        row.sequence
    }

    fn difference(&self, row: &Row, state: &User) -> Option<&'static str> {
        match state {
            User::Unknown => Some("user_id"),
            User::Registered(account) => first([
                ("name", row.name.as_deref() == Some(account.name.as_str())),
                ("email", row.email.as_deref() == Some(account.email.as_str())),
                ("role", row.role == account.role.as_str()),
                ("status", row.status == if account.locked { "locked" } else { "active" }),
            ]),
            User::Deleted { .. } => first([
                ("name", row.name.is_none()),
                ("email", row.email.is_none()),
                ("status", row.status == "deleted"),
            ]),
        }
    }

    /// A text that is no ciphertext is read as nothing.
    fn event(&mut self, id: Uuid, _before: &User, event: &Event, findings: &mut Findings) {
        let personal: &[(&str, &Sealed)] = match event {
            Event::UserRegistered { name, email, .. } => &[("name", name), ("email", email)],
            Event::NameChanged { name, .. } => &[("name", name)],
            Event::AddressSaved { address, .. } => &[("address", address)],
            _ => return,
        };
        for (field, sealed) in personal {
            findings.checks.personal.checked(1);
            if sealed.as_str().is_empty() {
                findings.checks.personal.violated(|| format!("user {id}: {field} is no ciphertext"));
            }
        }
    }

    fn end(&mut self, id: Uuid, _sequence: u64, state: User, findings: &mut Findings) {
        let personal = &mut findings.checks.personal;
        personal.checked(1);
        match (state, self.with_key.contains(&id)) {
            (User::Deleted { .. }, true) => personal.violated(|| format!("user {id}: deleted, and the key is there")),
            (User::Registered(_), false) => personal.violated(|| format!("user {id}: the key is gone")),
            _ => {}
        }
    }
}
