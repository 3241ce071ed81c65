//! The private cluster on a real PostgreSQL: nothing is lost when the server or its owner is killed.

use sagashop::exit::Code;
use sagashop::postgres::{Cluster, Error, External, Options, Server};
use sqlx::{Connection, Executor, PgConnection};
use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const FOLDER: &str = "SAGASHOP_TEST_FOLDER";

/// A folder that a root process's cluster can live in, too.
fn folder() -> TempDir {
    tempfile::Builder::new().permissions(Permissions::from_mode(0o755)).tempdir().expect("a folder")
}

async fn start(folder: &Path) -> Server {
    Server::start(&Options::private(folder)).await.expect("the cluster starts")
}

fn own(server: &Server) -> &Cluster {
    match server {
        Server::Own(cluster) => cluster,
        other => panic!("{other:?} is not our own"),
    }
}

async fn connect(server: &Server) -> PgConnection {
    PgConnection::connect_with(&server.options("postgres")).await.expect("connects")
}

async fn remember(server: &Server) {
    connect(server).await.execute("CREATE TABLE kept AS SELECT 42 AS n").await.expect("written");
}

async fn remembered(server: &Server) -> i32 {
    sqlx::query_scalar("SELECT n FROM kept").fetch_one(&mut connect(server).await).await.expect("kept")
}

fn kill_hard(pid: u32) {
    let killed = Command::new("kill").args(["-KILL", &pid.to_string()]).status().expect("kill runs");
    assert!(killed.success());
}

/// This test program once more, as a process of its own that holds a cluster until it is killed.
fn holder(folder: &Path) -> (Child, u32) {
    let program = std::env::current_exe().expect("this program");
    let mut child = Command::new(program)
        .args(["--ignored", "--exact", "holds_a_cluster", "--nocapture"])
        .env(FOLDER, folder)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    let lines = BufReader::new(child.stderr.take().expect("piped")).lines();
    let pid = lines
        .map_while(Result::ok)
        .find_map(|line| line.split_once("holding ")?.1.trim().parse().ok())
        .expect("it says which server it holds");
    (child, pid)
}

