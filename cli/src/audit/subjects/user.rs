use super::first;
use crate::audit::walk::Subject;
use domain::user::User;
use sqlx::FromRow;
use uuid::Uuid;

pub(in crate::audit) struct Users;

#[derive(FromRow)]
pub(in crate::audit) struct Row {
    user_id: Uuid,
    name: String,
    email: String,
    role: String,
    sequence: i64,
}

impl Subject for Users {
    type Aggregate = User;
    type Row = Row;

    const TABLE: &'static str = "users";
    const KEY: &'static str = "user_id";
    const ONCE: &'static [&'static str] = &["user_registered"];

    fn key(row: &Row) -> Uuid {
        row.user_id
    }

    fn sequence(row: &Row) -> i64 {
        row.sequence
    }

    fn difference(&self, row: &Row, state: &User) -> Option<&'static str> {
        let User::Registered(account) = state else { return Some("user_id") };
        first([
            ("name", row.name == account.name.as_str()),
            ("email", row.email == account.email.as_str()),
            ("role", row.role == account.role.as_str()),
        ])
    }
}
