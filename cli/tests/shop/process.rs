//! One `sagashop` process, with what it says in files.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use testkit::eventually;

use crate::PATIENCE;

pub struct Process {
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

/// The binary, with nothing of our own environment but what finds programs and caches.
pub fn sagashop() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sagashop"));
    command.env_clear().stdin(Stdio::null());
    for name in ["PATH", "HOME", "TMPDIR", "XDG_CACHE_HOME", "SAGASHOP_CACHE", "JAVA_HOME"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command
}

impl Process {
    /// Starts it; what it says is appended to `<folder>/<name>.out` and `.err`.
    pub fn start<A: AsRef<OsStr>>(
        folder: &Path,
        name: &str,
        arguments: impl IntoIterator<Item = A>,
        environment: &[(&str, &str)],
    ) -> Self {
        let (stdout, stderr) = (folder.join(format!("{name}.out")), folder.join(format!("{name}.err")));
        let file = |path: &Path| -> File {
            OpenOptions::new().create(true).append(true).open(path).expect("a file for what it says")
        };
        let mut command = sagashop();
        command.args(arguments).envs(environment.iter().copied()).stdout(file(&stdout)).stderr(file(&stderr));
        let child = command.spawn().expect("the binary starts");
        Self { child, stdout, stderr }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn stdout(&self) -> String {
        std::fs::read_to_string(&self.stdout).unwrap_or_default()
    }

    pub fn stderr(&self) -> String {
        std::fs::read_to_string(&self.stderr).unwrap_or_default()
    }

    /// The last that it said, for a failure's message.
    pub fn last_words(&self) -> String {
        let text = self.stderr();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("a process id");
        kill_process(pid, signal).expect("it runs");
    }

    /// kill -9.
    pub fn kill(mut self) {
        self.child.kill().expect("ours");
        self.child.wait().expect("ours");
    }

    pub fn has_ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("ours")
    }

    /// Waits until it has ended.
    pub async fn ended(&mut self, within: Duration) -> ExitStatus {
        eventually(within, async || self.has_ended()).await
    }

    /// Waits until it has died of SIGABRT, as it does at an armed failpoint.
    pub async fn aborted(mut self) {
        let status = self.ended(PATIENCE).await;
        assert_eq!(status.signal(), Some(Signal::ABORT.as_raw()), "{status}: {}", self.last_words());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the last words of {}:\n{}", self.stderr.display(), self.last_words());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs `sagashop audit`, which must have checked everything and found nothing.
pub async fn assert_audit_clean(data: &Path, kafka: Option<&str>) {
    assert_audit_clean_with(data, kafka, &[]).await;
}

/// The same, with this in its environment.
pub async fn assert_audit_clean_with(data: &Path, kafka: Option<&str>, environment: &[(&str, &str)]) {
    let mut command = sagashop();
    command.args(["audit", "--output", "json", "--data-dir"]).arg(data).envs(environment.iter().copied());
    if let Some(kafka) = kafka {
        command.args(["--kafka-broker", kafka]);
    }
    let audit = tokio::task::spawn_blocking(move || command.output().expect("the binary starts"));
    let audit = tokio::time::timeout(PATIENCE, audit).await.expect("the audit ends").expect("no panic");
    let said = String::from_utf8_lossy(&audit.stdout).into_owned() + &String::from_utf8_lossy(&audit.stderr);
    assert!(!said.contains("not wired yet"), "`sagashop audit` is missing: {said}");
    assert!(audit.status.success(), "the audit ended with {}: {said}", audit.status);
    let report: Value = serde_json::from_slice(&audit.stdout).expect("JSON on stdout, whatever is said on stderr");
    let checked = report["checks"].as_array().expect("checks").iter().filter_map(|check| check["checked"].as_u64());
    assert!(report["ok"] == true && checked.sum::<u64>() > 0, "{report}");
}
