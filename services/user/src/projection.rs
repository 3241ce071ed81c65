//! The read model of users.

use async_trait::async_trait;
use domain::user::{Event, User};
use event_store::RecordedEvent;
use runtime::Projection;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::commands::is_user;

/// Follows the user store.
pub(crate) struct Users;

#[async_trait]
impl Projection for Users {
    fn name(&self) -> &'static str {
        "users"
    }

    fn reads(&self, event: &RecordedEvent) -> bool {
        is_user(&event.aggregate_type)
    }

    async fn apply(&self, connection: &mut PgConnection, events: &[RecordedEvent]) -> anyhow::Result<()> {
        let (mut ids, mut names, mut emails, mut roles, mut times) = (vec![], vec![], vec![], vec![], vec![]);
        let mut renamed: Vec<(Uuid, String, i64)> = Vec::new();
        for event in events {
            match event.decode::<User>()? {
                Event::UserRegistered { user_id, name, email, role, at, .. } => {
                    ids.push(user_id.0);
                    names.push(name.as_str().to_owned());
                    emails.push(email.as_str().to_owned());
                    roles.push(role.as_str());
                    times.push(at);
                }
                Event::NameChanged { name, .. } => {
                    let id = Uuid::parse_str(&event.aggregate_id)?;
                    renamed.retain(|(other, ..)| *other != id);
                    renamed.push((id, name.as_str().to_owned(), i64::try_from(event.sequence)?));
                }
            }
        }
        if !ids.is_empty() {
            sqlx::query(
                "INSERT INTO users (user_id, name, email, role, created_at, sequence)
                 SELECT *, 1 FROM UNNEST($1::uuid[], $2::text[], $3::text[], $4::text[], $5::timestamptz[])
                 ON CONFLICT DO NOTHING",
            )
            .bind(ids)
            .bind(names)
            .bind(emails)
            .bind(roles)
            .bind(times)
            .execute(&mut *connection)
            .await?;
        }
        if !renamed.is_empty() {
            sqlx::query(
                "UPDATE users u SET name = r.name, sequence = r.sequence
                   FROM UNNEST($1::uuid[], $2::text[], $3::bigint[]) AS r(user_id, name, sequence)
                  WHERE u.user_id = r.user_id",
            )
            .bind(renamed.iter().map(|(id, ..)| *id).collect::<Vec<_>>())
            .bind(renamed.iter().map(|(_, name, _)| name.clone()).collect::<Vec<_>>())
            .bind(renamed.iter().map(|(.., sequence)| *sequence).collect::<Vec<_>>())
            .execute(connection)
            .await?;
        }
        Ok(())
    }
}
