//! The private PostgreSQL cluster: one for all test binaries of this target directory.

use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

/// Durable as in production; only memory is kept small. A change here makes a new cluster.
const SETTINGS: &str = "
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
max_connections = 400
shared_buffers = 64MB
max_wal_size = 512MB
fsync = on
synchronous_commit = on
client_connection_check_interval = 1s
log_line_prefix = '%m [%p] %d '
";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Runs `work` to its end on a thread and runtime of its own, whatever the caller runs on.
pub(crate) fn blocking<T, F>(work: F) -> Result<T>
where
    T: Send + 'static,
    F: Future<Output = Result<T>> + Send + 'static,
{
    let thread =
        std::thread::spawn(move || tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work));
    thread.join().unwrap_or_else(|_| bail!("the thread panicked"))
}

/// The admin URL of the running cluster. Made, started or restarted when it has to be; test
/// binaries that come here at once wait for each other.
pub(crate) fn ensure() -> Result<String> {
    let programs = programs()?;
    let account = Account::find()?;
    let root = root(account.as_ref())?;
    let lock = File::create(root.join("pg.lock"))?;
    lock.lock()?;
    let cluster = Cluster { programs, account, home: root.join("pg") };
    match cluster.reuse() {
        Some(url) => Ok(url),
        None => cluster.start(),
    }
    // The lock ends with its file.
}

struct Cluster {
    programs: PathBuf,
    account: Option<Account>,
    /// Holds `data`, `log`, `settings` and `url`.
    home: PathBuf,
}

impl Cluster {
    /// The URL of the cluster if it runs, is ours, and has today's settings.
    fn reuse(&self) -> Option<String> {
        if fs::read_to_string(self.home.join("settings")).ok()? != self.fingerprint() {
            return None;
        }
        let url = fs::read_to_string(self.home.join("url")).ok()?;
        let (data, answering) = (self.data(), url.clone());
        let ours = blocking(async move {
            let connect = PgConnection::connect(&answering);
            let mut connection = tokio::time::timeout(CONNECT_TIMEOUT, connect).await??;
            let theirs: String = sqlx::query_scalar("SHOW data_directory").fetch_one(&mut connection).await?;
            connection.close().await?;
            Ok(Path::new(&theirs) == data)
        });
        ours.is_ok_and(|ours| ours).then_some(url)
    }

    /// Starts the cluster as it is; when that does not work, a new one. Its data are worth nothing.
    fn start(&self) -> Result<String> {
        let current = fs::read_to_string(self.home.join("settings")).is_ok_and(|text| text == self.fingerprint());
        if current && self.data().is_dir() {
            self.stop();
            if let Ok(url) = self.start_server() {
                return Ok(url);
            }
        }
        self.initialise()?;
        self.start_server()
    }

    fn initialise(&self) -> Result<()> {
        self.stop();
        if self.home.exists() {
            fs::remove_dir_all(&self.home)?;
        }
        fs::create_dir_all(&self.home)?;
        fs::set_permissions(&self.home, fs::Permissions::from_mode(0o700))?;
        let password = self.home.join("password");
        fs::write(&password, Uuid::now_v7().simple().to_string())?;
        if let Some(account) = &self.account {
            for path in [&self.home, &password] {
                chown(path, Some(account.uid), Some(account.gid))?;
            }
        }
        let mut initdb = self.program("initdb");
        initdb.arg("--pgdata").arg(self.data()).arg("--pwfile").arg(&password);
        // The password crosses the loopback alone. Not SCRAM: an unoptimised client takes tens of
        // milliseconds of it for each connection.
        initdb.args(["--username=postgres", "--auth=password", "--encoding=UTF8", "--locale=C", "--no-instructions"]);
        run(initdb)?;
        let config = self.data().join("postgresql.auto.conf");
        fs::write(config, SETTINGS)?;
        // Last: a cluster without this file is not complete.
        fs::write(self.home.join("settings"), self.fingerprint())?;
        Ok(())
    }

