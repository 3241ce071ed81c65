//! The private cluster: started, taken over after a crash of ours, watched, stopped.

use super::find::{self, Programs};
use super::home::Home;
use super::postmaster::{self, PidFile};
use super::{Error, Options, error, external, initdb, settings};
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::process::Child;
use tokio::sync::watch;

/// Recovery after a crash reads at most a few gigabytes of log.
const READY_MAX: Duration = Duration::from_secs(180);
/// When waiting for a start is worth a line.
const READY_USUAL: Duration = Duration::from_secs(3);
/// How long a server that another process left behind may take to answer or to end.
const SETTLE_MAX: Duration = Duration::from_secs(60);
/// For a fast shutdown, which writes everything out; what is over it is recovered from the log at the next start.
const STOP_FAST_MAX: Duration = Duration::from_secs(4);
/// For an immediate one.
const STOP_IMMEDIATE_MAX: Duration = Duration::from_secs(5);
/// Between looks at what cannot wake us: another program's files, a process that is not our child.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// The log is begun anew at a start that finds it larger.
const LOG_BYTES_MAX: u64 = 10 * 1024 * 1024;

/// A private cluster that this process owns. Dropped without [`stop`](Self::stop), it is told to shut down, and nobody
/// waits for it.
#[derive(Debug)]
pub struct Cluster {
    running: Running,
    log: PathBuf,
    /// Where the log stood when the server was started.
    log_start: u64,
    ended: watch::Receiver<bool>,
    /// Held for as long as the cluster is ours.
    _lock: File,
}

/// A private cluster's server, seen from outside.
#[derive(Clone, Debug)]
pub struct Running {
    pid: u32,
    sockets: PathBuf,
    port: u16,
    data_dir: PathBuf,
}

impl Running {
    /// How to connect to one of its databases.
    pub fn connect_options(&self, database: &str) -> PgConnectOptions {
        // Everything that a `PG…` variable could have set is set here.
        PgConnectOptions::new_without_pgpass()
            .socket(&self.sockets)
            .port(self.port)
            .username(settings::USER)
            .ssl_mode(PgSslMode::Disable)
            .database(database)
            .application_name("sagashop")
    }

    /// The process id of the server.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// What to call it in a sentence.
    pub fn describe(&self) -> String {
        format!("the PostgreSQL under {}", self.data_dir.display())
    }

    fn of(file: &PidFile, data_dir: &Path) -> Self {
        Self { pid: file.pid, sockets: file.sockets.clone(), port: file.port, data_dir: data_dir.to_owned() }
    }

    async fn answers(&self) -> bool {
        external::answers(&self.connect_options("postgres")).await
    }
}

impl Cluster {
    /// Starts the cluster under the data folder, made first if there is none. A server that a killed process left
    /// behind is taken over as it runs.
    ///
    /// # Errors
    /// A sentence for people; [`Error::InUse`] when another process owns the cluster.
    pub async fn start(options: &Options) -> Result<Self, Error> {
        let home = Home::prepare(&options.data_dir).await?;
        let lock = home.lock()?;
        if let Some(file) = settle(&home).await? {
            tracing::info!(postgres.pid = file.pid, "took over the PostgreSQL that an earlier run left behind");
            let log_start = fs::metadata(home.log()).map_or(0, |log| log.len());
            let ended = watch_stranger(file.pid);
            let running = Running::of(&file, &home.data_dir);
            return Ok(Self { running, log: home.log(), log_start, ended, _lock: lock });
        }
        let sockets = home.sockets()?;
        let programs = find_programs(&home, options.programs).await?;
        if initdb::major_of(&home.data()).is_none() {
            initdb::create(&home, &programs).await?;
        }
        initdb::configure(&home, &sockets)?;
        let (log_start, child) = launch(&home, &programs.postgres())?;
        let pid = child.id().unwrap_or_default();
        let cluster = Self {
            running: Running { pid, sockets, port: settings::PORT, data_dir: home.data_dir.clone() },
            log: home.log(),
            log_start,
            ended: watch_child(child),
            _lock: lock,
        };
        cluster.wait_until_ready(&home.data()).await?;
        Ok(cluster)
    }

    /// The server of the cluster if one runs and answers, whoever owns it; waits for one that is starting.
    ///
    /// # Errors
    /// A sentence for people, when the folder cannot be read.
    pub async fn attach(options: &Options) -> Result<Option<Running>, Error> {
        match Home::existing(&options.data_dir)? {
            Some(home) => Ok(settle(&home).await?.map(|file| Running::of(&file, &home.data_dir))),
            None => Ok(None),
        }
    }

    /// How to connect to one of its databases.
    pub fn connect_options(&self, database: &str) -> PgConnectOptions {
        self.running.connect_options(database)
    }

    /// The process id of the server.
    pub fn pid(&self) -> u32 {
        self.running.pid
    }

    /// What to call it in a sentence.
    pub fn describe(&self) -> String {
        self.running.describe()
    }

    /// Ends when the server has ended by itself, with what its log says.
    pub async fn ended(&self) -> Error {
        self.until_ended().await;
        Error::Ended { output: error::shortened(&self.log_tail()), log: self.log.clone() }
    }

