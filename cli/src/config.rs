//! The configuration: a flag before the environment, the environment before the file, the file before the default.
//!
//! What can be set is defined once, by the flags that have a variable ([`crate::args`]). The file names a setting by its
//! flag: `kafka_broker` is `--kafka-broker`; a table is the beginning of a name (`[kafka] broker`), or a command for
//! which alone it counts (`[serve]`, `[serve.order]`). Secrets may also stand in files of their own: `INTERNAL_TOKEN_FILE`
//! names the one for `INTERNAL_TOKEN`.

mod commands;
mod file;
mod known;
mod layers;
mod production;
mod secret;

pub use commands::{check, show};
pub(crate) use known::nearest;
pub use layers::{Effective, Loaded, Source, load};
pub use production::{Fault, faults};
pub use secret::from_environment as secret_from_environment;

use crate::exit::{Code, Failure};
use std::process::ExitCode;

/// Why there is no configuration.
#[derive(Debug)]
pub enum Error {
    /// The command line is not understood, or asks for help.
    CommandLine(Box<clap::Error>),
    /// The file, or a variable, is not; every fault has its line.
    Settings(Vec<String>),
}

impl Error {
    /// Says it, and gives the exit code for it.
    pub fn report(self) -> ExitCode {
        match self {
            Self::CommandLine(error) => {
                // Where it cannot be said, the exit code still says it.
                let _ = error.print();
                ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(Code::Usage as u8))
            }
            settings => crate::exit::report(Err(settings.into_failure())),
        }
    }

    fn into_failure(self) -> anyhow::Error {
        let text = match self {
            Self::CommandLine(error) => error.to_string().trim_start_matches("error: ").trim_end().to_owned(),
            Self::Settings(faults) => list("the configuration is not accepted", &faults),
        };
        Failure::new(Code::Usage, text).into()
    }
}

/// A headline and its faults, a line each.
fn list(headline: &str, faults: &[String]) -> String {
    faults.iter().fold(format!("{headline}:"), |text, fault| format!("{text}\n  {fault}"))
}

/// Refuses what a production must not run with.
///
/// # Errors
/// All faults at once.
pub fn accept(args: &crate::args::Args) -> anyhow::Result<()> {
    let faults: Vec<String> = faults(args).iter().map(ToString::to_string).collect();
    refuse(&faults)
}

fn refuse(faults: &[String]) -> anyhow::Result<()> {
    if faults.is_empty() {
        return Ok(());
    }
    Err(Failure::new(Code::Usage, list("this is not fit for production, and does not start", faults)).into())
}
