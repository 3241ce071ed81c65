//! What can go wrong with PostgreSQL, said as whole sentences that name the remedy.

use crate::exit::Code;
use std::io;
use std::path::{Path, PathBuf};

/// No PostgreSQL, and what to do about it. The text is for people, complete with the remedy.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the sentences say it")]
pub enum Error {
    #[error(
        "{} is in use by another sagashop{}: stop that one (Ctrl-C in its terminal{}), \
         or start a second shop with --data-dir <another folder> --port-offset 100",
        folder.display(),
        owner.map(|pid| format!(" (process {pid})")).unwrap_or_default(),
        owner.map(|pid| format!(", or kill {pid}")).unwrap_or_default()
    )]
    InUse { folder: PathBuf, owner: Option<u32> },

    #[error("the folder {} cannot be used: {reason}. Choose another with --data-dir", path.display())]
    Folder { path: PathBuf, reason: String },

    #[error("the disk is full ({}): free some space and start again, nothing is lost", path.display())]
    DiskFull { path: PathBuf },

    #[error(
        "{} belongs to another user (uid {owner}): it was made when sagashop ran as that user. \
         Run sagashop as that user again, or choose another folder with --data-dir",
        path.display()
    )]
    Foreign { path: PathBuf, owner: u32 },

    #[error(
        "{} is a link to {}, which is gone: bring it back, or remove the link to begin with an empty shop",
        link.display(), target.display()
    )]
    LinkGone { link: PathBuf, target: PathBuf },

    #[error(
        "PostgreSQL does not run as root, and this machine has neither a user postgres nor a user nobody: \
         run sagashop as another user, or name a server with DATABASE_URL"
    )]
    NoAccount,

    #[error(
        "PostgreSQL does not run as root, and the user {account}, as which it runs instead, cannot enter {}: \
         allow it with chmod o+x {}, or choose a folder that it can enter, such as --data-dir /var/lib/sagashop",
        blocked.display(), blocked.display()
    )]
    Unreachable { account: String, blocked: PathBuf },

    #[error(
        "no PostgreSQL {wanted} is on this machine (looked in {looked_in}): install one \
         (for example: apt-get install postgresql), or leave out SAGASHOP_POSTGRES=machine, or set DATABASE_URL"
    )]
    NotFound { wanted: String, looked_in: String },

    #[error(
        "PostgreSQL {major} could not be fetched ({reason}): connect this machine to the internet and start again, \
         or install PostgreSQL {} or newer (for example: apt-get install postgresql), or set DATABASE_URL",
        super::MAJOR_MIN
    )]
    Fetch { major: u32, reason: String },

    #[error("initdb could not make a database cluster in {}: {output}", path.display())]
    Initdb { path: PathBuf, output: String },

    #[error("{} could not be started: {reason}", program.display())]
    Spawn { program: PathBuf, reason: String },

    #[error("PostgreSQL did not start: {output}. Its log is {}", log.display())]
    Start { output: String, log: PathBuf },

    #[error(
        "PostgreSQL is not ready after {waited_s} s; its log is {}. \
         After a crash with much to recover, starting again goes on where this stopped",
        log.display()
    )]
    Slow { waited_s: u64, log: PathBuf },

    #[error(
        "a PostgreSQL (process {pid}) already runs on {} and does not answer: stop it (kill -INT {pid}) and start again",
        data.display()
    )]
    Silent { pid: u32, data: PathBuf },

    #[error("PostgreSQL ended while the shop was running: {output}. Start again: nothing is lost. Its log is {}", log.display())]
    Ended { output: String, log: PathBuf },

    #[error("PostgreSQL (process {pid}) could not be stopped: kill -QUIT {pid}")]
    Unstoppable { pid: u32 },

    #[error(
        "{server} does not answer ({reason}): is it running, and are host and port right (DATABASE_URL, or DB_HOST and DB_PORT)?"
    )]
    NoAnswer { server: String, reason: String },

    #[error(
        "{server} refuses user {user} ({reason}): check user and password (DATABASE_URL, or DB_USER and DB_PASSWORD)"
    )]
    Refused { server: String, user: String, reason: String },

    #[error("{server} has no connection free ({reason}): raise its max_connections, or close other programs")]
    Crowded { server: String, reason: String },

    #[error("{server} is version {version}; the shop needs {} or newer", super::MAJOR_MIN)]
    TooOld { server: String, version: String },

    #[error(
        "{server} does not let this user create the database {database}: \
         have its administrator run CREATE DATABASE {database}, or ALTER ROLE … CREATEDB"
    )]
    MayNotCreate { server: String, database: String },

    #[error("{0}")]
    Setting(String),

    #[error("{server}: {reason}")]
    Query { server: String, reason: String },
}

