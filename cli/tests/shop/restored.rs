//! A shop that was dumped by `pg_dump` goes on in another cluster, after `sagashop restore-check`; and what a backup of
//! another moment than the broker's lacks is found, and mended where that can be.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use broker::PostgresBroker;
use rustix::process::Signal;
use sagashop::ports::Role;
use sagashop::postgres::{Options, Server};
use sagashop::shop::{BROKER_DATABASE, databases};
use serde_json::{Value, json};
use sqlx::{Connection, Executor, PgConnection, PgPool};
use testkit::eventually;

use crate::folder::Folder;
use crate::process::sagashop;
use crate::traffic::{Catalogue, Traffic};
use crate::up::Up;
use crate::{PATIENCE, room_for_a_small_shop};

/// The old cluster is so many transactions ahead of a new one.
const AHEAD: usize = 5_000;

/// What restore-check said.
pub struct Said {
    code: Option<i32>,
    report: Value,
    stderr: String,
}

impl Said {
    /// Checks with this verdict, with whom they are of.
    fn with(&self, verdict: &str) -> Vec<String> {
        let findings = self.report["findings"].as_array().into_iter().flatten();
        let findings = findings.filter(|finding| finding["verdict"] == verdict);
        findings.map(|f| format!("{} {}", f["check"].as_str().unwrap_or(""), f["of"].as_str().unwrap_or(""))).collect()
    }

    #[track_caller]
    pub fn is_clean(&self) {
        assert!(self.code == Some(0) && self.report["ok"] == true, "{}\n{:#}", self.stderr, self.report);
    }

    fn has_mended(&self) -> bool {
        self.with("ok").iter().any(|check| check.starts_with("mended "))
    }
}

pub async fn restore_check(data: PathBuf, flags: &[&str]) -> Said {
    let mut command = sagashop();
    command.args(["restore-check", "--output", "json", "--data-dir"]).arg(data).args(flags);
    let output = tokio::task::spawn_blocking(move || command.output().expect("it starts")).await.expect("no panic");
    let report = serde_json::from_slice(&output.stdout).unwrap_or_default();
    Said { code: output.status.code(), report, stderr: String::from_utf8_lossy(&output.stderr).into_owned() }
}

