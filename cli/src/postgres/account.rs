//! The operating-system user that PostgreSQL runs as. PostgreSQL refuses to run as root, so a root
//! process lends its cluster to an unprivileged user.

use super::Error;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use tokio::process::Command;

/// The users that a root process may lend its cluster to, in this order.
const CANDIDATES: [&str; 2] = ["postgres", "nobody"];

/// As whom the programs of PostgreSQL run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Account {
    /// As ourselves.
    Ours,
    /// As another user: we are root.
    Other { name: String, uid: u32, gid: u32 },
}

impl Account {
    /// Ourselves, or for root the first candidate that this machine has.
    pub(super) async fn choose() -> Result<Self, Error> {
        if effective_uid() != 0 {
            return Ok(Self::Ours);
        }
        for name in CANDIDATES {
            if let (Some(uid), Some(gid)) = (id_of("-u", name).await, id_of("-g", name).await) {
                return Ok(Self::Other { name: name.to_owned(), uid, gid });
            }
        }
        Err(Error::NoAccount)
    }

    /// The owner of files that exist already: they decide, whichever user we would choose today.
    pub(super) fn owning(uid: u32, gid: u32) -> Self {
        if uid == effective_uid() { Self::Ours } else { Self::Other { name: format!("uid {uid}"), uid, gid } }
    }

    /// A program to be run as this user: without our terminal, our `PG…` variables and our folder (which the user
    /// perhaps cannot enter), and with messages in English, because we read them.
    pub(super) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.stdin(Stdio::null()).current_dir("/").env("LC_ALL", "C");
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("PG") {
                command.env_remove(name);
            }
        }
        if let Self::Other { uid, gid, .. } = self {
            command.uid(*uid).gid(*gid);
        }
        command
    }

    /// Runs a program to its end.
    pub(super) async fn run(&self, program: &Path, arguments: &[&str]) -> Result<Output, Error> {
        self.command(program)
            .args(arguments)
            .output()
            .await
            .map_err(|error| Error::Spawn { program: program.to_owned(), reason: error.to_string() })
    }

    /// Makes this user the owner of a path that we made.
    pub(super) fn own(&self, path: &Path) -> Result<(), Error> {
        match self {
            Self::Ours => Ok(()),
            Self::Other { uid, gid, .. } => {
                std::os::unix::fs::chown(path, Some(*uid), Some(*gid)).map_err(|error| Error::at(path, &error))
            }
        }
    }

    /// The outermost folder on the way to `path`, itself included, that this user cannot enter. The user is asked
    /// by running a program as it: mode bits do not tell everything.
    pub(super) async fn blocked_at(&self, path: &Path) -> Option<PathBuf> {
        if *self == Self::Ours || self.can_enter(path).await {
            return None;
        }
        let mut ancestors: Vec<&Path> = path.ancestors().collect();
        ancestors.reverse();
        for ancestor in ancestors {
            if !self.can_enter(ancestor).await {
                return Some(ancestor.to_owned());
            }
        }
        None
    }

    /// How to call it in a sentence.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Ours => "of this process",
            Self::Other { name, .. } => name,
        }
    }

    async fn can_enter(&self, folder: &Path) -> bool {
        let asked = self.command(Path::new("test")).arg("-x").arg(folder).status().await;
        asked.is_ok_and(|status| status.success())
    }
}

/// The user whose rights this process has.
pub(super) fn effective_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Asked of `id` instead of `/etc/passwd`: users may come from a directory.
async fn id_of(flag: &str, name: &str) -> Option<u32> {
    let output = Command::new("id").args([flag, name]).stdin(Stdio::null()).output().await.ok()?;
    if !output.status.success() {
        return None;
    }
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    #[tokio::test]
    async fn the_outermost_closed_folder_is_named() {
        let account = Account::choose().await.expect("an account");
        if account == Account::Ours {
            return; // Only root lends its cluster.
        }
        let root = tempfile::tempdir().expect("a folder");
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).expect("ours");
        let closed = root.path().join("closed");
        let inner = closed.join("inner");
        fs::create_dir_all(&inner).expect("ours");
        assert_eq!(account.blocked_at(&inner).await, None);
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).expect("ours");
        assert_eq!(account.blocked_at(&inner).await, Some(closed));
    }
}
