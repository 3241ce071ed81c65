//! The flags of what looks into the event stores.

use super::operate::roles_of;
use super::transfer::{COPY_HELP, EXPORT_HELP, EventsCopyArgs, EventsExportArgs, EventsImportArgs, IMPORT_HELP};
use super::{DatabaseArgs, Moment};
use crate::events::predicate::Predicate;
use crate::ports::Role;
use clap::{ArgGroup, Subcommand, ValueEnum};
use std::ops::RangeInclusive;
use uuid::Uuid;

/// `sagashop events …`.
#[derive(Debug, Subcommand)]
pub enum EventsCommand {
    /// List events, the latest of those that match, in commit order.
    #[command(after_help = LIST_HELP)]
    List(EventsListArgs),
    /// Show one event with everything that stands in its row.
    #[command(after_help = SHOW_HELP)]
    Show(EventsShowArgs),
    /// Print the last events, and with --follow each further one as it is committed.
    #[command(after_help = TAIL_HELP)]
    Tail(EventsTailArgs),
    /// Count events, in all or by something that they have in common.
    #[command(after_help = COUNT_HELP)]
    Count(EventsCountArgs),
    /// Write the stores' events into files, as CloudEvents a line, or add to them what has come since.
    #[command(after_help = EXPORT_HELP)]
    Export(EventsExportArgs),
    /// Write an export's events into stores that have none.
    #[command(after_help = IMPORT_HELP)]
    Import(EventsImportArgs),
    /// Move stores to another PostgreSQL, with all that stands beside their events.
    #[command(after_help = COPY_HELP)]
    Copy(EventsCopyArgs),
}

const LIST_HELP: &str = "\
Examples:
  sagashop events list --service order --since -15m
  sagashop events list --type payment_declined,refund_failed --limit 20
  sagashop events list --aggregate order/0198c5d0-6a6e-7cc0-8a51-8f0f4b1a2c3d
  sagashop events list --correlation 0198c5d0-6a6e-7cc0-8a51-8f0f4b1a2c3d --output jsonl
  sagashop events list --where 'payload.total >= 100' --where 'payload.total.currency = EUR'
  sagashop events list --service payment --from-position 1000 --to-position 2000

A predicate is PATH OPERATOR VALUE, or a PATH alone, which must be there. The path begins with payload or metadata, and
goes into the event that the payload names. Operators: = != < <= > >= and ~ (contains). An amount of money is compared
as its decimal: 19.90. Positions are a store's own: they need one --service.";

const SHOW_HELP: &str = "\
Examples:
  sagashop events show 0198c5d0-6a6e-7cc0-8a51-8f0f4b1a2c3d
  sagashop events show 1234 --service order
  sagashop events show order/0198c5d0-6a6e-7cc0-8a51-8f0f4b1a2c3d/2 --output json";

const TAIL_HELP: &str = "\
Examples:
  sagashop events tail -f
  sagashop events tail -f --service order --type order_cancelled
  sagashop events tail -n 100 --where 'metadata.actor ~ operator:' --output jsonl

Each store is followed in its commit order: an event is printed once no older transaction can come before it.";

const COUNT_HELP: &str = "\
Examples:
  sagashop events count --by type
  sagashop events count --by service --since -1h
  sagashop events count --service order --by hour --type order_placed";

/// Which stores.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Stores")]
pub struct StoreArgs {
    /// Whose store; those of all services when none is named. Several are merged by time.
    #[arg(long, value_name = "SERVICE,…", value_enum, value_delimiter = ',')]
    pub service: Vec<Role>,
    /// All services' stores: the same as no --service.
    #[arg(long, conflicts_with = "service")]
    pub all: bool,
    /// Where PostgreSQL is.
    #[command(flatten)]
    pub database: DatabaseArgs,
}

impl StoreArgs {
    /// Those that were named, else all.
    pub(crate) fn roles(&self) -> Vec<Role> {
        roles_of(&self.service)
    }
}

