//! What processes use, from `/proc`. Where there is none, nothing is known, and nothing is claimed.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// Of a second; the same on every Linux, whatever the kernel's own ticks are.
const TICKS_PER_S: u64 = 100;
/// TCP's state "listen".
const LISTEN: &str = "0A";

/// The processes that listen on any of these ports.
pub(super) fn listening(ports: &[u16]) -> Vec<u32> {
    let sockets: BTreeSet<String> =
        ["/proc/net/tcp", "/proc/net/tcp6"].iter().flat_map(|table| sockets(table, ports)).collect();
    if sockets.is_empty() {
        return Vec::new();
    }
    processes().filter(|pid| holds_any(*pid, &sockets)).collect()
}

/// The parent of a process, if the process's name is that.
pub(super) fn parent_of(pid: u32, name: &str) -> Option<u32> {
    let stat = Stat::of(pid)?;
    (stat.name == name).then_some(stat.parent)
}

/// Processor time that these processes have used; none when one of them is not known.
pub(super) fn cpu(pids: &[u32]) -> Option<Duration> {
    if pids.is_empty() {
        return None;
    }
    pids.iter().map(|pid| Stat::of(*pid).map(|stat| stat.own)).sum()
}

/// Processor time of a process, of its children, and of those that it had.
pub(super) fn cpu_of_family(pid: u32) -> Option<Duration> {
    let head = Stat::of(pid)?;
    let children = processes().filter_map(Stat::of).filter(|stat| stat.parent == pid);
    Some(head.own + head.of_ended_children + children.map(|stat| stat.own).sum::<Duration>())
}

/// Resident memory of these processes.
pub(super) fn resident_bytes(pids: &[u32]) -> Option<u64> {
    if pids.is_empty() {
        return None;
    }
    pids.iter().map(|pid| resident(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?)).sum()
}

/// The interesting part of `/proc/<pid>/stat`.
#[derive(Debug, PartialEq)]
struct Stat {
    name: String,
    parent: u32,
    own: Duration,
    of_ended_children: Duration,
}

impl Stat {
    fn of(pid: u32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        // The name stands in parentheses and may itself hold some.
        let (before, after) = text.rsplit_once(')')?;
        let fields: Vec<&str> = after.split_whitespace().collect();
        let ticks = |n: usize| fields.get(n)?.parse::<u64>().ok();
        let time = |a: u64, b: u64| Duration::from_millis((a + b) * 1_000 / TICKS_PER_S);
        Some(Self {
            name: before.split_once('(')?.1.to_owned(),
            parent: fields.get(1)?.parse().ok()?,
            own: time(ticks(11)?, ticks(12)?),
            of_ended_children: time(ticks(13)?, ticks(14)?),
        })
    }
}

fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1_024)
}

fn processes() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// The sockets that listen on these ports, as a process's open files name them.
fn sockets(table: &str, ports: &[u16]) -> Vec<String> {
    let text = fs::read_to_string(table).unwrap_or_default();
    text.lines().skip(1).filter_map(|line| socket(line, ports)).collect()
}

fn socket(line: &str, ports: &[u16]) -> Option<String> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let port = u16::from_str_radix(fields.get(1)?.rsplit_once(':')?.1, 16).ok()?;
    let listens = *fields.get(3)? == LISTEN && ports.contains(&port);
    listens.then(|| fields.get(9).map(|inode| format!("socket:[{inode}]")))?
}

fn holds_any(pid: u32, sockets: &BTreeSet<String>) -> bool {
    let files = fs::read_dir(Path::new("/proc").join(pid.to_string()).join("fd"));
    let mut targets = files.into_iter().flatten().flatten().filter_map(|file| fs::read_link(file.path()).ok());
    targets.any(|target| target.to_str().is_some_and(|target| sockets.contains(target)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_whatever_the_name() {
        let text = "42 (a (b) c) S 7 42 42 0 -1 4194560 1 2 3 4 150 50 10 20 20 0 1 0 100 1 1";
        let expected = Stat {
            name: "a (b) c".to_owned(),
            parent: 7,
            own: Duration::from_secs(2),
            of_ended_children: Duration::from_millis(300),
        };
        assert_eq!(Stat::parse(text), Some(expected));
        assert_eq!(Stat::parse("42 (a"), None);
    }

    #[test]
    fn memory_is_read_in_bytes() {
        assert_eq!(resident("Name:\ta\nVmRSS:\t    2048 kB\n"), Some(2_097_152));
        assert_eq!(resident("Name:\ta\n"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_listener_is_found_by_its_port() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        assert_eq!(listening(&[port]), [std::process::id()]);
        assert!(cpu(&[std::process::id()]).is_some());
        assert!(resident_bytes(&[std::process::id()]).is_some_and(|bytes| bytes > 1_000_000));
    }
}
