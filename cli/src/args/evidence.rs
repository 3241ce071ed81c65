//! The flags of what proves a shop's promises: the audit, and what it needs beforehand.

use super::{DatabaseArgs, ProviderArgs, ServerArgs, values};
use crate::audit::Since;
use event_store::HashChain;
use std::path::PathBuf;
use std::time::Duration;

/// What proves that nothing was changed, of a shop that runs.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Evidence")]
pub struct EvidenceArgs {
    /// Chain each event to the one before it in its stream, by a hash: `sagashop audit --chain` then finds what was changed
    /// afterwards. All instances of a role must agree.
    #[arg(long, env = "HASH_CHAIN")]
    pub hash_chain: bool,
    /// Audit the shop so often, such as 1h (orchestrator); its metrics tell the outcome. One instance does it at a time.
    #[arg(long, value_name = "TIME", env = "AUDIT_EVERY", value_parser = audit_interval)]
    pub audit_every: Option<Duration>,
    /// Where that audit reads the databases of all roles, if the orchestrator's own user may not: a user who may read is
    /// enough.
    #[arg(long, value_name = "URL", env = "AUDIT_DATABASE_URL", hide_env_values = true)]
    pub audit_database_url: Option<String>,
}

impl EvidenceArgs {
    /// Whether the shop's stores chain.
    pub fn hash_chain(&self) -> HashChain {
        if self.hash_chain { HashChain::On } else { HashChain::Off }
    }
}

/// More often it would do nothing else.
const AUDIT_EVERY_MIN: Duration = Duration::from_secs(1);

fn audit_interval(text: &str) -> Result<Duration, String> {
    let every = values::duration(text)?;
    if every < AUDIT_EVERY_MIN { Err("expected 1s or more".to_owned()) } else { Ok(every) }
}

/// `sagashop audit`.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(after_help = AUDIT_HELP)]
pub struct AuditArgs {
    /// Only what has happened since: a time, or a position in the stores' event tables. Each stream that has an event since
    /// then is looked at whole, and so is each order that has to do with one.
    #[arg(long, value_name = "TIME|POSITION", allow_hyphen_values = true)]
    pub since: Option<Since>,
    /// The same from where the last audit with this file ended; it is written anew when nothing is violated. Without the
    /// file, everything.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["since", "chain"])]
    pub mark: Option<PathBuf>,
    /// How many parts of the stores are read at once; 2 for each processor when not given, at most 16.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=64))]
    pub parallel: Option<u8>,
    /// Instead: verify the hash chains of all streams, and name the first broken event of each. See HASH_CHAIN.
    #[arg(long)]
    pub chain: bool,
    /// Compare with the ends of all streams as they were written into this file: what was taken from a stream's end is seen
    /// in no chain.
    #[arg(long, value_name = "FILE", requires = "chain")]
    pub heads: Option<PathBuf>,
    /// Write the ends of all streams into this file, which is to be kept where whoever may write to the databases may not.
    #[arg(long, value_name = "FILE", requires = "chain")]
    pub save_heads: Option<PathBuf>,
    /// Where PostgreSQL is.
    #[command(flatten)]
    pub database: DatabaseArgs,
    /// The other servers.
    #[command(flatten)]
    pub servers: ServerArgs,
    /// Which payment provider's book the payments are compared with.
    #[command(flatten)]
    pub provider: ProviderArgs,
}

const AUDIT_HELP: &str = "\
Examples:
  sagashop audit
  sagashop audit --since -1h --output json
  sagashop audit --mark /var/lib/sagashop/audit.mark
  sagashop audit --chain --save-heads /mnt/elsewhere/heads.jsonl
  sagashop audit --chain --heads /mnt/elsewhere/heads.jsonl

Which check proves which promise, and what no check at rest can prove, stands in docs/audit.md.";
