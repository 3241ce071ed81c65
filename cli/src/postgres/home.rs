//! Where a private cluster lives: its folders, their owner, and the lock that makes one process their master.
//!
//! ```text
//! <data-dir>/postgres/        0700, of the user that PostgreSQL runs as
//!     data/                   the cluster
//!     run/                    the socket
//!     log                     what the server says
//!     lock                    held by the sagashop process that owns the cluster; names it
//! ```
//!
//! Started by root in a folder that no other user can enter (`/root/…`), `postgres` is a link to a folder under
//! `/var/lib/sagashop` instead. The link is what counts: without it the shop begins empty.

use super::account::{self, Account};
use super::{Error, settings};
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The longest path that a socket address holds.
const SOCKET_PATH_BYTES_MAX: usize = if cfg!(target_os = "linux") { 107 } else { 103 };
/// Where root's clusters go when their own place is closed to the user that runs them.
const ELSEWHERE: &str = "/var/lib/sagashop";

/// The folders of one private cluster.
#[derive(Clone, Debug)]
pub(super) struct Home {
    /// The data folder as the user knows it.
    pub(super) data_dir: PathBuf,
    pub(super) account: Account,
    /// Where the files really are.
    root: PathBuf,
}

impl Home {
    /// The home under this data folder if there is one.
    pub(super) fn existing(data_dir: &Path) -> Result<Option<Self>, Error> {
        let link = link_in(data_dir)?;
        let Ok(entry) = fs::symlink_metadata(&link) else { return Ok(None) };
        let root = match link.canonicalize() {
            Ok(root) => root,
            Err(_) if entry.is_symlink() => {
                return Err(Error::LinkGone { target: fs::read_link(&link).unwrap_or_default(), link });
            }
            Err(error) => return Err(Error::at(&link, &error)),
        };
        let found = fs::metadata(&root).map_err(|error| Error::at(&root, &error))?;
        let us = account::effective_uid();
        if us != 0 && found.uid() != us {
            return Err(Error::Foreign { path: link, owner: found.uid() });
        }
        let account = Account::owning(found.uid(), found.gid());
        Ok(Some(Self { data_dir: data_dir.to_owned(), account, root }))
    }

    /// The home under this data folder, made if there is none.
    pub(super) async fn prepare(data_dir: &Path) -> Result<Self, Error> {
        if let Some(mut home) = Self::existing(data_dir)? {
            // Made by root itself, or by a run that was killed before it gave the folder away.
            if home.account == Account::Ours && account::effective_uid() == 0 {
                home.account = Account::choose().await?;
                home.give_away()?;
            }
            return match home.account.blocked_at(&home.root).await {
                None => Ok(home),
                Some(blocked) => Err(Error::Unreachable { account: home.account.name().to_owned(), blocked }),
            };
        }
        let link = link_in(data_dir)?;
        let folder = link.parent().unwrap_or(Path::new("/"));
        if !folder.is_dir() {
            make(folder, 0o755)?;
        }
        let account = Account::choose().await?;
        let blocked = account.blocked_at(folder).await;
        let root = match &blocked {
            None => link.clone(),
            Some(blocked) => elsewhere(&link, blocked, &account).await?,
        };
        make(&root, 0o700)?;
        let root = root.canonicalize().map_err(|error| Error::at(&root, &error))?;
        let home = Self { data_dir: data_dir.to_owned(), account, root };
        home.give_away()?;
        if blocked.is_some() {
            // Last: the link is what counts, and what it leads to is complete.
            std::os::unix::fs::symlink(&home.root, &link).map_err(|error| Error::at(&link, &error))?;
        }
        Ok(home)
    }

    fn give_away(&self) -> Result<(), Error> {
        fs::set_permissions(&self.root, Permissions::from_mode(0o700))
            .map_err(|error| Error::at(&self.root, &error))?;
        self.account.own(&self.root)
    }

    /// The cluster's data directory.
    pub(super) fn data(&self) -> PathBuf {
        self.root.join("data")
    }

    /// What the server says.
    pub(super) fn log(&self) -> PathBuf {
        self.root.join("log")
    }

    /// Puts a folder that is complete in its place, durably.
    pub(super) fn settle(&self, fresh: &Path, place: &Path) -> Result<(), Error> {
        fs::rename(fresh, place)
            .and_then(|()| File::open(&self.root)?.sync_all())
            .map_err(|error| Error::at(place, &error))
    }

