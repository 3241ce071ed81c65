//! The flags of what operators mend with.

use super::{DatabaseArgs, examples};
use crate::ports::Role;
use clap::{ArgGroup, Subcommand};
use std::path::PathBuf;

use super::ServerArgs;

/// Who acts, and why.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "The act")]
pub struct ActArgs {
    /// Why, in plain words; it is recorded with the act.
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// Who acts, as the record names them.
    #[arg(long, value_name = "NAME", env = "SAGASHOP_OPERATOR")]
    pub operator: Option<String>,
    /// Do it without asking.
    #[arg(long, short = 'y')]
    pub yes: bool,
    /// Only show what would be done.
    #[arg(long, conflicts_with = "yes")]
    pub dry_run: bool,
}

/// `sagashop dead-letters …`.
#[derive(Debug, Subcommand)]
pub enum DeadLettersCommand {
    /// List the letters that block their keys, each with how many wait behind it.
    #[command(after_help = "Example:\n  sagashop dead-letters list payment --output json")]
    List(LettersListArgs),
    /// Show a letter whole, and those behind it.
    #[command(after_help = "Example:\n  sagashop dead-letters show payment payment_commands/2/17")]
    Show(LettersShowArgs),
    /// Have keys' letters handled again, in their order, by the service that holds their partition.
    ///
    /// The letters are marked; the service comes to them within seconds. Those that can be handled go, and the first that
    /// cannot stays, with all behind it.
    #[command(
        after_help = "Example:\n  sagashop dead-letters retry payment payment_commands/2/17 --reason 'fixed in 1.4.2'"
    )]
    Retry(RetryArgs),
    /// Give a letter up for good; those behind it are handled.
    #[command(
        after_help = "Example:\n  sagashop dead-letters discard payment payment_commands/2/17 --reason 'paid by hand'"
    )]
    Discard(DiscardArgs),
    /// Replace a letter's value before it is handled again.
    #[command(
        after_help = "Example:\n  sagashop dead-letters edit payment payment_commands/2/17 --file corrected.json --reason 'bad currency'"
    )]
    Edit(EditArgs),
}

/// `sagashop dead-letters list`.
#[derive(Clone, Debug, clap::Args)]
pub struct LettersListArgs {
    /// Whose; all when none is named.
    #[arg(value_enum)]
    pub roles: Vec<Role>,
    /// Only of this consumer.
    #[arg(long, value_name = "NAME")]
    pub consumer: Option<String>,
    /// Only of this key.
    #[arg(long, value_name = "KEY")]
    pub key: Option<String>,
    /// The letters that wait, too.
    #[arg(long)]
    pub parked: bool,
    /// At most this many of each service.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub limit: u32,
    /// Where PostgreSQL is.
    #[command(flatten)]
    pub database: DatabaseArgs,
}

/// `sagashop dead-letters show`.
#[derive(Clone, Debug, clap::Args)]
pub struct LettersShowArgs {
    /// Whose.
    #[arg(value_enum)]
    pub role: Role,
    /// The letter: TOPIC/PARTITION/OFFSET.
    pub letter: String,
    /// The consumer, where several have put that message aside.
    #[arg(long, value_name = "NAME")]
    pub consumer: Option<String>,
    /// Where PostgreSQL is.
    #[command(flatten)]
    pub database: DatabaseArgs,
}

/// `sagashop dead-letters retry`.
#[derive(Clone, Debug, clap::Args)]
#[command(group = ArgGroup::new("which").args(["letters", "key", "all"]).required(true))]
pub struct RetryArgs {
    /// Whose.
    #[arg(value_enum)]
    pub role: Role,
    /// The letters: TOPIC/PARTITION/OFFSET. All of their keys' are handled.
    pub letters: Vec<String>,
    /// Or those of this key.
    #[arg(long, value_name = "KEY")]
    pub key: Option<String>,
    /// Or all of them.
    #[arg(long)]
    pub all: bool,
    /// Only of this consumer.
    #[arg(long, value_name = "NAME")]
    pub consumer: Option<String>,
    /// Who does it, and why.
    #[command(flatten)]
    pub act: ActArgs,
    /// Where PostgreSQL is.
    #[command(flatten)]
    pub database: DatabaseArgs,
}

/// `sagashop dead-letters discard`.
#[derive(Clone, Debug, clap::Args)]
pub struct DiscardArgs {
    /// Whose.
    #[arg(value_enum)]
    pub role: Role,
    /// The letter: TOPIC/PARTITION/OFFSET.
    pub letter: String,
    /// The consumer, where several have put that message aside.
    #[arg(long, value_name = "NAME")]
    pub consumer: Option<String>,
    /// Give up all that wait behind it, too.
    #[arg(long)]
    pub followers: bool,
    /// Who does it, and why.
    #[command(flatten)]
    pub act: ActArgs,
    /// Where PostgreSQL is.
    #[command(flatten)]
    pub database: DatabaseArgs,
}

/// `sagashop dead-letters edit`.
#[derive(Clone, Debug, clap::Args)]
#[command(group = ArgGroup::new("new").args(["value", "file"]).required(true))]
pub struct EditArgs {
    /// Whose.
    #[arg(value_enum)]
    pub role: Role,
    /// The letter: TOPIC/PARTITION/OFFSET.
    pub letter: String,
    /// The new value.
    #[arg(long, value_name = "JSON")]
    pub value: Option<String>,
    /// The file with the new value; - is standard input, and needs --yes.
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// The consumer, where several have put that message aside.
    #[arg(long, value_name = "NAME")]
    pub consumer: Option<String>,
    /// Who does it, and why.
    #[command(flatten)]
    pub act: ActArgs,
    /// Where PostgreSQL is.
    #[command(flatten)]
    pub database: DatabaseArgs,
}

