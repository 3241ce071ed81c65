//! The flags of what makes read models anew and compares them.

use super::{DatabaseArgs, Moment, values};
use crate::ports::Role;
use crate::projection::NAMES;
use clap::Subcommand;
use clap::builder::PossibleValuesParser;
use std::str::FromStr;

/// `sagashop projection …`.
#[derive(Debug, Subcommand)]
pub enum ProjectionCommand {
    /// List the read models: how far behind, of which version, when they were last made anew.
    #[command(after_help = LIST_HELP)]
    List(ProjectionListArgs),
    /// Make read models anew from their events, while the old rows serve.
    ///
    /// A new table is filled beside the one that serves, follows what is recorded meanwhile, and takes its place in one
    /// transaction. A run that is ended, by Ctrl-C or by kill -9, goes on when the same command is run again. The table
    /// that served before is kept until the next time, or until drop-old.
    #[command(after_help = REBUILD_HELP)]
    Rebuild(ProjectionRebuildArgs),
    /// Compare read models with their events, row by row, on live data. Exits with 1 when they differ.
    #[command(after_help = VERIFY_HELP)]
    Verify(ProjectionVerifyArgs),
    /// Drop the tables that served before the last rebuild.
    #[command(after_help = DROP_OLD_HELP)]
    DropOld(ProjectionDropOldArgs),
}

const LIST_HELP: &str = "\
Examples:
  sagashop projection list
  sagashop projection list --service order --output json";

const REBUILD_HELP: &str = "\
Examples:
  sagashop projection rebuild orders --dry-run
  sagashop projection rebuild orders --verify
  sagashop projection rebuild orders payments --parallel 2 --yes
  sagashop projection rebuild sagas --from -1h --verify --sample 0.05 --yes
  sagashop projection rebuild orders --rate 20000 --drop-old --yes

The more workers, the sooner it is done, and the less is left to the shop: on a small machine one is enough.";

const VERIFY_HELP: &str = "\
Examples:
  sagashop projection verify
  sagashop projection verify orders --parallel 2
  sagashop projection verify orders payments --sample 0.1 --output json";

const DROP_OLD_HELP: &str = "\
Examples:
  sagashop projection drop-old orders
  sagashop projection drop-old orders payments --yes";

/// `sagashop projection list`.
#[derive(Clone, Debug, clap::Args)]
pub struct ProjectionListArgs {
    /// Whose read models; those of all services when none is named.
    #[arg(long, value_name = "SERVICE,…", value_enum, value_delimiter = ',')]
    pub service: Vec<Role>,
    /// Where PostgreSQL is.
    #[command(flatten)]
    pub database: DatabaseArgs,
}

/// `sagashop projection rebuild`.
#[derive(Clone, Debug, clap::Args)]
pub struct ProjectionRebuildArgs {
    /// Which read models, one after the other.
    #[arg(value_name = "NAME", required = true, value_parser = PossibleValuesParser::new(NAMES))]
    pub names: Vec<String>,
    /// Fold only what has had an event since this time, or since this position of the store; all other rows are taken over
    /// from the table that serves.
    #[arg(long, value_name = "TIME|POSITION", allow_hyphen_values = true)]
    pub from: Option<From>,
    /// Compare the new table with the fold before it serves: if they differ, it does not.
    #[arg(long)]
    pub verify: bool,
    /// Compare only this share of the rows, from 0 to 1.
    #[arg(long, value_name = "SHARE", value_parser = values::share, requires = "verify")]
    pub sample: Option<f64>,
    /// Workers that fill the table.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub parallel: u16,
    /// At most so many events a second, to leave more to the shop.
    #[arg(long, value_name = "EVENTS", value_parser = values::rate)]
    pub rate: Option<f64>,
    /// Take what the machine has; else most of the time is left to a shop that is at work.
    #[arg(long, conflicts_with = "rate")]
    pub hurry: bool,
    /// Drop the table that served before.
    #[arg(long)]
    pub drop_old: bool,
    /// Begin anew, instead of going on with a run that was ended.
    #[arg(long)]
    pub restart: bool,
    /// Only show what would be done.
    #[arg(long, conflicts_with = "yes")]
    pub dry_run: bool,
    /// Do it without asking.
    #[arg(long, short = 'y')]
    pub yes: bool,
    /// Where PostgreSQL is.
    #[command(flatten)]
    pub database: DatabaseArgs,
}

/// `sagashop projection verify`.
#[derive(Clone, Debug, clap::Args)]
pub struct ProjectionVerifyArgs {
    /// Which read models; all when none is named.
    #[arg(value_name = "NAME", value_parser = PossibleValuesParser::new(NAMES))]
    pub names: Vec<String>,
    /// Compare only this share of the rows, from 0 to 1.
    #[arg(long, value_name = "SHARE", value_parser = values::share)]
    pub sample: Option<f64>,
    /// Workers.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub parallel: u16,
    /// Show at most so many differences of each; all are counted.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub limit: u32,
    /// Where PostgreSQL is.
    #[command(flatten)]
    pub database: DatabaseArgs,
}

/// `sagashop projection drop-old`.
#[derive(Clone, Debug, clap::Args)]
pub struct ProjectionDropOldArgs {
    /// Of which read models.
    #[arg(value_name = "NAME", required = true, value_parser = PossibleValuesParser::new(NAMES))]
    pub names: Vec<String>,
    /// Only show what would be done.
    #[arg(long, conflicts_with = "yes")]
    pub dry_run: bool,
    /// Do it without asking.
    #[arg(long, short = 'y')]
    pub yes: bool,
    /// Where PostgreSQL is.
    #[command(flatten)]
    pub database: DatabaseArgs,
}

/// Since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// A time.
    Time(Moment),
    /// A position of the store.
    Position(i64),
}

impl FromStr for From {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse::<i64>() {
            Ok(position) if position >= 0 => Ok(Self::Position(position)),
            _ => text.parse().map(Self::Time).map_err(|error: String| format!("{error}; or a position, such as 1000")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Args;
    use clap::Parser;

    #[test]
    fn a_place_is_a_time_or_a_position() {
        assert_eq!("1000".parse(), Ok(From::Position(1_000)));
        assert!(matches!("-15m".parse(), Ok(From::Time(_))));
        assert!("yesterday".parse::<From>().is_err());
    }

    #[test]
    fn a_name_that_there_is_not_is_refused_with_the_nearest() {
        let error =
            Args::try_parse_from(["sagashop", "projection", "verify", "ordrs"]).expect_err("no such read model");
        assert!(error.to_string().contains("'orders'"), "{error}");
        assert!(Args::try_parse_from(["sagashop", "projection", "rebuild"]).is_err(), "none is named");
        let sample = ["sagashop", "projection", "rebuild", "orders", "--sample", "0.1"];
        assert!(Args::try_parse_from(sample).is_err(), "a sample of what is not compared");
    }
}
