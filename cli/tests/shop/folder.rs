//! A shop's folder and ports, taken away with whatever still runs in it.

use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use sagashop::ports::{GATEWAY_PORT, Role};
use sagashop::postgres::{Options, Server};
use serde_json::Value;
use sqlx::{Connection, Executor, PgConnection};
use tempfile::TempDir;

/// Where a shop lives.
pub struct Folder {
    dir: TempDir,
    pub offset: u16,
}

impl Folder {
    /// An empty one, and ports that nobody uses.
    pub fn new() -> Self {
        // Root's clusters run as another user, who must be able to enter.
        let dir = tempfile::Builder::new().prefix("sagashop-").permissions(Permissions::from_mode(0o755)).tempdir();
        Self { dir: dir.expect("a folder"), offset: free_offset() }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// What `--data-dir` names.
    pub fn data(&self) -> PathBuf {
        self.path().join("data")
    }

    /// The cluster that runs there.
    pub async fn server(&self) -> Server {
        let server = Server::attach(&Options::private(self.data())).await.expect("the folder can be read");
        server.expect("the cluster runs")
    }

    /// The answer of one query on a role's database, as JSON.
    pub async fn query(&self, role: Role, sql: &str) -> Value {
        let options = self.server().await.options(role.database());
        let mut connection = PgConnection::connect_with(&options).await.expect("connected");
        let json = format!("SELECT coalesce(json_agg(q), '[]')::text FROM ({sql}) q");
        let text: String = sqlx::query_scalar(&json).fetch_one(&mut connection).await.expect("answered");
        connection.close().await.expect("closed");
        serde_json::from_str(&text).expect("JSON")
    }

    /// Executes one statement on a role's database: so many rows were affected.
    pub async fn execute(&self, role: Role, sql: &str) -> u64 {
        let options = self.server().await.options(role.database());
        let mut connection = PgConnection::connect_with(&options).await.expect("connected");
        let done = connection.execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
        connection.close().await.expect("closed");
        done.rows_affected()
    }

    /// A number from the payment provider's book.
    pub async fn booked(&self, sql: &str) -> i64 {
        let options = self.server().await.options(sagashop::shop::psp::DATABASE);
        let mut connection = PgConnection::connect_with(&options).await.expect("connected");
        let number = sqlx::query_scalar(sql).fetch_one(&mut connection).await.expect("answered");
        connection.close().await.expect("closed");
        number
    }

    /// A number from a role's database.
    pub async fn count(&self, role: Role, from: &str) -> i64 {
        let rows = self.query(role, &format!("SELECT count(*) AS n FROM {from}")).await;
        rows[0]["n"].as_i64().expect("a number")
    }

    /// How many events each role has recorded.
    pub async fn events(&self) -> Vec<i64> {
        let mut counts = Vec::new();
        for role in Role::ALL {
            counts.push(self.count(role, "events").await);
        }
        counts
    }
}

impl Folder {
    /// The server that runs there, if it is surely ours.
    fn postmaster(&self) -> Option<Pid> {
        let text = fs::read_to_string(self.data().join("postgres/data/postmaster.pid")).ok()?;
        let pid = text.lines().next()?.trim().parse().ok().and_then(Pid::from_raw)?;
        let arguments = fs::read_to_string(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).ok()?;
        let ours = self.path().file_name().is_some_and(|name| arguments.contains(&*name.to_string_lossy()));
        ours.then_some(pid)
    }

    /// kill -9 of the PostgreSQL.
    pub fn kill_postgres(&self) {
        kill_process(self.postmaster().expect("it runs"), Signal::KILL).expect("it runs");
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A shop that was killed leaves its PostgreSQL running.
        let Some(pid) = self.postmaster() else { return };
        let _ = kill_process(pid, Signal::QUIT);
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.postmaster().is_some() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// What to add to the shop's ports: beyond those that systems hand out by themselves.
fn free_offset() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let start = std::process::id();
    let mut candidates = std::iter::repeat_with(|| NEXT.fetch_add(1, Ordering::Relaxed))
        .map(|n| u16::try_from(10_960 + (start.wrapping_mul(7).wrapping_add(n) % 440) * 10).expect("small"));
    let found = candidates.by_ref().take(440).find(|offset| {
        let ports = Role::ALL.into_iter().flat_map(|role| [Some(role.http_port()), role.grpc_port()]).flatten();
        ports.chain([GATEWAY_PORT]).map(|port| port + offset).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok())
    });
    found.expect("free ports")
}
