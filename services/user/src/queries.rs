//! Lists of users, for administrators.

use chrono::{DateTime, Utc};
use domain::user::{Role, Sealed};
use kernel::UserId;
use sqlx::PgPool;
use uuid::Uuid;

use crate::persons::{self, Field, Persons, TOMBSTONE};

/// The read model, and the keys to show what is in it.
#[derive(Clone)]
pub(crate) struct Queries {
    pool: PgPool,
    persons: Persons,
}

/// Which users.
pub(crate) struct Page {
    pub(crate) role: Option<Role>,
    pub(crate) status: Option<&'static str>,
    pub(crate) after: Option<UserId>,
    pub(crate) limit: u32,
}

/// A user in a list.
pub(crate) struct Row {
    pub(crate) user_id: UserId,
    pub(crate) name: String,
    pub(crate) email: Option<String>,
    pub(crate) role: String,
    pub(crate) status: String,
}

type Stored = (Uuid, Option<String>, Option<String>, String, String);

impl Queries {
    pub(crate) fn new(pool: PgPool, persons: Persons) -> Self {
        Self { pool, persons }
    }

    /// Users by age, the youngest first, and whether there are more.
    pub(crate) async fn users(&self, page: Page) -> Result<(Vec<Row>, bool), persons::Error> {
        let limit = i64::from(page.limit);
        // An id begins with the moment at which it was made.
        let mut rows: Vec<Stored> = sqlx::query_as(
            "SELECT user_id, name, email, role, status FROM users
              WHERE ($1::uuid IS NULL OR user_id < $1) AND ($2::text IS NULL OR role = $2)
                AND ($3::text IS NULL OR status = $3)
              ORDER BY user_id DESC LIMIT $4",
        )
        .bind(page.after.map(|id| id.0))
        .bind(page.role.map(Role::as_str))
        .bind(page.status)
        .bind(limit + 1)
        .fetch_all(&self.pool)
        .await?;
        let more = rows.len() > page.limit as usize;
        rows.truncate(page.limit as usize);
        let ids = rows.iter().map(|(id, ..)| UserId(*id)).collect::<Vec<_>>();
        let keys = self.persons.find_all(&ids).await?;
        let shown = rows.into_iter().map(|(id, name, email, role, status)| {
            let user_id = UserId(id);
            let open = |field, sealed: Option<String>| keys.get(&user_id)?.open(field, &Sealed::from(sealed?));
            let name = open(Field::Name, name).unwrap_or_else(|| TOMBSTONE.to_owned());
            Row { user_id, name, email: open(Field::Email, email), role, status }
        });
        Ok((shown.collect(), more))
    }
}

/// When an account was made: the time within its id (UUIDv7).
pub(crate) fn created_at(user_id: UserId) -> DateTime<Utc> {
    let (seconds, nanoseconds) = user_id.0.get_timestamp().map_or((0, 0), |time| time.to_unix());
    DateTime::from_timestamp(i64::try_from(seconds).unwrap_or(0), nanoseconds).unwrap_or_default()
}