    /// An empty folder of this name, made for the cluster's user.
    pub(super) fn fresh(&self, name: &str) -> Result<PathBuf, Error> {
        let path = self.root.join(name);
        if path.exists() {
            fs::remove_dir_all(&path).map_err(|error| Error::at(&path, &error))?;
        }
        make(&path, 0o700)?;
        self.account.own(&path)?;
        Ok(path)
    }

    /// The folder for the socket. An address holds about a hundred bytes: where the path is longer, a folder in the
    /// temporary directory has to do, named after the home.
    pub(super) fn sockets(&self) -> Result<PathBuf, Error> {
        let inside = self.root.join("run");
        let folder = if fits(&inside) {
            inside
        } else {
            let mut hasher = DefaultHasher::new();
            self.root.hash(&mut hasher);
            let name = format!("sagashop-{:016x}", hasher.finish());
            let temporary = std::env::temp_dir().join(&name);
            let folder = if fits(&temporary) { temporary } else { Path::new("/tmp").join(&name) };
            tracing::info!(
                folder = %folder.display(),
                "the data folder's path is too long for a socket, which goes into the temporary directory instead"
            );
            folder
        };
        if !folder.is_dir() {
            make(&folder, 0o700)?;
            self.account.own(&folder)?;
        }
        // Whoever owns the folder can let others connect; in the temporary directory anybody could have made it.
        let found = fs::symlink_metadata(&folder).map_err(|error| Error::at(&folder, &error))?;
        let owner = fs::metadata(&self.root).map_err(|error| Error::at(&self.root, &error))?.uid();
        if !found.is_dir() || found.uid() != owner || found.mode() & 0o077 != 0 {
            return Err(Error::Foreign { path: folder, owner: found.uid() });
        }
        Ok(folder)
    }

    /// Makes this process the master of the cluster for as long as it keeps the file open, even if it is killed.
    pub(super) fn lock(&self) -> Result<File, Error> {
        let path = self.root.join("lock");
        let failed = |error: std::io::Error| Error::at(&path, &error);
        let mut options = OpenOptions::new();
        let mut file = options.read(true).write(true).create(true).truncate(false).open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut owner = String::new();
                let _ = file.read_to_string(&mut owner);
                return Err(Error::InUse { folder: self.data_dir.clone(), owner: owner.trim().parse().ok() });
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        file.set_len(0).map_err(failed)?;
        file.rewind().map_err(failed)?;
        writeln!(file, "{}", std::process::id()).map_err(failed)?;
        Ok(file)
    }
}

fn fits(folder: &Path) -> bool {
    let socket = folder.join(format!(".s.PGSQL.{}", settings::PORT));
    socket.as_os_str().len() <= SOCKET_PATH_BYTES_MAX
}

fn link_in(data_dir: &Path) -> Result<PathBuf, Error> {
    let absolute = std::path::absolute(data_dir).map_err(|error| Error::at(data_dir, &error))?;
    Ok(absolute.join("postgres"))
}

fn make(path: &Path, mode: u32) -> Result<(), Error> {
    DirBuilder::new().recursive(true).mode(mode).create(path).map_err(|error| Error::at(path, &error))?;
    // The mode given above went through the umask.
    fs::set_permissions(path, Permissions::from_mode(mode)).map_err(|error| Error::at(path, &error))
}

/// A place that the cluster's user can enter; a link to it goes where the cluster would have been.
async fn elsewhere(link: &Path, blocked: &Path, account: &Account) -> Result<PathBuf, Error> {
    let parent = Path::new(ELSEWHERE);
    make(parent, 0o755)?;
    if account.blocked_at(parent).await.is_some() {
        return Err(Error::Unreachable { account: account.name().to_owned(), blocked: blocked.to_owned() });
    }
    // The moment is part of the name: who removes the link wants an empty shop, not the old cluster.
    let mut hasher = DefaultHasher::new();
    (link, SystemTime::now()).hash(&mut hasher);
    let root = parent.join(format!("{:016x}", hasher.finish()));
    tracing::warn!(
        cluster = %root.display(),
        link = %link.display(),
        "the user {} cannot enter {}, so the database lives elsewhere, behind a link",
        account.name(),
        blocked.display()
    );
    Ok(root)
}