    fn start_server(&self) -> Result<String> {
        let password = fs::read_to_string(self.home.join("password"))?;
        let mut last = None;
        // A port that is free now may be taken a moment later.
        for _ in 0..5 {
            let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
            let mut start = self.program("pg_ctl");
            start.arg("start").arg("--pgdata").arg(self.data()).arg("--log").arg(self.home.join("log"));
            start.args(["--wait", "--timeout=60", "--options"]).arg(format!("-p {port}"));
            match run(start) {
                Ok(()) => {
                    let url = format!("postgres://postgres:{password}@127.0.0.1:{port}/postgres");
                    fs::write(self.home.join("url"), &url)?;
                    return Ok(url);
                }
                Err(error) => last = Some(error),
            }
        }
        let log = fs::read_to_string(self.home.join("log")).unwrap_or_default();
        let tail: Vec<&str> = log.lines().rev().take(10).collect();
        let tail = tail.into_iter().rev().collect::<Vec<_>>().join("\n");
        Err(last.expect("at least one try")).with_context(|| format!("PostgreSQL does not start:\n{tail}"))
    }

    /// Ends a server that runs but does not answer. That none runs is no error.
    fn stop(&self) {
        if self.data().join("postmaster.pid").exists() {
            let mut stop = self.program("pg_ctl");
            stop.args(["stop", "--mode=immediate", "--wait", "--timeout=5", "--pgdata"]).arg(self.data());
            let _ = run(stop);
        }
    }

    fn data(&self) -> PathBuf {
        self.home.join("data")
    }

    /// Clusters of other settings or of another PostgreSQL are not used.
    fn fingerprint(&self) -> String {
        format!("{}{SETTINGS}", self.programs.canonicalize().unwrap_or_default().join("postgres").display())
    }

    fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.programs.join(name));
        command.current_dir(&self.home).env("LC_ALL", "C").stdin(Stdio::null());
        if let Some(account) = &self.account {
            command.uid(account.uid).gid(account.gid);
        }
        command
    }
}

/// Whom the server runs as when the tests run as root, which initdb refuses.
struct Account {
    uid: u32,
    gid: u32,
}

impl Account {
    fn find() -> Result<Option<Self>> {
        if fs::metadata("/proc/self").map_or(1, |own| own.uid()) != 0 {
            return Ok(None);
        }
        let id = |flag: &str, name: &str| {
            let output = Command::new("id").args([flag, name]).output().ok()?;
            String::from_utf8(output.stdout).ok()?.trim().parse().ok()
        };
        let account = ["postgres", "nobody"]
            .into_iter()
            .find_map(|name| Some(Self { uid: id("-u", name)?, gid: id("-g", name)? }))
            .context("running as root, and neither `postgres` nor `nobody` is an account here")?;
        Ok(Some(account))
    }
}

/// The folder of the cluster: within the target directory, unless the server's account cannot
/// get there (a checkout below /root).
fn root(account: Option<&Account>) -> Result<PathBuf> {
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target"), PathBuf::from);
    fs::create_dir_all(&target)?;
    let target = target.canonicalize()?;
    let root = target.join("testkit");
    fs::create_dir_all(&root)?;
    let Some(account) = account else { return Ok(root) };
    let reachable = Command::new("test").arg("-x").arg(&root).uid(account.uid).gid(account.gid).status();
    if reachable.is_ok_and(|status| status.success()) {
        return Ok(root);
    }
    let name = target.to_string_lossy().replace('/', "-");
    let root = std::env::temp_dir().join(format!("sagashop-testkit{name}"));
    fs::create_dir_all(&root)?;
    Ok(root)
}

/// The folder with `initdb`, `pg_ctl` and `postgres`: on the PATH, as Debian has it, as Homebrew
/// has it; of several versions the newest.
fn programs() -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).filter(|folder| !folder.as_os_str().is_empty());
    let installed = ["/usr/lib/postgresql", "/opt/homebrew/opt", "/usr/local/opt"].into_iter().flat_map(versions);
    on_path
        .chain(installed)
        .find(|folder| ["initdb", "pg_ctl", "postgres"].iter().all(|name| folder.join(name).is_file()))
        .context(
            "no PostgreSQL for tests: set DATABASE_URL to an account that may create databases, or install one \
             (looked for initdb, pg_ctl and postgres on the PATH, in /usr/lib/postgresql/*/bin and in Homebrew)",
        )
}

fn versions(parent: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    let mut found: Vec<(u32, PathBuf)> = entries
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let version = name.trim_start_matches("postgresql").trim_start_matches('@');
            Some((version.parse().ok()?, entry.path().join("bin")))
        })
        .collect();
    found.sort();
    found.into_iter().rev().map(|(_, path)| path).collect()
}

fn run(mut command: Command) -> Result<()> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?} failed: {said}");
    Ok(())
}
