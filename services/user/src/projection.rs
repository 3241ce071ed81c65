//! The read model of users. What is personal comes and stays as ciphertext.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use domain::user::{Event, Role, Sealed, User};
use event_store::RecordedEvent;
use runtime::Projection;
use runtime::projection::{Passed, ReadModel};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::commands::is_user;
use crate::read_model::UserList;

/// Follows the user store.
pub(crate) struct Users;

/// What a page of events means for one row.
#[derive(Default)]
struct Change {
    name: Option<Sealed>,
    role: Option<Role>,
    status: Option<&'static str>,
    sequence: i64,
}

#[async_trait]
impl Projection for Users {
    fn name(&self) -> &'static str {
        "users"
    }

    fn model(&self) -> Option<Arc<dyn ReadModel>> {
        Some(Arc::new(UserList))
    }

    fn reads(&self, event: &RecordedEvent) -> bool {
        is_user(&event.aggregate_type)
    }

    async fn apply(&self, connection: &mut PgConnection, events: &[RecordedEvent]) -> anyhow::Result<()> {
        let (mut registered, mut passed) = (Vec::new(), Passed::default());
        let mut changes: BTreeMap<Uuid, Change> = BTreeMap::new();
        for recorded in events {
            let sequence = i64::try_from(recorded.sequence)?;
            let means = recorded.decode_all::<User>()?;
            if means.len() == 0 {
                passed.note(Uuid::parse_str(&recorded.aggregate_id)?, sequence);
            }
            for event in means {
                if let Event::UserRegistered { .. } = event {
                    registered.push((event, sequence));
                    continue;
                }
                let change = changes.entry(Uuid::parse_str(&recorded.aggregate_id)?).or_default();
                change.take(event, sequence);
            }
        }
        insert(connection, registered).await?;
        update(connection, changes).await?;
        Ok(passed.write(connection, "users", "user_id", "sequence").await?)
    }
}

impl Change {
    fn take(&mut self, event: Event, sequence: i64) {
        self.sequence = sequence;
        match event {
            Event::NameChanged { name, .. } => self.name = Some(name),
            Event::RoleChanged { role, .. } => self.role = Some(role),
            Event::UserLocked { .. } => self.status = Some("locked"),
            Event::UserUnlocked { .. } => self.status = Some("active"),
            Event::UserDeleted { .. } => self.status = Some("deleted"),
            _ => {}
        }
    }
}

async fn insert(connection: &mut PgConnection, registered: Vec<(Event, i64)>) -> anyhow::Result<()> {
    let (mut ids, mut names, mut emails, mut roles, mut times) = (vec![], vec![], vec![], vec![], vec![]);
    let mut sequences = Vec::new();
    for (event, sequence) in registered {
        sequences.push(sequence);
        if let Event::UserRegistered { user_id, name, email, role, at, .. } = event {
            ids.push(user_id.0);
            names.push(String::from(name));
            emails.push(String::from(email));
            roles.push(role.as_str());
            times.push(at);
        }
    }
    if ids.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO users (user_id, name, email, role, created_at, status, sequence)
         SELECT r.id, r.name, r.email, r.role, r.at, 'active', r.sequence
           FROM UNNEST($1::uuid[], $2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::bigint[])
                AS r(id, name, email, role, at, sequence)
         ON CONFLICT DO NOTHING",
    )
    .bind(ids)
    .bind(names)
    .bind(emails)
    .bind(roles)
    .bind(times)
    .bind(sequences)
    .execute(connection)
    .await?;
    Ok(())
}

async fn update(connection: &mut PgConnection, changes: BTreeMap<Uuid, Change>) -> anyhow::Result<()> {
    let (mut ids, mut names, mut roles, mut statuses, mut sequences) = (vec![], vec![], vec![], vec![], vec![]);
    let mut deleted = Vec::new();
    for (id, change) in changes {
        if change.status == Some("deleted") {
            deleted.push(id);
        }
        ids.push(id);
        names.push(change.name.map(String::from));
        roles.push(change.role.map(Role::as_str));
        statuses.push(change.status);
        sequences.push(change.sequence);
    }
    if ids.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "UPDATE users u
            SET name = CASE WHEN c.status = 'deleted' THEN NULL ELSE COALESCE(c.name, u.name) END,
                email = CASE WHEN c.status = 'deleted' THEN NULL ELSE u.email END,
                role = COALESCE(c.role, u.role), status = COALESCE(c.status, u.status), sequence = c.sequence
           FROM UNNEST($1::uuid[], $2::text[], $3::text[], $4::text[], $5::bigint[])
                AS c(user_id, name, role, status, sequence)
          WHERE u.user_id = c.user_id",
    )
    .bind(ids)
    .bind(names)
    .bind(roles)
    .bind(statuses)
    .bind(sequences)
    .execute(&mut *connection)
    .await?;
    // Whoever deleted them has done so already, unless its process died on the way.
    if !deleted.is_empty() {
        sqlx::query("DELETE FROM person_keys WHERE user_id = ANY($1)").bind(deleted).execute(connection).await?;
    }
    Ok(())
}