/// Which events.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Which events (all that is given must hold)")]
pub struct FilterArgs {
    /// Of one of these types, such as order_placed.
    #[arg(long = "type", value_name = "TYPE,…", value_delimiter = ',')]
    pub types: Vec<String>,
    /// Of this aggregate: an id, a type, or both: order/ID.
    #[arg(long, value_name = "[TYPE/]ID")]
    pub aggregate: Option<String>,
    /// Of this story.
    #[arg(long, value_name = "ID")]
    pub correlation: Option<Uuid>,
    /// That follow from this message, event or request.
    #[arg(long, value_name = "ID")]
    pub causation: Option<Uuid>,
    /// Brought about by this actor, such as user:ID or service:orchestrator; a * at the end stands for anything.
    #[arg(long, value_name = "ACTOR")]
    pub actor: Option<String>,
    /// Recorded at this time or later.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub since: Option<Moment>,
    /// Recorded before this time.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub until: Option<Moment>,
    /// From this position on.
    #[arg(long, value_name = "N")]
    pub from_position: Option<i64>,
    /// Up to this position.
    #[arg(long, value_name = "N")]
    pub to_position: Option<i64>,
    /// For which this holds: 'payload.total >= 100'. May be given several times.
    #[arg(long = "where", value_name = "PREDICATE")]
    pub predicates: Vec<Predicate>,
}

/// `sagashop events list`.
#[derive(Clone, Debug, clap::Args)]
pub struct EventsListArgs {
    /// Which events.
    #[command(flatten)]
    pub filter: FilterArgs,
    /// At most this many.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub limit: u32,
    /// The earliest that match, instead of the latest.
    #[arg(long)]
    pub earliest: bool,
    /// Which stores.
    #[command(flatten)]
    pub stores: StoreArgs,
}

/// `sagashop events show`.
#[derive(Clone, Debug, clap::Args)]
pub struct EventsShowArgs {
    /// The event: its id, its position (with --service), or TYPE/ID/SEQUENCE.
    pub event: String,
    /// Which stores.
    #[command(flatten)]
    pub stores: StoreArgs,
}

/// `sagashop events tail`.
#[derive(Clone, Debug, clap::Args)]
pub struct EventsTailArgs {
    /// Go on with each further event, until Ctrl-C.
    #[arg(long, short)]
    pub follow: bool,
    /// Begin with so many that are there.
    #[arg(long, short = 'n', value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    pub lines: u32,
    /// Which events.
    #[command(flatten)]
    pub filter: FilterArgs,
    /// Which stores.
    #[command(flatten)]
    pub stores: StoreArgs,
}

/// `sagashop events count`.
#[derive(Clone, Debug, clap::Args)]
pub struct EventsCountArgs {
    /// One number for each of these.
    #[arg(long, value_name = "WHAT", value_enum)]
    pub by: Option<By>,
    /// Which events.
    #[command(flatten)]
    pub filter: FilterArgs,
    /// Which stores.
    #[command(flatten)]
    pub stores: StoreArgs,
}

/// What events are counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum By {
    /// The service that recorded them.
    Service,
    /// The event's type.
    Type,
    /// The aggregate's type.
    Aggregate,
    /// Who brought them about.
    Actor,
    /// The hour, UTC.
    Hour,
    /// The day, UTC.
    Day,
}

/// `sagashop stream`.
#[derive(Clone, Debug, clap::Args)]
#[command(group = ArgGroup::new("until").args(["at", "version", "diff"]))]
pub struct StreamArgs {
    /// The aggregate's id, or TYPE/ID where several kinds have the same one: stock/ID.
    #[arg(value_name = "[TYPE/]ID")]
    pub aggregate: String,
    /// As it was at this time.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub at: Option<Moment>,
    /// As it was after this event of its stream.
    #[arg(long, value_name = "N")]
    pub version: Option<u64>,
    /// How the state after event M differs from that after event N; 0 is before the first.
    #[arg(long, value_name = "N..M", value_parser = versions)]
    pub diff: Option<RangeInclusive<u64>>,
    /// Tell what each event changed also where there are more than 1,000.
    #[arg(long)]
    pub changes: bool,
    /// Which stores.
    #[command(flatten)]
    pub stores: StoreArgs,
}

