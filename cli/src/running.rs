//! The shop that a command needs: the one that runs, else one of its own for the time.

use crate::args::{GlobalArgs, UpArgs};
use crate::client::{Client, Error};
use crate::exit::{Code, Failure};
use crate::ports::Role;
use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

/// What `up` prints once it is there.
const READY: &str = "Sagashop is ready";
/// A first start may fetch and initialise PostgreSQL.
const READY_MAX: Duration = Duration::from_secs(300);
/// The shop stops within 5 s; what is over that is told and left.
const STOP_MAX: Duration = Duration::from_secs(15);
/// As much of the log as is repeated when the shop does not start.
const LOG_LINES_TOLD: usize = 5;

/// A shop that answers.
pub enum Shop {
    /// Somebody else's, which goes on running after us.
    Found,
    /// A process of ours.
    Started(Box<Process>),
}

impl Shop {
    /// The shop of these arguments: found, or started.
    ///
    /// # Errors
    /// A sentence for people: the port belongs to something else, or the shop does not start.
    pub async fn find_or_start(global: &GlobalArgs, up: &UpArgs) -> anyhow::Result<(Self, Client)> {
        let client = Client::new(up.listen, up.port_offset)?;
        let port = client.address(Role::Order);
        match client.health(Role::Order).await {
            Ok(service) if service.starts_with(Role::Order.name()) => {
                eprintln!("Using the shop that runs at {port}.");
                Ok((Self::Found, client))
            }
            Err(Error::Away(_)) => {
                eprintln!("No shop runs at {port}: starting one.");
                Ok((Self::Started(Box::new(Process::start(global, up).await?)), client))
            }
            other => {
                let what = other.map_or_else(|error| error.to_string(), |service| format!("it says it is {service:?}"));
                let message = format!(
                    "something that is no healthy order service listens at {port} ({what}): \
                     stop it, or choose other ports with --port-offset"
                );
                Err(Failure::new(Code::InUse, message).into())
            }
        }
    }

    /// Ends when a shop of our own has ended by itself, with a sentence about it. Somebody else's is never watched:
    /// then this waits for ever.
    pub async fn ended(&mut self) -> String {
        match self {
            Self::Started(process) => process.ended().await,
            Self::Found => std::future::pending().await,
        }
    }

    /// Stops a shop of our own.
    ///
    /// # Errors
    /// When it does not stop.
    pub async fn stop(self) -> anyhow::Result<()> {
        match self {
            Self::Started(process) => process.stop().await,
            Self::Found => Ok(()),
        }
    }
}

/// `sagashop up` as a child. Dropped without [`stop`](Self::stop), it is told to end, and nobody waits for it.
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    async fn start(global: &GlobalArgs, up: &UpArgs) -> anyhow::Result<Self> {
        std::fs::create_dir_all(&global.data_dir)
            .with_context(|| format!("{} cannot be made", global.data_dir.display()))?;
        let log = global.data_dir.join("shop.log");
        let stderr = File::create(&log).with_context(|| format!("{} cannot be written", log.display()))?;
        let program = std::env::current_exe().context("this program does not know where it is")?;
        let mut command = Command::new(program);
        // Our flags as variables: others see a process's arguments, and some of these are secrets.
        command.arg("up").arg("--data-dir").arg(&global.data_dir).envs(global.flags.iter().cloned());
        if up.empty {
            command.arg("--empty");
        }
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stderr).spawn();
        let mut process = Self { child: child.context("the shop cannot be started")?, log };
        match tokio::time::timeout(READY_MAX, process.ready()).await {
            Ok(ready) => ready?,
            Err(_) => anyhow::bail!("the shop is not ready after {} s: {}", READY_MAX.as_secs(), process.last_words()),
        }
        Ok(process)
    }

    async fn ready(&mut self) -> anyhow::Result<()> {
        let stdout = self.child.stdout.take().context("the shop has no stdout")?;
        let mut lines = BufReader::new(stdout).lines();
        while let Some(line) = lines.next_line().await.context("the shop's stdout cannot be read")? {
            if line.starts_with(READY) {
                tokio::spawn(drain(lines));
                return Ok(());
            }
        }
        let status = self.child.wait().await.context("the shop's end is not known")?;
        let code = status.code().and_then(code).unwrap_or(Code::Failed);
        Err(Failure::new(code, format!("the shop did not start ({status}): {}", self.last_words())).into())
    }

    async fn ended(&mut self) -> String {
        let how = match self.child.wait().await {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        };
        format!("the shop that was started for this has ended ({how}); its log is {}", self.log.display())
    }

    async fn stop(mut self) -> anyhow::Result<()> {
        self.terminate();
        match tokio::time::timeout(STOP_MAX, self.child.wait()).await {
            Ok(ended) => ended.map(|_| ()).context("the shop's end is not known"),
            Err(_) => anyhow::bail!("the shop does not stop; its log is {}", self.log.display()),
        }
    }

    /// SIGTERM, and not SIGKILL: its PostgreSQL is to be stopped as well.
    fn terminate(&self) {
        let pid = self.child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        if let Some(pid) = pid {
            // It may have ended in this moment.
            let _ = kill_process(pid, Signal::TERM);
        }
    }

    fn last_words(&self) -> String {
        last_lines(&self.log).unwrap_or_else(|| format!("its log {} is empty", self.log.display()))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.terminate();
    }
}

/// Whatever it still says must not fill the pipe.
async fn drain(mut lines: Lines<BufReader<ChildStdout>>) {
    while let Ok(Some(_)) = lines.next_line().await {}
}

/// The exit code that means the same for us.
fn code(number: i32) -> Option<Code> {
    let codes = [Code::Failed, Code::InUse, Code::Unavailable, Code::Interrupted];
    codes.into_iter().find(|code| *code as i32 == number)
}

fn last_lines(log: &Path) -> Option<String> {
    let text = std::fs::read_to_string(log).ok()?;
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let told = lines[lines.len().saturating_sub(LOG_LINES_TOLD)..].join("\n");
    (!told.is_empty()).then_some(told)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_log_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("log");
        assert_eq!(last_lines(&log), None);
        std::fs::write(&log, "1\n2\n\n3\n4\n5\nerror: 6\n").expect("written");
        assert_eq!(last_lines(&log).as_deref(), Some("2\n3\n4\n5\nerror: 6"));
    }
}
