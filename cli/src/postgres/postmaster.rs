//! What `postmaster.pid` says about a cluster's server, and whether that is still true.

use rustix::process::{Pid, Signal};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The fast shutdown: sessions are ended, everything is written.
pub(super) const FAST: Signal = Signal::INT;
/// The immediate one: the next start recovers from the log. Nothing that was committed is lost.
pub(super) const IMMEDIATE: Signal = Signal::QUIT;

/// The server that a data directory's `postmaster.pid` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PidFile {
    pub(super) pid: u32,
    pub(super) port: u16,
    pub(super) sockets: PathBuf,
    pub(super) is_ready: bool,
}

impl PidFile {
    /// Reads it; `None` when there is none, or one that is only half written.
    pub(super) fn read(data: &Path) -> io::Result<Option<Self>> {
        match fs::read_to_string(path(data)) {
            Ok(text) => Ok(Self::parse(&text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Its lines: pid, data directory, start time, port, socket folder, TCP address, shared memory, state.
    fn parse(text: &str) -> Option<Self> {
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        // Before the server listens, only the first lines are there.
        let sockets = lines.get(4).copied().unwrap_or_default();
        Some(Self {
            pid: lines.first()?.parse().ok()?,
            port: lines.get(3).and_then(|port| port.parse().ok()).unwrap_or_default(),
            sockets: PathBuf::from(sockets),
            is_ready: !sockets.is_empty() && lines.get(7).is_some_and(|state| *state == "ready"),
        })
    }

    /// Whether the process is really the server of this data directory: after a crash of the machine its number may
    /// belong to anything.
    pub(super) fn is_running(&self, data: &Path) -> bool {
        is_alive(self.pid) && is_postmaster(self.pid, data)
    }
}

/// Removes the files of a server that is known to be gone: its own, and the lock of its socket.
pub(super) fn forget(data: &Path, file: &PidFile) -> io::Result<()> {
    let lock = file.sockets.join(format!(".s.PGSQL.{}.lock", file.port));
    let names_it = |text: String| text.lines().next().is_some_and(|line| line.trim() == file.pid.to_string());
    if fs::read_to_string(&lock).is_ok_and(names_it) {
        fs::remove_file(&lock)?;
    }
    fs::remove_file(path(data))
}

fn path(data: &Path) -> PathBuf {
    data.join("postmaster.pid")
}

/// Sends a signal; a process that is gone has nothing to be told.
pub(super) fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = to_pid(pid) {
        let _ = rustix::process::kill_process(pid, signal);
    }
}

/// Whether the number is some process's, be it one that has ended and that nobody has waited for: PostgreSQL does not
/// start beside either.
pub(super) fn is_taken(pid: u32) -> bool {
    to_pid(pid).is_some_and(|pid| rustix::process::test_kill_process(pid) != Err(rustix::io::Errno::SRCH))
}

/// Whether processes of a server still run in this data directory. Where that cannot be seen, none do.
pub(super) fn has_orphans(data: &Path) -> bool {
    let (Ok(data), Ok(processes)) = (data.canonicalize(), fs::read_dir("/proc")) else { return false };
    let pids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|folder| folder == data))
        .any(|pid| stat(pid).is_some_and(|(name, state)| name == "postgres" && !matches!(state, 'Z' | 'X')))
}

/// Whether a process runs. One that has ended and that nobody has waited for does not: where process 1
/// does not reap orphans, those stay for ever.
pub(super) fn is_alive(pid: u32) -> bool {
    is_taken(pid) && !matches!(stat(pid), Some((_, 'Z' | 'X')))
}

fn to_pid(pid: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(pid).ok()?)
}

fn is_postmaster(pid: u32, data: &Path) -> bool {
    let Some((name, _)) = stat(pid) else { return false };
    if !["postgres", "postmaster"].contains(&name.as_str()) {
        return false;
    }
    // A server works in its data directory. Where that cannot be seen, the name has to do.
    match fs::read_link(format!("/proc/{pid}/cwd")) {
        Ok(folder) => data.canonicalize().is_ok_and(|data| data == folder),
        Err(_) => true,
    }
}

/// A process's program name and its state letter.
fn stat(pid: u32) -> Option<(String, char)> {
    if cfg!(target_os = "linux") {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name stands in parentheses and may itself hold any of them.
        let (start, end) = (text.find('(')?, text.rfind(')')?);
        return Some((text.get(start + 1..end)?.to_owned(), text.get(end + 1..)?.trim_start().chars().next()?));
    }
    let output = std::process::Command::new("ps").args(["-o", "stat=,comm=", "-p", &pid.to_string()]).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let (state, command) = text.trim().split_once(char::is_whitespace)?;
    let name = Path::new(command.trim()).file_name()?.to_string_lossy().into_owned();
    Some((name, state.chars().next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ready_server_is_read_with_its_sockets() {
        let text = "4711\n/d/data\n1700000000\n5432\n/d/run\n\n  123   456\nready   \n";
        let expected = PidFile { pid: 4711, port: 5432, sockets: PathBuf::from("/d/run"), is_ready: true };
        assert_eq!(PidFile::parse(text), Some(expected));
    }

    #[test]
    fn a_half_written_file_is_not_ready() {
        assert_eq!(PidFile::parse(""), None);
        let early = PidFile::parse("4711\n/d/data\n1700000000\n5432\n").expect("a pid");
        assert!(!early.is_ready);
    }

    #[test]
    fn our_own_process_is_alive_and_no_postmaster() {
        let pid = std::process::id();
        assert!(is_alive(pid));
        assert!(!is_postmaster(pid, Path::new("/")));
    }

    #[test]
    fn an_ended_process_that_nobody_waited_for_is_not_alive() {
        let mut child = std::process::Command::new("true").spawn().expect("true runs");
        let pid = child.id();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while is_alive(pid) {
            assert!(std::time::Instant::now() < deadline, "true did not end");
            std::thread::yield_now();
        }
        child.wait().expect("ours");
        assert!(!is_alive(pid));
    }
}
