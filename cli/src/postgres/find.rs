//! PostgreSQL's programs on this machine.

use super::account::Account;
use super::{Error, MAJOR_MIN, fetch};
use std::path::{Path, PathBuf};

/// Where the programs of a private cluster may come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Programs {
    /// From the machine, else fetched.
    #[default]
    #[value(name = "auto")]
    Any,
    /// From the machine only.
    Machine,
    /// Fetched (once, into the user's cache), whatever the machine has.
    Download,
}

/// A folder with `initdb` and `postgres` that can be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Binaries {
    pub(super) folder: PathBuf,
    pub(super) major: u32,
    /// As the program says it: `15.18`.
    pub(super) version: String,
}

impl Binaries {
    pub(super) fn initdb(&self) -> PathBuf {
        self.folder.join("initdb")
    }

    pub(super) fn postgres(&self) -> PathBuf {
        self.folder.join("postgres")
    }

    /// The programs in this folder, if this user can run them.
    pub(super) async fn at(folder: &Path, account: &Account) -> Option<Self> {
        // The server finds its libraries from where it really is.
        let folder = folder.join("postgres").canonicalize().ok()?.parent()?.to_owned();
        if !folder.join("initdb").is_file() {
            return None;
        }
        let output = account.run(&folder.join("postgres"), &["--version"]).await.ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        let (major, version) = parse_version(&text)?;
        Some(Self { folder, major, version })
    }
}

/// The programs for a cluster: of exactly this major version when the cluster exists (the files of one are
/// unreadable to another), else of any from [`MAJOR_MIN`] on.
pub(super) async fn programs(allowed: Programs, wanted: Option<u32>, account: &Account) -> Result<Binaries, Error> {
    if allowed != Programs::Download
        && let Some(found) = on_machine(wanted, account).await
    {
        return Ok(found);
    }
    if allowed == Programs::Machine {
        let wanted = wanted.map_or_else(|| format!("{MAJOR_MIN} or newer"), |major| major.to_string());
        let looked_in = format!("PATH, {}", PLACES.join(", "));
        return Err(Error::NotFound { wanted, looked_in });
    }
    fetch::programs(wanted.unwrap_or(fetch::MAJOR), account).await
}

/// Where installers put it beside PATH; `*` stands for one path segment.
const PLACES: [&str; 7] = [
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",
    "/home/linuxbrew/.linuxbrew/opt/postgresql@*/bin",
    "/usr/local/pgsql/bin",
    "/Applications/Postgres.app/Contents/Versions/*/bin",
];

/// What PATH offers first, else the newest.
async fn on_machine(wanted: Option<u32>, account: &Account) -> Option<Binaries> {
    let fits = |found: &Binaries| wanted.map_or(found.major >= MAJOR_MIN, |major| found.major == major);
    let path = std::env::var_os("PATH").unwrap_or_default();
    for folder in std::env::split_paths(&path).filter(|folder| folder.is_absolute()) {
        if let Some(found) = Binaries::at(&folder, account).await.filter(fits) {
            return Some(found);
        }
    }
    let mut newest: Option<Binaries> = None;
    for folder in PLACES.iter().flat_map(|place| expand(place)) {
        if let Some(found) = Binaries::at(&folder, account).await.filter(fits)
            && newest.as_ref().is_none_or(|newest| found.major > newest.major)
        {
            newest = Some(found);
        }
    }
    newest
}

/// The folders that a place with one `*` stands for.
fn expand(place: &str) -> Vec<PathBuf> {
    let Some((before, after)) = place.split_once('*') else { return vec![PathBuf::from(place)] };
    let (parent, prefix) = before.rsplit_once('/').unwrap_or(("", before));
    let Ok(entries) = std::fs::read_dir(parent) else { return Vec::new() };
    entries
        .filter_map(Result::ok)
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
        .map(|entry| entry.path().join(after.trim_start_matches('/')))
        .collect()
}

/// From `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`: 15 and `15.18`. A beta's `18beta2` is 18.
fn parse_version(text: &str) -> Option<(u32, String)> {
    let version = text.split("(PostgreSQL)").nth(1)?.split_whitespace().next()?;
    let digits = version.split(|letter: char| !letter.is_ascii_digit()).next()?;
    Some((digits.parse().ok()?, version.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_the_program_says_them() {
        let debian = "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n";
        assert_eq!(parse_version(debian), Some((15, "15.18".to_owned())));
        assert_eq!(parse_version("postgres (PostgreSQL) 18beta2\n"), Some((18, "18beta2".to_owned())));
        assert_eq!(parse_version("bash: postgres: not found"), None);
    }

    #[test]
    fn a_star_stands_for_one_segment() {
        let root = tempfile::tempdir().expect("a folder");
        for folder in ["pg-15/bin", "pg-16/bin", "other/bin"] {
            std::fs::create_dir_all(root.path().join(folder)).expect("ours");
        }
        let mut found = expand(&format!("{}/pg-*/bin", root.path().display()));
        found.sort();
        assert_eq!(found, [root.path().join("pg-15/bin"), root.path().join("pg-16/bin")]);
    }

    #[tokio::test]
    async fn a_folder_without_programs_is_passed_over() {
        let empty = tempfile::tempdir().expect("a folder");
        assert_eq!(Binaries::at(empty.path(), &Account::Ours).await, None);
    }
}
