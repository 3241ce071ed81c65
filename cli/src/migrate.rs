//! `sagashop migrate`: the databases, their tables, and what a service may do in them.

use crate::args::{GlobalArgs, MigrateArgs};
use crate::exit::Code;
use crate::output::{self, Format, Row};
use crate::ports::Role;
use crate::postgres::Server;
use crate::shop;
use anyhow::Context;
use serde::Serialize;
use sqlx::{Connection, Executor, PgConnection};

/// Gives the role that the setting names its rights, in the database that it is executed in.
const GRANTS: &str = include_str!("migrate/grants.sql");
/// What stands for the part's name in the name of a database role.
const PLACEHOLDER: &str = "{role}";

/// Brings the databases up to date; then each service may work in its own.
///
/// # Errors
/// A sentence for people: the server is away, a migration fails, or a database role is missing.
pub async fn migrate(global: &GlobalArgs, args: &MigrateArgs) -> anyhow::Result<Code> {
    let server = Server::open(&args.database.options(global)?).await?;
    let roles = if args.roles.is_empty() { Role::ALL.as_slice() } else { args.roles.as_slice() };
    let grant_to = args.grant_to.as_deref().filter(|name| !name.is_empty());
    let migrated = migrate_all(&server, roles, grant_to).await;
    server.stop().await?;
    migrated?;
    let lines: Vec<Line> = roles.iter().map(|role| Line::of(*role, grant_to)).collect();
    // People read the log.
    if global.output != Format::Table {
        output::rows(global.output, &lines)?;
    }
    Ok(Code::Done)
}

/// A database that is up to date.
#[derive(Serialize)]
struct Line {
    service: &'static str,
    database: &'static str,
    granted_to: Option<String>,
}

impl Line {
    fn of(role: Role, grant_to: Option<&str>) -> Self {
        let granted_to = grant_to.map(|name| name.replace(PLACEHOLDER, role.name()));
        Self { service: role.name(), database: role.database(), granted_to }
    }
}

impl Row for Line {
    const COLUMNS: &'static [&'static str] = &["service", "database", "granted to"];

    fn cells(&self) -> Vec<String> {
        vec![self.service.to_owned(), self.database.to_owned(), self.granted_to.clone().unwrap_or_default()]
    }
}

async fn migrate_all(server: &Server, roles: &[Role], grant_to: Option<&str>) -> anyhow::Result<()> {
    for role in roles {
        shop::migrate(server, *role, role.database()).await?;
        tracing::info!(role = role.name(), database = role.database(), "migrated");
        if let Some(grantee) = grant_to.map(|name| name.replace(PLACEHOLDER, role.name())) {
            let granted = grant(server, role.database(), &grantee).await;
            granted.with_context(|| format!("{grantee} cannot be given its rights in {}", role.database()))?;
        }
    }
    Ok(())
}

/// Lets a database role work as a service in this database, as the owner of its tables. Whatever else it had been
/// allowed there is taken back.
///
/// # Errors
/// The server refuses, for example because there is no such role.
pub async fn grant(server: &Server, database: &str, grantee: &str) -> sqlx::Result<()> {
    let mut connection = PgConnection::connect_with(&server.options(database)).await?;
    sqlx::query("SELECT set_config('sagashop.grantee', $1, false)").bind(grantee).execute(&mut connection).await?;
    connection.execute(GRANTS).await?;
    connection.close().await
}