#[tokio::test]
#[ignore = "run by other tests as a process of its own"]
async fn holds_a_cluster() {
    let folder = PathBuf::from(std::env::var_os(FOLDER).expect("run by another test"));
    let server = start(&folder).await;
    remember(&server).await;
    eprintln!("holding {}", own(&server).pid());
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn data_outlives_a_stop_and_a_kill_of_the_server() {
    let folder = folder();
    let server = start(folder.path()).await;
    remember(&server).await;
    let began = Instant::now();
    server.stop().await.expect("stops");
    assert!(began.elapsed() < Duration::from_secs(5), "stopping took {:?}", began.elapsed());

    let server = start(folder.path()).await;
    assert_eq!(remembered(&server).await, 42);
    kill_hard(own(&server).pid());
    let ended = tokio::time::timeout(Duration::from_secs(10), server.ended()).await.expect("its end is noticed");
    assert!(matches!(ended, Error::Ended { .. }), "{ended}");
    drop(server);

    let server = start(folder.path()).await;
    assert_eq!(remembered(&server).await, 42);
    server.stop().await.expect("stops");
}

#[tokio::test]
async fn a_server_that_a_killed_owner_left_is_taken_over_as_it_runs() {
    let folder = folder();
    let (mut owner, pid) = holder(folder.path());
    owner.kill().expect("ours");
    owner.wait().expect("ours");

    let server = start(folder.path()).await;
    assert_eq!(own(&server).pid(), pid, "another server was started");
    assert_eq!(remembered(&server).await, 42);
    server.stop().await.expect("stops");
    assert!(!folder.path().join("postgres/data/postmaster.pid").exists(), "the server still runs");
}

#[tokio::test]
async fn a_second_owner_is_refused_by_name_and_may_share() {
    let folder = folder();
    let (mut owner, pid) = holder(folder.path());
    let options = Options::private(folder.path());
    let refused = Server::start(&options).await.expect_err("it is in use");
    assert_eq!(refused.code(), Code::InUse);
    assert!(refused.to_string().contains(&format!("(process {})", owner.id())), "{refused}");

    let shared = Server::open(&options).await.expect("shares");
    assert!(matches!(&shared, Server::Shared(running) if running.pid() == pid), "{shared:?}");
    assert_eq!(remembered(&shared).await, 42);
    shared.stop().await.expect("leaves it alone");
    let shared = Server::attach(&options).await.expect("looks").expect("it still runs");
    assert_eq!(remembered(&shared).await, 42);

    owner.kill().expect("ours");
    owner.wait().expect("ours");
    start(folder.path()).await.stop().await.expect("stops");
    assert!(Server::attach(&options).await.expect("looks").is_none());
}

#[tokio::test]
async fn what_killed_runs_leave_behind_does_not_hinder_a_start() {
    let folder = folder();
    // Killed while the cluster was being made …
    let half_made = folder.path().join("postgres/data.new");
    fs::create_dir_all(&half_made).expect("ours");
    fs::write(half_made.join("PG_VERSION"), "15\n").expect("ours");
    let server = start(folder.path()).await;
    remember(&server).await;
    server.stop().await.expect("stops");
    // … and with the whole machine, after which the server's number went to another program.
    let stale = folder.path().join("postgres/data/postmaster.pid");
    let text = format!("{}\n{}\n1\n5432\n/nowhere\n\n\nready\n", std::process::id(), folder.path().display());
    fs::write(&stale, text).expect("ours");

    let server = start(folder.path()).await;
    assert_eq!(remembered(&server).await, 42);
    server.stop().await.expect("stops");
}

#[tokio::test]
async fn databases_are_created_once_and_dropped() {
    let folder = folder();
    let server = start(folder.path()).await;
    assert!(server.ensure_database("it's a \"shop\"").await.expect("created"));
    assert!(!server.ensure_database("it's a \"shop\"").await.expect("there"));
    server.drop_database("it's a \"shop\"").await.expect("dropped");
    assert!(server.ensure_database("it's a \"shop\"").await.expect("created"));
    server.stop().await.expect("stops");
}

#[tokio::test]
async fn a_path_too_long_for_a_socket_is_no_hindrance() {
    let folder = folder();
    let deep = folder.path().join("a rather long name, with 'quotes', ".repeat(3)).join(".sagashop");
    fs::create_dir_all(&deep).expect("ours");
    let server = start(&deep).await;
    remember(&server).await;
    server.stop().await.expect("stops");
}

#[tokio::test]
async fn commits_are_durable_and_no_port_is_open() {
    let folder = folder();
    let server = start(folder.path()).await;
    let mut connection = connect(&server).await;
    for (setting, wanted) in
        [("fsync", "on"), ("synchronous_commit", "on"), ("listen_addresses", ""), ("max_connections", "200")]
    {
        let query = sqlx::query_scalar("SELECT current_setting($1)").bind(setting);
        let value: String = query.fetch_one(&mut connection).await.expect("answered");
        assert_eq!(value, wanted, "{setting}");
    }
    let home = fs::metadata(folder.path().join("postgres")).expect("there");
    assert_eq!(home.mode() & 0o777, 0o700, "whoever can enter can connect");
    drop(connection);
    server.stop().await.expect("stops");
}

#[tokio::test]
async fn a_wrong_password_is_said_to_be_one() {
    let folder = folder();
    let server = start(folder.path()).await;
    let mut connection = connect(&server).await;
    connection.execute("CREATE ROLE shop LOGIN PASSWORD 'right'").await.expect("created");
    let rules = folder.path().join("postgres/data/pg_hba.conf");
    fs::write(rules, "local all shop scram-sha-256\nlocal all all trust\n").expect("ours");
    connection.execute("SELECT pg_reload_conf()").await.expect("told");
    let sockets: String =
        sqlx::query_scalar("SHOW unix_socket_directories").fetch_one(&mut connection).await.expect("answered");
    drop(connection);
    let sockets = sockets.trim_matches('"').to_owned();

    let external = |password: &str| Options {
        external: Some(External::from_parts(&sockets, 5432, "shop", Some(password))),
        ..Options::private(folder.path())
    };
    // The server reads its rules again when it gets round to it.
    let deadline = Instant::now() + Duration::from_secs(10);
    let refused = loop {
        match Server::start(&external("wrong")).await {
            Err(error) => break error,
            Ok(_) => assert!(Instant::now() < deadline, "the rules were never read"),
        }
    };
    assert_eq!(refused.code(), Code::Unavailable);
    assert!(refused.to_string().contains("refuses user shop"), "{refused}");
    assert!(refused.to_string().contains("password"), "{refused}");

    let allowed = Server::start(&external("right")).await.expect("the right one is taken");
    let denied = allowed.ensure_database("orders").await.expect_err("it may not create databases");
    assert!(matches!(denied, Error::MayNotCreate { .. }), "{denied}");
    server.stop().await.expect("stops");
}

#[tokio::test]
async fn a_root_process_in_a_closed_folder_keeps_the_cluster_elsewhere() {
    let nobody_else = Permissions::from_mode(0o700);
    let closed = tempfile::Builder::new().permissions(nobody_else).tempdir().expect("a folder");
    let found = fs::metadata(closed.path()).expect("ours");
    if found.uid() != 0 {
        return; // Only root lends its cluster to a user who could be shut out.
    }
    let data_dir = closed.path().join(".sagashop");
    let server = start(&data_dir).await;
    remember(&server).await;
    server.stop().await.expect("stops");
    let target = fs::read_link(data_dir.join("postgres")).expect("a link");
    let server = start(&data_dir).await;
    assert_eq!(remembered(&server).await, 42);
    server.stop().await.expect("stops");

    fs::remove_dir_all(&target).expect("ours");
    let gone = Server::start(&Options::private(&data_dir)).await.expect_err("its files are gone");
    assert!(matches!(gone, Error::LinkGone { .. }), "{gone}");
}
