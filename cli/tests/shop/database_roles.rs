//! Services as database roles that may add to the events, and never change them.

use std::path::Path;

use sagashop::ports::Role;
use sagashop::postgres::{Options, Server};
use sqlx::{Connection, Executor, PgConnection};

use crate::folder::Folder;
use crate::process::{Process, sagashop};
use crate::{PATIENCE, room_for_a_small_shop};

/// Owner of all databases; each service's own role is named after it.
const OWNER: &str = "sagashop_owner";

pub fn of(role: Role) -> String {
    format!("{}_service", role.name())
}

/// The folder of the cluster's socket: who comes that way is who they say.
pub fn host(server: &Server) -> String {
    let options = server.options("postgres");
    options.get_socket().expect("a private cluster").to_string_lossy().into_owned()
}

/// The roles, and databases that are up to date.
pub async fn make(server: &Server, data: &Path) {
    let mut admin = PgConnection::connect_with(&server.options("postgres")).await.expect("connected");
    admin.execute(format!("CREATE ROLE {OWNER} LOGIN").as_str()).await.expect("created");
    for role in Role::ALL {
        for statement in
            [format!("CREATE ROLE {} LOGIN", of(role)), format!("CREATE DATABASE {} OWNER {OWNER}", role.database())]
        {
            admin.execute(statement.as_str()).await.expect("created");
        }
    }
    admin.close().await.expect("closed");
    let mut command = sagashop();
    command.args(["migrate", "--grant-to", "{role}_service", "--data-dir"]).arg(data);
    command.env("DB_HOST", host(server)).env("DB_USER", OWNER);
    let migrated = tokio::task::spawn_blocking(move || command.output().expect("the binary starts"));
    let migrated = migrated.await.expect("no panic");
    assert!(migrated.status.success(), "{}", String::from_utf8_lossy(&migrated.stderr));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_adds_events_and_changes_none() {
    let _room = room_for_a_small_shop().await;
    let folder = Folder::new();
    let server = Server::start(&Options::private(folder.data())).await.expect("a cluster");
    make(&server, &folder.data()).await;
    let options = server.options(Role::Order.database()).username(&of(Role::Order));
    let mut service = PgConnection::connect_with(&options).await.expect("connected");
    service
        .execute(
            "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
             VALUES ('order', '1', 1, 'placed', '1', '{}', '{}')",
        )
        .await
        .expect("added");
    let read: i64 = sqlx::query_scalar("SELECT count(*) FROM events").fetch_one(&mut service).await.expect("read");
    assert_eq!(read, 1);
    service.execute("DELETE FROM idempotency_keys").await.expect("its other tables are its own");
    for statement in [
        "UPDATE events SET payload = '{}'",
        "DELETE FROM events",
        "TRUNCATE events",
        "ALTER TABLE events DISABLE TRIGGER ALL",
        "DROP TABLE orders",
        "CREATE TABLE other (id integer)",
        "DELETE FROM _sqlx_migrations",
    ] {
        let error = service.execute(statement).await.expect_err(statement);
        let code = error.as_database_error().and_then(|error| error.code()).unwrap_or_default().into_owned();
        assert_eq!(code, "42501", "{statement}: {error}");
    }
    service.close().await.expect("closed");
    server.stop().await.expect("stops");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_says_that_its_database_is_behind() {
    let _room = room_for_a_small_shop().await;
    let folder = Folder::new();
    let server = Server::start(&Options::private(folder.data())).await.expect("a cluster");
    make(&server, &folder.data()).await;
    folder
        .execute(
            Role::Payment,
            "DELETE FROM _sqlx_migrations WHERE version = (SELECT max(version) FROM _sqlx_migrations)",
        )
        .await;
    let data = folder.data();
    let port = (Role::Payment.http_port() + folder.offset).to_string();
    let arguments = ["serve", "payment", "--listen", "127.0.0.1", "--http-port", &port, "--data-dir"];
    let arguments =
        arguments.into_iter().map(Into::into).chain([data.into_os_string()]).collect::<Vec<std::ffi::OsString>>();
    let (host, user) = (host(&server), of(Role::Payment));
    // It never comes so far as to ask a broker.
    let environment = [("DB_HOST", host.as_str()), ("DB_USER", &user), ("KAFKA_BROKER", "127.0.0.1:1")];
    let mut process = Process::start(folder.path(), "payment", arguments, &environment);
    let status = process.ended(PATIENCE).await;
    assert_eq!(status.code(), Some(6), "{}", process.last_words());
    assert!(process.stderr().contains("run `sagashop migrate` as its owner"), "{}", process.last_words());
    server.stop().await.expect("stops");
}