pub(crate) const STREAM_HELP: &str = "\
Examples:
  sagashop stream 0198c5d0-6a6e-7cc0-8a51-8f0f4b1a2c3d
  sagashop stream stock/0198c5d0-6a6e-7cc0-8a51-8f0f4b1a2c3d --at -1h
  sagashop stream order/0198c5d0-6a6e-7cc0-8a51-8f0f4b1a2c3d --version 1 --output json
  sagashop stream 0198c5d0-6a6e-7cc0-8a51-8f0f4b1a2c3d --diff 1..3";

/// `sagashop trace`.
#[derive(Clone, Debug, clap::Args)]
pub struct TraceArgs {
    /// An order's id, or any correlation id.
    pub id: Uuid,
    /// Which stores.
    #[command(flatten)]
    pub stores: StoreArgs,
}

pub(crate) const TRACE_HELP: &str = "\
Examples:
  sagashop trace 0198c5d0-6a6e-7cc0-8a51-8f0f4b1a2c3d
  sagashop trace 0198c5d0-6a6e-7cc0-8a51-8f0f4b1a2c3d --output mermaid > story.mmd
  sagashop trace 0198c5d0-6a6e-7cc0-8a51-8f0f4b1a2c3d --output jsonl

Times are those at which each service's database recorded the event.";

/// `sagashop state`.
#[derive(Clone, Debug, clap::Args)]
#[command(group = ArgGroup::new("when").args(["at", "diff"]))]
pub struct StateArgs {
    /// The shop as it was at this time; now, when not given.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub at: Option<Moment>,
    /// What changed from one time to another.
    #[arg(long, value_names = ["FROM", "TO"], num_args = 2, action = clap::ArgAction::Set, allow_hyphen_values = true)]
    pub diff: Vec<Moment>,
    /// Where PostgreSQL is.
    #[command(flatten)]
    pub database: DatabaseArgs,
}

pub(crate) const STATE_HELP: &str = "\
Examples:
  sagashop state
  sagashop state --at 2026-01-31T23:59:59Z
  sagashop state --diff -1h now --output json";

/// `N..M`: versions of a stream.
fn versions(text: &str) -> Result<RangeInclusive<u64>, String> {
    let expected = || "expected two versions of the stream, such as 1..3".to_owned();
    let (from, to) = text.split_once("..").ok_or_else(expected)?;
    let (from, to) = (from.parse::<u64>().map_err(|_| expected())?, to.parse::<u64>().map_err(|_| expected())?);
    if from > to { Err(expected()) } else { Ok(from..=to) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Args, Command};
    use clap::Parser;

    fn parse(line: &[&str]) -> Result<Command, clap::Error> {
        Args::try_parse_from([&["sagashop"], line].concat()).map(|args| args.command)
    }

    #[test]
    fn times_may_begin_with_a_hyphen() {
        let Ok(Command::State(state)) = parse(&["state", "--diff", "-1h", "now"]) else { panic!("state") };
        assert_eq!(state.diff.len(), 2);
        let Ok(Command::Events(EventsCommand::List(list))) = parse(&["events", "list", "--since", "-15m"]) else {
            panic!("list")
        };
        assert!(list.filter.since.is_some());
        assert!(parse(&["state", "--diff", "-1h"]).is_err());
        assert!(parse(&["state", "--at", "-1h", "--diff", "-1h", "now"]).is_err());
    }

    #[test]
    fn a_service_that_there_is_not_is_refused_with_the_nearest_name() {
        let error = parse(&["events", "list", "--service", "ordr"]).expect_err("no service").to_string();
        assert!(error.contains("'order'"), "{error}");
        assert!(parse(&["events", "list", "--service", "order", "--all"]).is_err());
    }

    #[test]
    fn versions_are_a_range() {
        assert_eq!(versions("1..3"), Ok(1..=3));
        for bad in ["3..1", "1", "..", "a..b"] {
            assert!(versions(bad).is_err(), "{bad}");
        }
    }
}
