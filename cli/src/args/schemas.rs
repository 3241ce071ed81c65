//! The flags of what tells of events' forms.

use clap::Subcommand;
use std::path::PathBuf;

/// `sagashop schemas …`.
#[derive(Debug, Subcommand)]
pub enum SchemasCommand {
    /// List all events, published and stored, in every version.
    #[command(after_help = LIST_HELP)]
    List(SchemasListArgs),
    /// Show one event: its schema, an example, who writes it and who acts on it.
    #[command(after_help = SHOW_HELP)]
    Show(SchemasShowArgs),
    /// Check that no event has changed so that old and new programs cannot read each other. Exits with 1 when one has.
    #[command(after_help = CHECK_HELP)]
    Check(SchemasCheckArgs),
    /// Show how two versions of an event differ, or the same one here and in another folder.
    #[command(after_help = DIFF_HELP)]
    Diff(SchemasDiffArgs),
    /// Write the schemas, the AsyncAPI document and the event catalogue, unless that would break somebody.
    #[command(after_help = WRITE_HELP)]
    Write(SchemasWriteArgs),
}

const LIST_HELP: &str = "\
Examples:
  sagashop schemas list
  sagashop schemas list --published payment
  sagashop schemas list --stored --output jsonl";

const SHOW_HELP: &str = "\
Examples:
  sagashop schemas show order_created
  sagashop schemas show stock/stock_restocked --version 1
  sagashop schemas show order_created --schema > order_created.json
  sagashop schemas show payment_success --example";

const CHECK_HELP: &str = "\
Examples:
  sagashop schemas check                               the program's types against what it was built with
  sagashop schemas check --against event-schemas       against what lies in a folder
  git archive v1.0 event-schemas | tar x -C /tmp && sagashop schemas check --against /tmp/event-schemas
  sagashop schemas check --of /tmp/changed             a changed copy against what the program was built with

Rules: field-removed, required-added, required-dropped, type-changed, enum-narrowed, enum-widened, limit-narrowed,
limit-widened, null-forbidden, null-allowed, closed, removed, topic-changed, key-changed. Backward: a new program cannot
read what an old one wrote; forward: an old one cannot read what a new one writes.";

const DIFF_HELP: &str = "\
Examples:
  sagashop schemas diff stock/stock_restocked                      the latest version and the one before it
  sagashop schemas diff user/user_registered --from 1 --to 2
  sagashop schemas diff order_created --against /tmp/event-schemas";

const WRITE_HELP: &str = "\
Examples:
  sagashop schemas write --dry-run
  sagashop schemas write";

/// `sagashop schemas list`.
#[derive(Clone, Debug, clap::Args)]
pub struct SchemasListArgs {
    /// Only those whose name holds this.
    #[arg(value_name = "PART")]
    pub part: Option<String>,
    /// Only what crosses the broker.
    #[arg(long, conflicts_with = "stored")]
    pub published: bool,
    /// Only what the services keep.
    #[arg(long)]
    pub stored: bool,
}

/// `sagashop schemas show`.
#[derive(Clone, Debug, clap::Args)]
pub struct SchemasShowArgs {
    /// Its name: order_created, or of a stored event order/order_placed.
    #[arg(value_name = "NAME")]
    pub name: String,
    /// An earlier version than today's.
    #[arg(long, value_name = "N")]
    pub version: Option<u32>,
    /// Its JSON Schema alone.
    #[arg(long, conflicts_with = "example")]
    pub schema: bool,
    /// Its example alone.
    #[arg(long)]
    pub example: bool,
}

/// `sagashop schemas check`.
#[derive(Clone, Debug, clap::Args)]
pub struct SchemasCheckArgs {
    /// What was before: a folder as event-schemas is; without it, what the program was built with.
    #[arg(long, value_name = "FOLDER")]
    pub against: Option<PathBuf>,
    /// What is checked: a folder as well; without it, the program's types.
    #[arg(long, value_name = "FOLDER")]
    pub of: Option<PathBuf>,
}

/// `sagashop schemas diff`.
#[derive(Clone, Debug, clap::Args)]
pub struct SchemasDiffArgs {
    /// Its name, as for show.
    #[arg(value_name = "NAME")]
    pub name: String,
    /// The earlier version; the one before the later.
    #[arg(long, value_name = "N", conflicts_with = "against")]
    pub from: Option<u32>,
    /// The later version; today's.
    #[arg(long, value_name = "N")]
    pub to: Option<u32>,
    /// Compare with the same version in this folder.
    #[arg(long, value_name = "FOLDER")]
    pub against: Option<PathBuf>,
}

/// `sagashop schemas write`.
#[derive(Clone, Debug, clap::Args)]
pub struct SchemasWriteArgs {
    /// Where schemas, samples and the AsyncAPI document are.
    #[arg(long, value_name = "FOLDER", default_value = "event-schemas")]
    pub folder: PathBuf,
    /// Where the catalogue is.
    #[arg(long, value_name = "FILE", default_value = "docs/event-catalogue.md")]
    pub page: PathBuf,
    /// Only tell what would be written.
    #[arg(long)]
    pub dry_run: bool,
}
