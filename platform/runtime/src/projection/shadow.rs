//! The table that is filled beside the one that serves, and how it takes its place.

use event_store::Cursor;
use sqlx::{Executor, PgConnection};

use super::Error;
use super::model::Table;

/// Where tables are that are being filled.
pub(super) const NEW: &str = "projection_new";
/// Where tables are that served before.
pub(super) const OLD: &str = "projection_old";

/// The table that is being filled.
pub(super) fn name(table: &Table) -> String {
    format!("{NEW}.{}", table.name)
}

/// The serving table's columns, to tell whether they have changed.
pub(super) async fn shape(connection: &mut PgConnection, table: &Table) -> Result<String, Error> {
    let shape: Option<String> = sqlx::query_scalar(
        "SELECT string_agg(concat_ws(' ', attname, format_type(atttypid, atttypmod), attnotnull), ', ' ORDER BY attnum)
           FROM pg_attribute WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped",
    )
    .bind(format!("public.{}", table.name))
    .fetch_one(connection)
    .await?;
    shape.ok_or(Error::NoTable { table: table.name })
}

pub(super) async fn exists(connection: &mut PgConnection, schema: &str, table: &Table) -> sqlx::Result<bool> {
    sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL")
        .bind(format!("{schema}.{}", table.name))
        .fetch_one(connection)
        .await
}

/// Makes it, empty and without indexes: those are made when it is filled.
pub(super) async fn create(connection: &mut PgConnection, table: &Table) -> sqlx::Result<()> {
    let (name, live) = (name(table), format!("public.{}", table.name));
    let (owner, options): (String, Option<String>) = sqlx::query_as(
        "SELECT pg_get_userbyid(relowner)::text, array_to_string(reloptions, ', ') FROM pg_class WHERE oid = to_regclass($1)",
    )
    .bind(&live)
    .fetch_one(&mut *connection)
    .await?;
    let options = options.map(|options| format!(" WITH ({options})")).unwrap_or_default();
    let owner = owner.replace('"', "\"\"");
    connection.execute(format!("DROP TABLE IF EXISTS {name}").as_str()).await?;
    let create = format!(
        "CREATE TABLE {name} (LIKE {live} INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING GENERATED \
         INCLUDING STORAGE INCLUDING COMMENTS){options}"
    );
    connection.execute(create.as_str()).await?;
    connection.execute(format!("ALTER TABLE {name} OWNER TO \"{owner}\"").as_str()).await?;
    Ok(())
}

/// An index of the serving table.
pub(super) struct Index {
    pub(super) name: String,
    is_unique: bool,
    /// `btree (user_id, id DESC)`.
    how: String,
    /// The constraint that it stands for: `PRIMARY KEY`, `UNIQUE`.
    constraint: Option<&'static str>,
}

/// The indexes that the new table does not have yet, its key first.
pub(super) async fn missing_indexes(connection: &mut PgConnection, table: &Table) -> Result<Vec<Index>, Error> {
    type Found = (String, bool, String, Option<String>, Option<bool>);
    let found: Vec<Found> = sqlx::query_as(
        "SELECT c.relname::text, i.indisunique, pg_get_indexdef(i.indexrelid), k.contype::text, n.indisvalid
           FROM pg_index i
           JOIN pg_class c ON c.oid = i.indexrelid
           LEFT JOIN pg_constraint k ON k.conindid = i.indexrelid AND k.contype IN ('p', 'u')
           LEFT JOIN pg_index n ON n.indexrelid = to_regclass(format('%I.%I', $2, c.relname))
          WHERE i.indrelid = to_regclass($1)
          ORDER BY NOT i.indisprimary, c.relname",
    )
    .bind(format!("public.{}", table.name))
    .bind(NEW)
    .fetch_all(&mut *connection)
    .await?;
    let mut missing = Vec::new();
    for (name, is_unique, definition, constraint, is_valid) in found {
        let how = definition.split_once(" USING ").map(|(_, how)| how.to_owned());
        let how = how.ok_or_else(|| anyhow::anyhow!("the index {name} cannot be understood: {definition}"))?;
        let constraint = match constraint.as_deref() {
            Some("p") => Some("PRIMARY KEY"),
            Some(_) => Some("UNIQUE"),
            None => None,
        };
        if is_valid == Some(true) && (constraint.is_none() || has_constraint(connection, table, &name).await?) {
            continue;
        }
        // One that was being made when somebody died.
        if is_valid == Some(false) {
            connection.execute(format!("DROP INDEX {NEW}.{name}").as_str()).await?;
        }
        let is_made = is_valid == Some(true);
        missing.push(Index { name, is_unique, how: if is_made { String::new() } else { how }, constraint });
    }
    Ok(missing)
}

async fn has_constraint(connection: &mut PgConnection, table: &Table, name: &str) -> sqlx::Result<bool> {
    sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_constraint WHERE conrelid = to_regclass($1) AND conname = $2)")
        .bind(self::name(table))
        .bind(name)
        .fetch_one(connection)
        .await
}