    /// Stops the server: everything is written out within some seconds, else left to the next start's recovery.
    ///
    /// # Errors
    /// When its process does not end.
    pub async fn stop(self) -> Result<(), Error> {
        for (signal, wait) in [(postmaster::FAST, STOP_FAST_MAX), (postmaster::IMMEDIATE, STOP_IMMEDIATE_MAX)] {
            if !*self.ended.borrow() {
                postmaster::signal(self.running.pid, signal);
            }
            if tokio::time::timeout(wait, self.until_ended()).await.is_ok() {
                // Made again at each start; one in the temporary directory should not stay.
                let _ = fs::remove_dir(&self.running.sockets);
                return Ok(());
            }
        }
        Err(Error::Unstoppable { pid: self.running.pid })
    }

    async fn until_ended(&self) {
        // The watcher goes away without a word only together with the runtime.
        let _ = self.ended.clone().wait_for(|ended| *ended).await;
    }

    async fn wait_until_ready(&self, data: &Path) -> Result<(), Error> {
        let began = Instant::now();
        let mut is_said = false;
        loop {
            let file = PidFile::read(data).map_err(|error| Error::at(data, &error))?;
            if file.is_some_and(|file| file.pid == self.running.pid && file.is_ready) && self.running.answers().await {
                return Ok(());
            }
            if tokio::time::timeout(LOOK_EVERY, self.until_ended()).await.is_ok() {
                return Err(self.start_failure(data));
            }
            if began.elapsed() > READY_USUAL && !is_said {
                tracing::info!("PostgreSQL is recovering from its log; waiting for it");
                is_said = true;
            }
            if began.elapsed() > READY_MAX {
                return Err(Error::Slow { waited_s: READY_MAX.as_secs(), log: self.log.clone() });
            }
        }
    }

    fn start_failure(&self, data: &Path) -> Error {
        let said = self.log_tail();
        if error::says_disk_full(&said) {
            return Error::DiskFull { path: data.to_owned() };
        }
        Error::Start { output: error::shortened(&said), log: self.log.clone() }
    }

    /// What the server has said since it was started.
    fn log_tail(&self) -> String {
        const TAIL_BYTES_MAX: u64 = 64 * 1024;
        let read = || -> std::io::Result<Vec<u8>> {
            let mut file = File::open(&self.log)?;
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(self.log_start.max(length.saturating_sub(TAIL_BYTES_MAX))))?;
            let mut text = Vec::new();
            file.take(TAIL_BYTES_MAX).read_to_end(&mut text)?;
            Ok(text)
        };
        read().map(|text| String::from_utf8_lossy(&text).into_owned()).unwrap_or_default()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if !*self.ended.borrow() {
            postmaster::signal(self.running.pid, postmaster::FAST);
        }
    }
}

/// What `postmaster.pid` names, brought to rest: a server that answers, or none at all. One that is starting up or
/// shutting down is waited for; the file of one that is gone is removed, because its process number may have gone to
/// another program and PostgreSQL would not start beside that.
async fn settle(home: &Home) -> Result<Option<PidFile>, Error> {
    let data = home.data();
    let deadline = Instant::now() + SETTLE_MAX;
    loop {
        let Some(file) = PidFile::read(&data).map_err(|error| Error::at(&data, &error))? else { return Ok(None) };
        let is_running = file.is_running(&data);
        // The sessions of a killed server end a little after it; another beside them would not start.
        if !is_running && !postmaster::has_orphans(&data) {
            if postmaster::is_taken(file.pid) {
                postmaster::forget(&data, &file).map_err(|error| Error::at(&data, &error))?;
            }
            return Ok(None);
        }
        if is_running && file.is_ready && Running::of(&file, &home.data_dir).answers().await {
            return Ok(Some(file));
        }
        if Instant::now() > deadline {
            return Err(Error::Silent { pid: file.pid, data });
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn find_programs(home: &Home, allowed: Programs) -> Result<find::Binaries, Error> {
    let programs = find::programs(allowed, initdb::major_of(&home.data()), &home.account).await?;
    tracing::debug!(postgres.version = %programs.version, folder = %programs.folder.display(), "found PostgreSQL");
    Ok(programs)
}

/// Starts the server in a process group of its own: Ctrl-C in the terminal is for us, and we stop it when everything
/// that uses it has stopped.
fn launch(home: &Home, postgres: &Path) -> Result<(u64, Child), Error> {
    let path = home.log();
    let failed = |error: std::io::Error| Error::at(&path, &error);
    if fs::metadata(&path).is_ok_and(|log| log.len() > LOG_BYTES_MAX) {
        fs::rename(&path, path.with_extension("old")).map_err(failed)?;
    }
    let log = OpenOptions::new().create(true).append(true).open(&path).map_err(failed)?;
    home.account.own(&path)?;
    let start = log.metadata().map_err(failed)?.len();
    let errors = log.try_clone().map_err(failed)?;
    let child = home
        .account
        .command(postgres)
        .arg("-D")
        .arg(home.data())
        .stdout(log)
        .stderr(errors)
        .process_group(0)
        .spawn()
        .map_err(|error| Error::Spawn { program: postgres.to_owned(), reason: error.to_string() })?;
    Ok((start, child))
}

fn watch_child(mut child: Child) -> watch::Receiver<bool> {
    let (sender, receiver) = watch::channel(false);
    tokio::spawn(async move {
        let _ = child.wait().await;
        sender.send_replace(true);
    });
    receiver
}

/// The end of a process that is not our child wakes nobody: it is looked at now and then.
fn watch_stranger(pid: u32) -> watch::Receiver<bool> {
    let (sender, receiver) = watch::channel(false);
    tokio::spawn(async move {
        while postmaster::is_alive(pid) && !sender.is_closed() {
            tokio::time::sleep(LOOK_EVERY * 5).await;
        }
        sender.send_replace(true);
    });
    receiver
}
