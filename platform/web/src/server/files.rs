//! Open files: each connection is one.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::process::{Resource, getrlimit, setrlimit};

/// So many are kept for all else: databases, brokers, logs.
const RESERVED: u64 = 512;

/// Connections that the limit of open files has room for.
static ROOM: LazyLock<usize> = LazyLock::new(|| {
    let open = raise();
    usize::try_from(open.saturating_sub(RESERVED.min(open / 2))).unwrap_or(usize::MAX)
});
/// Connections of all servers of the process.
static OPEN: AtomicUsize = AtomicUsize::new(0);

/// Raises the process' own limit of open files to what it may have; 10,000 idle connections are nothing special.
fn raise() -> u64 {
    let mut limit = getrlimit(Resource::Nofile);
    let before = limit.current;
    limit.current = limit.maximum;
    match setrlimit(Resource::Nofile, limit) {
        Ok(()) => limit.current.unwrap_or(u64::MAX),
        Err(error) => {
            tracing::warn!(%error, "the limit of open files could not be raised");
            before.unwrap_or(u64::MAX)
        }
    }
}

/// A connection's share of the open files, until it is dropped.
pub(crate) struct File(());

impl File {
    /// `None` where there is no room for another.
    pub fn take() -> Option<Self> {
        let file = Self(());
        (OPEN.fetch_add(1, Ordering::Relaxed) < *ROOM).then_some(file)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        OPEN.fetch_sub(1, Ordering::Relaxed);
    }
}
