//! The flags of what takes event stores elsewhere.

use super::{DatabaseArgs, StoreArgs};
use crate::ports::Role;
use std::path::PathBuf;

pub(crate) const EXPORT_HELP: &str = "\
Examples:
  sagashop events export --to backup --zstd
  sagashop events export --to backup --zstd                      # again, later: adds what has come since
  sagashop events export --service order --to - | jq .type

A folder gets a file for each service: order.jsonl, or order.jsonl.zst. Its lines are CloudEvents 1.0 in JSON, in commit
order, and hold all that stands in the store, hashes of passwords too. Whatever an export was ended by, the same
command goes on with it. Any number of whole lines from the beginning is an export of an earlier moment.";

pub(crate) const IMPORT_HELP: &str = "\
Examples:
  sagashop events import --from backup --dry-run
  sagashop events import --from backup --service order --yes
  zstdcat backup/order.jsonl.zst | sagashop events import --from - --service order --yes

A store's events are imported in the order of their lines; exported again, they are the same lines. Whatever an import was
ended by, the same command goes on with it; nothing starts on a store before all are in. Read models are made from the
events at the next start. Offsets, timers, dead letters and the keys of personal data are not in an export: to move a shop,
use events copy.";

pub(crate) const COPY_HELP: &str = "\
Examples:
  sagashop events copy --to postgres://postgres@new:5432/postgres --dry-run
  sagashop events copy --to postgres://postgres@new:5432/postgres --yes
  sagashop events copy --service order --to postgres://orders@other:5432/postgres --yes

Stop the services first. Copied is all of a service's database; transaction ids, positions and checkpoints are made to fit
the new server, leases end. With all services and no Kafka, the topic log goes along. Then start the services there.";

/// `sagashop events export`.
#[derive(Clone, Debug, clap::Args)]
pub struct EventsExportArgs {
    /// The folder for the files, made if there is none; - is stdout, for one service.
    #[arg(long, value_name = "FOLDER")]
    pub to: PathBuf,
    /// Compressed.
    #[arg(long)]
    pub zstd: bool,
    /// Which stores.
    #[command(flatten)]
    pub stores: StoreArgs,
}

/// `sagashop events import`.
#[derive(Clone, Debug, clap::Args)]
pub struct EventsImportArgs {
    /// The folder of an export; - is stdin, for one service.
    #[arg(long, value_name = "FOLDER")]
    pub from: PathBuf,
    /// Whose events; of all whose files are there when none is named.
    #[arg(long, value_name = "SERVICE,…", value_enum, value_delimiter = ',')]
    pub service: Vec<Role>,
    /// Take away what an import that was ended has left, and begin with the first line.
    #[arg(long)]
    pub anew: bool,
    /// Let the relay publish them all once more. Without it they count as published.
    #[arg(long)]
    pub publish: bool,
    /// Do it without asking.
    #[arg(long, short = 'y')]
    pub yes: bool,
    /// Only read the files, and tell what is in them.
    #[arg(long, conflicts_with = "yes")]
    pub dry_run: bool,
    /// Where PostgreSQL is.
    #[command(flatten)]
    pub database: DatabaseArgs,
}

/// `sagashop events copy`.
#[derive(Clone, Debug, clap::Args)]
pub struct EventsCopyArgs {
    /// The PostgreSQL that the stores go to: postgres://user:password@host:5432/database.
    #[arg(long, value_name = "URL", env = "COPY_TO_URL", hide_env_values = true)]
    pub to: String,
    /// Whose store; those of all services when none is named.
    #[arg(long, value_name = "SERVICE,…", value_enum, value_delimiter = ',')]
    pub service: Vec<Role>,
    /// Copy while the services run: each database as of a moment, of which no shop goes on.
    #[arg(long)]
    pub live: bool,
    /// Do it without asking.
    #[arg(long, short = 'y')]
    pub yes: bool,
    /// Only tell what would be copied.
    #[arg(long, conflicts_with = "yes")]
    pub dry_run: bool,
    /// Where PostgreSQL is now.
    #[command(flatten)]
    pub database: DatabaseArgs,
}
