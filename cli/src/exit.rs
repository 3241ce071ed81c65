//! Exit codes that mean something, and the one place where a failed command says why.

use crate::{ports, postgres};
use std::io;
use std::process::ExitCode;

/// How a command ended, for scripts.
///
/// | code | meaning |
/// |---|---|
/// | 0 | done; for `audit`: everything was checked and nothing is violated |
/// | 1 | checked, and something that must hold does not |
/// | 2 | the command line or the configuration is not accepted |
/// | 3 | could not check: no verdict either way |
/// | 4 | failed: what was named is not there, or it cannot be done |
/// | 5 | in use: a port, or the data folder, belongs to another program |
/// | 6 | unavailable: a server that was named does not answer, or refuses us |
/// | 130 | interrupted |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Code {
    /// Done.
    Done = 0,
    /// Something that must hold does not.
    Violated = 1,
    /// The command line or the configuration is not accepted.
    Usage = 2,
    /// No verdict: part of what was to be checked could not be.
    Unchecked = 3,
    /// Failed, for a reason that has no code of its own.
    Failed = 4,
    /// A port or the data folder belongs to another program.
    InUse = 5,
    /// A server that was named does not answer, or refuses us.
    Unavailable = 6,
    /// Stopped by Ctrl-C before the end.
    Interrupted = 130,
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        ExitCode::from(code as u8)
    }
}

/// A failure that names its own exit code.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// The exit code.
    pub code: Code,
    /// What happened and what helps, as one sentence.
    pub message: String,
}

impl Failure {
    /// A failure with this code and sentence.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// The exit code for a failure: its own if it has one, else [`Code::Failed`].
pub fn code_of(error: &anyhow::Error) -> Code {
    for cause in error.chain() {
        if let Some(failure) = cause.downcast_ref::<Failure>() {
            return failure.code;
        }
        if let Some(error) = cause.downcast_ref::<postgres::Error>() {
            return error.code();
        }
        // Before the causes of it: a connection to a server that breaks is no reader that went away.
        if cause.downcast_ref::<sqlx::Error>().is_some_and(is_away) {
            return Code::Unavailable;
        }
        if matches!(cause.downcast_ref(), Some(event_store::Error::Failed(reason)) if reason.contains(MAY_NOT)) {
            return Code::Unavailable;
        }
        if cause.downcast_ref::<ports::Error>().is_some() {
            return Code::InUse;
        }
        // The reader of our output has seen enough (`… | head`): that is no failure.
        if cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe) {
            return Code::Done;
        }
    }
    // A server's own words, in an error that somebody else made of them.
    if error.chain().any(|cause| cause.to_string().contains("permission denied for ")) {
        return Code::Unavailable;
    }
    Code::Failed
}

/// How the event store tells that its database user may not do something.
const MAY_NOT: &str = "(42501)";

/// Whether a database does not answer, or no longer, or refuses us.
fn is_away(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed => true,
        sqlx::Error::Database(error) => {
            error.code().is_some_and(|code| code.starts_with("57P") || MAY_NOT.contains(code.as_ref()))
        }
        _ => false,
    }
}

/// Says on stderr why a command failed, and turns its end into the process's exit code.
pub fn report(ended: anyhow::Result<Code>) -> ExitCode {
    let code = match ended {
        Ok(code) => code,
        Err(error) => {
            let code = code_of(&error);
            if code != Code::Done {
                eprintln!("error: {error:#}");
            }
            code
        }
    };
    code.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn a_failure_keeps_its_code_under_added_context() {
        let error =
            Err::<(), _>(Failure::new(Code::Unchecked, "no answer")).context("auditing payments").expect_err("fails");
        assert_eq!(code_of(&error), Code::Unchecked);
        assert_eq!(format!("{error:#}"), "auditing payments: no answer");
    }

    #[test]
    fn a_closed_pipe_is_no_failure() {
        let error = anyhow::Error::from(io::Error::from(io::ErrorKind::BrokenPipe)).context("printing");
        assert_eq!(code_of(&error), Code::Done);
    }

    #[test]
    fn a_broken_connection_to_a_database_is_no_closed_pipe() {
        let broken = sqlx::Error::Io(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!(code_of(&anyhow::Error::from(broken).context("reading events")), Code::Unavailable);
    }

    #[test]
    fn anything_else_is_failed() {
        assert_eq!(code_of(&anyhow::anyhow!("lightning")), Code::Failed);
    }

    /// The table in this file, in `docs/cli.md` and in the help of all are one.
    #[test]
    fn exit_codes_are_told_as_they_are() {
        use crate::args::Args;
        use clap::CommandFactory;
        let rows = |text: &str, before: &str| -> Vec<String> {
            let lines = text.lines().filter_map(|line| line.strip_prefix(before));
            lines
                .filter(|line| line.starts_with("| ") && line.as_bytes()[2].is_ascii_digit())
                .map(str::to_owned)
                .collect()
        };
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/cli.md");
        let told = rows(&std::fs::read_to_string(page).expect("the page"), "");
        assert_eq!(rows(include_str!("exit.rs"), "/// "), told);
        let help = Args::command().render_long_help().to_string();
        let codes = [
            Code::Done,
            Code::Violated,
            Code::Usage,
            Code::Unchecked,
            Code::Failed,
            Code::InUse,
            Code::Unavailable,
            Code::Interrupted,
        ];
        assert_eq!(codes.map(|code| code as u8), [0, 1, 2, 3, 4, 5, 6, 130], "scripts go by them");
        for (code, row) in codes.iter().zip(told) {
            let number = *code as u8;
            assert!(row.starts_with(&format!("| {number} |")), "{row}");
            assert!(help.contains(&format!("{number} ")), "{number} in the help");
        }
    }
}