impl Error {
    /// The exit code that tells scripts what kind of trouble it is.
    pub fn code(&self) -> Code {
        match self {
            Self::InUse { .. } => Code::InUse,
            Self::NoAnswer { .. } | Self::Refused { .. } | Self::Crowded { .. } | Self::TooOld { .. } => {
                Code::Unavailable
            }
            Self::Setting(_) => Code::Usage,
            _ => Code::Failed,
        }
    }

    /// A failure at a path of ours; a full disk is called by its name.
    pub(super) fn at(path: &Path, error: &io::Error) -> Self {
        let path = path.to_owned();
        if error.kind() == io::ErrorKind::StorageFull {
            return Self::DiskFull { path };
        }
        Self::Folder { path, reason: error.to_string() }
    }

    /// A statement that failed on a server that could be reached.
    pub(super) fn query(server: &str, error: &sqlx::Error) -> Self {
        if has_code(error, &["53100"]) {
            return Self::DiskFull { path: PathBuf::from(server) };
        }
        Self::Query { server: server.to_owned(), reason: message(error) }
    }
}

/// Whether the server answered with one of these SQLSTATE codes.
pub(super) fn has_code(error: &sqlx::Error, codes: &[&str]) -> bool {
    error.as_database_error().and_then(|error| error.code()).is_some_and(|code| codes.contains(&code.as_ref()))
}

/// The server's own words where there are any.
pub(super) fn message(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(error) => error.message().to_owned(),
        sqlx::Error::Io(error) => error.to_string(),
        other => other.to_string(),
    }
}

/// Whether a program's output says that the disk is full.
pub(super) fn says_disk_full(output: &str) -> bool {
    output.contains("No space left on device") || output.contains("Disk quota exceeded")
}

/// The last lines of a program's output that say something, as one sentence.
pub(super) fn shortened(output: &str) -> String {
    const LINES_MAX: usize = 3;
    let lines: Vec<&str> = output
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .filter(|line| !line.starts_with("initdb: removing") && !line.starts_with("initdb: hint"))
        .collect();
    let telling: Vec<&str> = lines
        .iter()
        .copied()
        .filter(|line| ["error", "fatal", "panic"].iter().any(|w| line.to_lowercase().contains(w)))
        .collect();
    let chosen = if telling.is_empty() { lines } else { telling };
    match chosen.len() {
        0 => "it said nothing".to_owned(),
        count => chosen[count.saturating_sub(LINES_MAX)..].join(" / "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_shortened_to_the_lines_that_tell_why() {
        let output = "The files belonging to this database system will be owned by user \"x\".\n\n\
            creating directory /d ... initdb: error: could not create directory \"/d\": Permission denied\n\
            initdb: removing data directory \"/d\"\n";
        let text = shortened(output);
        assert!(text.ends_with("could not create directory \"/d\": Permission denied"), "{text}");
        assert!(!text.contains("will be owned"), "{text}");
        assert_eq!(shortened("\n \n"), "it said nothing");
    }

    #[test]
    fn a_full_disk_is_called_by_its_name() {
        let error = Error::at(Path::new("/d"), &io::Error::from(io::ErrorKind::StorageFull));
        assert!(error.to_string().starts_with("the disk is full (/d)"), "{error}");
    }

    #[test]
    fn the_folder_in_use_names_its_owner() {
        let error = Error::InUse { folder: ".sagashop".into(), owner: Some(77) };
        assert!(error.to_string().contains("another sagashop (process 77)"), "{error}");
        assert!(error.to_string().contains("kill 77"), "{error}");
        assert_eq!(error.code(), Code::InUse);
    }
}