/// Makes an index. It is made concurrently, though nobody else writes to the table: so its transaction has no id while it
/// works, and holds up nobody who follows events.
pub(super) async fn make(connection: &mut PgConnection, table: &Table, index: &Index) -> sqlx::Result<()> {
    let (new, Index { name, is_unique, how, constraint }) = (self::name(table), index);
    if !how.is_empty() {
        let unique = if *is_unique { "UNIQUE " } else { "" };
        let make = format!("CREATE {unique}INDEX CONCURRENTLY {name} ON {new} USING {how}");
        connection.execute(make.as_str()).await?;
    }
    if let Some(constraint) = constraint {
        let add = format!("ALTER TABLE {new} ADD CONSTRAINT {name} {constraint} USING INDEX {name}");
        connection.execute(add.as_str()).await?;
    }
    Ok(())
}

/// What depends on the serving table and would go on depending on it when it is the old one.
pub(super) async fn dependents(connection: &mut PgConnection, table: &Table) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar(
        "SELECT DISTINCT v.oid::regclass::text
           FROM pg_depend d
           JOIN pg_rewrite r ON r.oid = d.objid AND d.classid = 'pg_rewrite'::regclass
           JOIN pg_class v ON v.oid = r.ev_class
          WHERE d.refobjid = to_regclass($1) AND v.oid <> d.refobjid
         UNION SELECT conrelid::regclass::text FROM pg_constraint WHERE confrelid = to_regclass($1) AND contype = 'f'
          ORDER BY 1",
    )
    .bind(format!("public.{}", table.name))
    .fetch_all(connection)
    .await
}

/// Puts the new table in the serving one's place, with the rights that were given on that. To be committed together with
/// the checkpoint.
pub(super) async fn take_over(connection: &mut PgConnection, table: &Table) -> sqlx::Result<()> {
    let name = table.name;
    let grants: Vec<(Option<String>, String, bool)> = sqlx::query_as(
        "SELECT CASE WHEN a.grantee <> 0 THEN pg_get_userbyid(a.grantee)::text END, a.privilege_type, a.is_grantable
           FROM pg_class c, aclexplode(c.relacl) a
          WHERE c.oid = to_regclass($1) AND a.grantee <> c.relowner",
    )
    .bind(format!("public.{name}"))
    .fetch_all(&mut *connection)
    .await?;
    for statement in
        [format!("ALTER TABLE public.{name} SET SCHEMA {OLD}"), format!("ALTER TABLE {NEW}.{name} SET SCHEMA public")]
    {
        connection.execute(statement.as_str()).await?;
    }
    for (grantee, right, is_grantable) in grants {
        let grantee = grantee.map_or("PUBLIC".to_owned(), |name| format!("\"{}\"", name.replace('"', "\"\"")));
        let option = if is_grantable { " WITH GRANT OPTION" } else { "" };
        connection.execute(format!("GRANT {right} ON public.{name} TO {grantee}{option}").as_str()).await?;
    }
    Ok(())
}

/// Moves the projection's checkpoint to where the new table stands.
pub(super) async fn move_checkpoint(connection: &mut PgConnection, table: &Table, to: Cursor) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO checkpoints (follower, transaction_id, position) VALUES ($1, $2::text::xid8, $3)
         ON CONFLICT (follower) DO UPDATE
            SET transaction_id = EXCLUDED.transaction_id, position = EXCLUDED.position, updated_at = clock_timestamp()",
    )
    .bind(table.name)
    .bind(to.transaction_id.to_string())
    .bind(to.position)
    .execute(connection)
    .await?;
    Ok(())
}

/// Drops what was kept of the time before the last rebuild, so that the swap need not: files take their time.
pub(super) async fn make_room(connection: &mut PgConnection, table: &Table) -> sqlx::Result<()> {
    connection.execute(format!("DROP TABLE IF EXISTS {OLD}.{}", table.name).as_str()).await?;
    Ok(())
}

/// Who uses the serving table, and has for longer than a swap may wait: they are not to be waited for with a lock that
/// everybody else queues behind.
pub(super) async fn in_the_way(connection: &mut PgConnection, table: &Table) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar(
        "SELECT DISTINCT format('%s (process %s)', coalesce(nullif(a.application_name, ''), a.backend_type), a.pid)
           FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid)
          WHERE l.locktype = 'relation' AND l.granted AND l.relation = to_regclass($1) AND a.pid <> pg_backend_pid()
            AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
            AND a.xact_start < clock_timestamp() - interval '100 ms' AND a.backend_type <> 'autovacuum worker'",
    )
    .bind(format!("public.{}", table.name))
    .fetch_all(connection)
    .await
}

/// Drops the table that served before. Whether there was one.
///
/// # Errors
/// Those of the database; or this user may not.
pub async fn drop_old(database: &super::Database, table: &Table) -> Result<bool, Error> {
    let mut connection = database.connect().await?;
    let exists = exists(&mut connection, OLD, table).await?;
    if exists {
        connection.execute(format!("DROP TABLE {OLD}.{}", table.name).as_str()).await?;
    }
    Ok(exists)
}