/// One of PostgreSQL's own programs: the newest, which reads what older ones wrote.
fn program(name: &str) -> PathBuf {
    let folders =
        std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|at| at.path().join("bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut found: Vec<PathBuf> = folders.chain(std::env::split_paths(&path)).map(|folder| folder.join(name)).collect();
    found.retain(|program| program.is_file());
    found.sort();
    found.pop().unwrap_or_else(|| panic!("{name} of PostgreSQL is not on this machine"))
}

fn postgresql(name: &str, server: &Server, arguments: &[&str]) -> Command {
    let options = server.options("postgres");
    let mut command = Command::new(program(name));
    command.arg("--host").arg(options.get_socket().expect("a private cluster")).args(["--username", "postgres"]);
    command.args(arguments).stdin(Stdio::null());
    command
}

fn run(mut command: Command) {
    let output = command.output().expect("it starts");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

pub async fn start(folder: &Folder) -> Server {
    Server::start(&Options::private(folder.data())).await.expect("a cluster")
}

async fn execute(server: &Server, database: &str, statement: &str) {
    let mut connection = PgConnection::connect_with(&server.options(database)).await.expect("connected");
    connection.execute(statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
    connection.close().await.expect("closed");
}

/// Executes a statement while nothing else runs.
async fn change(folder: &Folder, statement: &str) {
    let server = start(folder).await;
    execute(&server, "postgres", statement).await;
    server.stop().await.expect("stops");
}

fn all_databases() -> impl Iterator<Item = &'static str> {
    databases().map(|(_, database)| database).chain([BROKER_DATABASE])
}

pub async fn stop(shop: &mut Up) {
    shop.process.signal(Signal::TERM);
    shop.process.ended(PATIENCE).await;
}

/// Everything of a shop but its cluster.
pub fn copy_secrets(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("readable").flatten().filter(|entry| entry.path().is_file()) {
        std::fs::copy(entry.path(), to.join(entry.file_name())).expect("copied");
    }
}

/// Dumps a shop's databases and restores them into a new cluster.
async fn moved(from: &Folder) -> Arc<Folder> {
    let to = Folder::new();
    copy_secrets(&from.data(), &to.data());
    let (old, new) = (start(from).await, start(&to).await);
    for database in all_databases() {
        let dump = to.path().join(database);
        let file = dump.to_str().expect("text");
        run(postgresql("pg_dump", &old, &["--format=custom", "--file", file, database]));
        run(postgresql("createdb", &new, &[database]));
        run(postgresql("pg_restore", &new, &["--exit-on-error", "--dbname", database, file]));
    }
    old.stop().await.expect("stops");
    new.stop().await.expect("stops");
    Arc::new(to)
}

/// A shop with its own cluster far ahead, left in the midst of its business.
pub async fn busy_shop() -> (Up, String) {
    let folder = Arc::new(Folder::new());
    let server = start(&folder).await;
    let mut connection = PgConnection::connect_with(&server.options("postgres")).await.expect("connected");
    for _ in 0..AHEAD {
        connection.execute("SELECT pg_current_xact_id()").await.expect("an id");
    }
    connection.close().await.expect("closed");
    server.stop().await.expect("stops");
    let mut shop = Up::start_in(folder, &["--empty", "--payment-latency", "300ms"]).await;
    let catalogue = Catalogue::fill(&shop, &shop.admin().await).await;
    let tokens = vec![shop.customer("one").await, shop.customer("two").await, shop.customer("three").await];
    let traffic = Traffic::begin(&shop, &catalogue, tokens, 71);
    eventually(PATIENCE, async || traffic.placed() > 40).await;
    stop(&mut shop).await;
    (shop, catalogue.plenty)
}

pub async fn buys(shop: &Up, customer: &str, product: &str) -> String {
    let token = shop.customer(customer).await;
    let order = shop.place(&token, &json!({ "product_id": product, "quantity": 1 })).await;
    assert_eq!(shop.ended(&token, &order).await["status"], "confirmed");
    order
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dumped_shop_goes_on_in_another_cluster() {
    let _room = room_for_a_small_shop().await;
    let (old, product) = busy_shop().await;
    let folder = moved(&old.folder).await;
    drop(old);
    let data = folder.data();

    // Nothing starts on it as it is, and only looking at it changes nothing.
    let mut refused = Up::spawn(&folder, "refused", &["--empty"]);
    assert_eq!(refused.ended(PATIENCE).await.code(), Some(4));
    assert!(refused.stderr().contains("sagashop restore-check"), "{}", refused.stderr());
    for _ in 0..2 {
        let said = restore_check(data.clone(), &[]).await;
        assert_eq!(said.code, Some(1), "{}", said.stderr);
        let foreign = said.with("fail").into_iter().filter(|check| check.starts_with("transaction ids")).count();
        assert_eq!(foreign, Role::ALL.len(), "{:#}", said.report);
    }

    let before = contents(&folder).await;
    let mended = restore_check(data.clone(), &["--yes"]).await;
    mended.is_clean();
    assert!(mended.has_mended(), "{:#}", mended.report);
    assert_eq!(contents(&folder).await, before);
    let again = restore_check(data.clone(), &["--yes"]).await;
    again.is_clean();
    assert!(!again.has_mended(), "{:#}", again.report);

    // What was in the midst of its way ends, and what is new goes its way.
    let mut shop = Up::start_in(folder, &["--empty"]).await;
    buys(&shop, "newcomer", &product).await;
    shop.assert_clean().await;
    let said = restore_check(data.clone(), &["--yes"]).await;
    assert!(said.code == Some(5) && said.stderr.contains("is in use"), "{}", said.stderr);
    restore_check(data.clone(), &[]).await.is_clean();

    // Read models are made anew from the events.
    stop(&mut shop).await;
    let rows = emptied(&shop.folder).await;
    let mut shop = Up::start_in(Arc::clone(&shop.folder), &["--empty"]).await;
    for ((role, table, _), rows) in READ_MODELS.into_iter().zip(rows) {
        eventually(PATIENCE, async || shop.folder.count(role, table).await == rows).await;
    }
    shop.assert_clean().await;

    // The topic log is lost, and made anew from the stores.
    shop.process.signal(Signal::KILL);
    shop.process.ended(PATIENCE).await;
    change(&shop.folder, &format!("DROP DATABASE {BROKER_DATABASE} WITH (FORCE)")).await;
    assert_eq!(restore_check(data.clone(), &[]).await.code, Some(3), "there is no broker to compare with");
    change(&shop.folder, &format!("CREATE DATABASE {BROKER_DATABASE}")).await;
    let server = start(&shop.folder).await;
    let log = PgPool::connect_lazy_with(server.options(BROKER_DATABASE));
    PostgresBroker::migrate(&log).await.expect("migrated");
    log.close().await;
    server.stop().await.expect("stops");
    let said = restore_check(data.clone(), &[]).await;
    let lost = said.with("fail");
    assert!(said.code == Some(1) && lost.contains(&"broker has all order".to_owned()), "{lost:?}");
    assert!(lost.contains(&"offsets in bounds product".to_owned()), "{lost:?}");
    restore_check(data.clone(), &["--yes"]).await.is_clean();
    let mut shop = Up::start_in(Arc::clone(&shop.folder), &["--empty"]).await;
    buys(&shop, "late", &product).await;
    shop.assert_clean().await;

    // A store that is older than the rest: nobody can invent what it lacks.
    stop(&mut shop).await;
    change(&shop.folder, "CREATE DATABASE backup TEMPLATE orderdb").await;
    let mut shop = Up::start_in(Arc::clone(&shop.folder), &["--empty"]).await;
    let order = buys(&shop, "forgotten", &product).await;
    stop(&mut shop).await;
    change(&shop.folder, "DROP DATABASE orderdb").await;
    change(&shop.folder, "ALTER DATABASE backup RENAME TO orderdb").await;
    let said = restore_check(data, &["--yes"]).await;
    assert_eq!((said.code, said.with("fail")), (Some(1), vec!["stores have all order_events".to_owned()]), "{order}");
}

/// The read models, each with the name of its checkpoint.
const READ_MODELS: [(Role, &str, &str); 7] = [
    (Role::User, "users", "users"),
    (Role::Product, "products", "products"),
    (Role::Order, "orders", "orders"),
    (Role::Payment, "payments", "payments"),
    (Role::Notification, "notifications", "notifications"),
    (Role::Notification, "webhooks", "webhooks"),
    (Role::Orchestrator, "sagas", "sagas"),
];

/// Empties all read models; how many rows each had.
async fn emptied(folder: &Folder) -> Vec<i64> {
    let server = start(folder).await;
    let mut rows = Vec::new();
    for (role, table, follower) in READ_MODELS {
        rows.push(folder.count(role, table).await);
        let empty = format!("TRUNCATE {table}; DELETE FROM checkpoints WHERE follower = '{follower}'");
        execute(&server, role.database(), &empty).await;
    }
    server.stop().await.expect("stops");
    rows
}

/// All streams, in the order in which readers see them.
pub async fn contents(folder: &Folder) -> Vec<Value> {
    let server = start(folder).await;
    let mut contents = Vec::new();
    for role in Role::ALL {
        let sql = "SELECT aggregate_type, aggregate_id, sequence, event_type, metadata FROM events
                    ORDER BY transaction_id, position";
        contents.push(folder.query(role, sql).await);
    }
    server.stop().await.expect("stops");
    contents
}
