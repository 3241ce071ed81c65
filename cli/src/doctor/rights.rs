//! What the user of a service may do: append to the event table, never change it.

use super::database::Store;
use super::{Diagnosis, Severity, Verdict};

const CHECK: &str = "rights";

/// The rights on the event table that nobody needs for the service's work.
const EXCESS: [&str; 3] = ["UPDATE", "DELETE", "TRUNCATE"];

pub(super) async fn check(store: &Store, severity: Severity, diagnosis: &mut Diagnosis) {
    let users = match users(store).await {
        Ok(users) => users,
        Err(error) => return diagnosis.unchecked(CHECK, store.role.database(), error),
    };
    if users.is_empty() {
        let reason = "no session of the service is seen: whom it connects as is not known";
        diagnosis.unchecked(CHECK, store.role.database(), reason);
    }
    for user in users {
        match Rights::of(store, &user).await {
            Ok(rights) => rights.tell(store, severity, diagnosis),
            Err(error) => diagnosis.unchecked(CHECK, store.role.database(), error),
        }
    }
}

/// Whom the service is connected as, and whom `migrate --grant-to {role}_service` gave its rights.
async fn users(store: &Store) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT usename::text FROM pg_stat_activity WHERE datname = current_database() AND application_name = $1
         UNION SELECT rolname::text FROM pg_roles WHERE rolname = $2 ORDER BY 1",
    )
    .bind(format!("sagashop-{}", store.name()))
    .bind(format!("{}_service", store.name()))
    .fetch_all(&store.pool)
    .await
}

struct Rights {
    user: String,
    is_superuser: bool,
    is_owner: bool,
    missing: Vec<String>,
    excess: Vec<String>,
}

impl Rights {
    async fn of(store: &Store, user: &str) -> Result<Self, sqlx::Error> {
        let (is_superuser, is_owner, missing, excess) = sqlx::query_as(
            "SELECT r.rolsuper, pg_has_role(r.oid, c.relowner, 'USAGE'),
                    ARRAY(SELECT p FROM unnest(ARRAY['SELECT', 'INSERT']) AS p WHERE NOT has_table_privilege(r.oid, c.oid, p)),
                    ARRAY(SELECT p FROM unnest($2::text[]) AS p WHERE has_table_privilege(r.oid, c.oid, p))
               FROM pg_roles r, pg_class c
              WHERE r.rolname = $1 AND c.oid = to_regclass('events')",
        )
        .bind(user)
        .bind(EXCESS.as_slice())
        .fetch_one(&store.pool)
        .await?;
        Ok(Self { user: user.to_owned(), is_superuser, is_owner, missing, excess })
    }

    fn tell(&self, store: &Store, severity: Severity, diagnosis: &mut Diagnosis) {
        let (of, user) = (store.role.database(), &self.user);
        if !self.missing.is_empty() {
            let missing = self.missing.join(" and ");
            let advice = format!("GRANT {} ON events TO {user}", self.missing.join(", "));
            diagnosis.add(Verdict::Fail, CHECK, of, format!("{user} may not {missing} events"), advice);
        }
        let (found, advice) = if self.is_superuser {
            (format!("{user} is a superuser"), "connect the service as a user of its own".to_owned())
        } else if self.is_owner {
            let advice = "let another user own and migrate the tables, and the service's only use them".to_owned();
            (format!("{user} owns events, so it can give itself any right"), advice)
        } else if !self.excess.is_empty() {
            let excess = self.excess.join(", ");
            (format!("{user} may {excess} events"), format!("REVOKE {excess} ON events FROM {user}"))
        } else if self.missing.is_empty() {
            return diagnosis.ok(CHECK, of, format!("{user} may read and append events, and nothing else with them"));
        } else {
            return;
        };
        match severity.of_excess() {
            Verdict::Ok => diagnosis.ok(CHECK, of, format!("{found}, as in every development's own cluster")),
            verdict => diagnosis.add(verdict, CHECK, of, found, advice),
        }
    }
}