/// `sagashop ops …`.
#[derive(Debug, Subcommand)]
pub enum OpsCommand {
    /// List what operators did, the latest last: what, to what, who, when and why.
    #[command(after_help = "Example:\n  sagashop ops log orchestrator --limit 20 --output jsonl")]
    Log(OpsLogArgs),
}

/// `sagashop ops log`.
#[derive(Clone, Debug, clap::Args)]
pub struct OpsLogArgs {
    /// In whose stores; in all when none is named.
    #[arg(value_enum)]
    pub roles: Vec<Role>,
    /// Only acts of this operator.
    #[arg(long = "by", value_name = "NAME")]
    pub operator: Option<String>,
    /// At most this many, the latest.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub limit: u32,
    /// Where PostgreSQL is.
    #[command(flatten)]
    pub database: DatabaseArgs,
}

/// `sagashop offsets …`.
#[derive(Debug, Subcommand)]
pub enum OffsetsCommand {
    /// List where consumers stand, and how far behind the topics' ends.
    #[command(after_help = examples::OFFSETS_LIST)]
    List(OffsetsListArgs),
    /// Have a consumer go on elsewhere. Its service must be stopped.
    #[command(
        after_help = "Example:\n  sagashop offsets set payment payment payment_commands/2 --to 17 --reason 'read again after a restore'"
    )]
    Set(OffsetsSetArgs),
}

/// `sagashop offsets list`.
#[derive(Clone, Debug, clap::Args)]
pub struct OffsetsListArgs {
    /// Whose; all when none is named.
    #[arg(value_enum)]
    pub roles: Vec<Role>,
    /// Where PostgreSQL is.
    #[command(flatten)]
    pub database: DatabaseArgs,
    /// The other servers.
    #[command(flatten)]
    pub servers: ServerArgs,
}

/// `sagashop offsets set`.
#[derive(Clone, Debug, clap::Args)]
pub struct OffsetsSetArgs {
    /// Whose.
    #[arg(value_enum)]
    pub role: Role,
    /// The consumer.
    pub consumer: String,
    /// TOPIC/PARTITION.
    pub partition: String,
    /// The next offset that it reads; never beyond the topic's end, and back only with a reason.
    #[arg(long, value_name = "OFFSET", value_parser = clap::value_parser!(i64).range(0..))]
    pub to: i64,
    /// Who does it, and why.
    #[command(flatten)]
    pub act: ActArgs,
    /// Where PostgreSQL is.
    #[command(flatten)]
    pub database: DatabaseArgs,
    /// The other servers.
    #[command(flatten)]
    pub servers: ServerArgs,
}

/// `sagashop relay …`.
#[derive(Debug, Subcommand)]
pub enum RelayCommand {
    /// Whether anything is not published. Exits with 1 when something waits for longer than it should.
    #[command(after_help = examples::RELAY_STATUS)]
    Status(RelayStatusArgs),
    /// List the events that are not published yet, the oldest first.
    #[command(after_help = examples::RELAY_PENDING)]
    Pending(RelayPendingArgs),
    /// Publish again from an earlier event on. Its service must be stopped; consumers know what they have handled.
    #[command(
        after_help = "Example:\n  sagashop relay rewind order --events 500 --reason 'the broker lost its newest messages'"
    )]
    Rewind(RelayRewindArgs),
}

/// `sagashop relay status`.
#[derive(Clone, Debug, clap::Args)]
pub struct RelayStatusArgs {
    /// Whose; all when none is named.
    #[arg(value_enum)]
    pub roles: Vec<Role>,
    /// How long an event may wait, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    pub longest: u32,
    /// Where PostgreSQL is.
    #[command(flatten)]
    pub database: DatabaseArgs,
}

/// `sagashop relay pending`.
#[derive(Clone, Debug, clap::Args)]
pub struct RelayPendingArgs {
    /// Whose; all when none is named.
    #[arg(value_enum)]
    pub roles: Vec<Role>,
    /// At most this many of each.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub limit: u32,
    /// Where PostgreSQL is.
    #[command(flatten)]
    pub database: DatabaseArgs,
}

/// `sagashop relay rewind`.
#[derive(Clone, Debug, clap::Args)]
pub struct RelayRewindArgs {
    /// Whose.
    #[arg(value_enum)]
    pub role: Role,
    /// By how many events of its store.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub events: u32,
    /// Who does it, and why.
    #[command(flatten)]
    pub act: ActArgs,
    /// Where PostgreSQL is.
    #[command(flatten)]
    pub database: DatabaseArgs,
}

/// `sagashop idempotency …`.
#[derive(Debug, Subcommand)]
pub enum IdempotencyCommand {
    /// Show what a key's request was answered, in whichever service.
    #[command(after_help = examples::IDEMPOTENCY_SHOW)]
    Show(IdempotencyShowArgs),
}

/// `sagashop idempotency show`.
#[derive(Clone, Debug, clap::Args)]
pub struct IdempotencyShowArgs {
    /// The key, as the client sent it.
    pub key: String,
    /// In whose store; in all when none is named.
    #[arg(long = "service", value_enum)]
    pub roles: Vec<Role>,
    /// Where PostgreSQL is.
    #[command(flatten)]
    pub database: DatabaseArgs,
}
