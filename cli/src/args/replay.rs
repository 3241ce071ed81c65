//! The flags of what reads history again.

use super::{DatabaseArgs, Moment, ServerArgs, values};
use crate::ports::Role;
use clap::{ArgGroup, ValueEnum};
use std::path::PathBuf;
use std::str::FromStr;

/// Where history is published to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ReplayTo {
    /// The Kafka that is named.
    Kafka,
    /// The topic log in PostgreSQL that a shop without Kafka has.
    Log,
}

/// Where history begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplayFrom {
    /// With the first event.
    Beginning,
    /// With the event at this position.
    Position(i64),
    /// With the first event that was recorded at this time or later.
    Time(Moment),
}

impl FromStr for ReplayFrom {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "beginning" {
            return Ok(Self::Beginning);
        }
        if let Ok(position) = text.parse::<i64>()
            && position >= 0
        {
            return Ok(Self::Position(position));
        }
        text.parse().map(Self::Time).map_err(|error: String| format!("{error}; a position; or beginning"))
    }
}

/// `sagashop replay`.
#[derive(Clone, Debug, clap::Args)]
#[command(group = ArgGroup::new("what").args(["to", "what_if"]).required(true))]
pub struct ReplayArgs {
    /// Publish history again, for a consumer that is new.
    #[arg(long, value_name = "WHERE", value_enum, requires = "topic")]
    pub to: Option<ReplayTo>,
    /// The topic that it is published to: none of the shop's own. It is made if it is not there.
    #[arg(long, value_name = "NAME", conflicts_with = "what_if")]
    pub topic: Option<String>,
    /// Where to begin: a time, such as 2026-01-31T12:00:00Z or -1d; an event's position; or beginning.
    #[arg(
        long,
        value_name = "WHEN",
        default_value = "beginning",
        allow_hyphen_values = true,
        conflicts_with = "what_if"
    )]
    pub from: ReplayFrom,
    /// The position of the last event; without it, all that is committed when it begins.
    #[arg(long, value_name = "N", conflicts_with = "what_if")]
    pub to_position: Option<i64>,
    /// At most so many messages a second.
    #[arg(long, value_name = "N/s", value_parser = rate, conflicts_with = "what_if")]
    pub rate: Option<f64>,
    /// Only messages of these types.
    #[arg(long, value_name = "TYPE,…", value_delimiter = ',', conflicts_with = "what_if")]
    pub r#type: Vec<String>,
    /// What the records' header `replay` says, which is what the new consumer acts on; made up when not given.
    #[arg(long, value_name = "ID", conflicts_with = "what_if")]
    pub replay: Option<String>,
    /// Add to a topic that has records already, without being asked.
    #[arg(long, short = 'y')]
    pub yes: bool,
    /// Only count what would be published.
    #[arg(long, conflicts_with_all = ["yes", "what_if"])]
    pub dry_run: bool,
    /// Fold history through this program's deciders, in memory, and report where they would decide otherwise, also on messages
    /// that led to nothing. Exits with 1 when one would, with 3 when something could not be decided again.
    #[arg(long)]
    pub what_if: bool,
    /// Histories that were recorded, instead of those of a shop: a file of exported events, or a folder with such.
    #[arg(long, value_name = "PATH", requires = "what_if", conflicts_with = "to")]
    pub history: Vec<PathBuf>,
    /// Have sagas run on this version of their definition, instead of that which each began with.
    #[arg(long, value_name = "N", requires = "what_if", conflicts_with = "to")]
    pub definition: Option<u32>,
    /// Whose history; all when none is named.
    #[arg(long, value_name = "SERVICE,…", value_enum, value_delimiter = ',')]
    pub service: Vec<Role>,
    /// Where PostgreSQL is.
    #[command(flatten)]
    pub database: DatabaseArgs,
    /// The other servers.
    #[command(flatten)]
    pub servers: ServerArgs,
}

pub(super) const REPLAY_HELP: &str = "\
Examples:
  sagashop replay --to kafka --topic order_events_search --service order --from beginning --rate 500/s
  sagashop replay --to kafka --topic payments_of_january --service payment --from 2026-01-01 --dry-run
  sagashop replay --to log --topic new_consumer --service order --from 1000 --to-position 2000
  sagashop replay --what-if
  sagashop replay --what-if --history event-schemas/histories --output json
  sagashop replay --what-if --service orchestrator --definition 1

What-if makes a decision again from the events that it led to; and from what the services told each other, where that led to
nothing. In a shop that runs, a message is known to have been handled when a later one of the same stream and topic led to
something; the others are counted. In a recorded history all count as handled: record it when nothing is under way. What came
by HTTP or gRPC and was refused, or done before, is kept nowhere: it cannot be asked again.

Nothing is charged, sent, published to the shop's topics or recorded by a replay. Its records carry the header replay: the
shop's own consumers pass them by wherever they lie.";

/// `500/s` or `500`.
fn rate(text: &str) -> Result<f64, String> {
    values::rate(text.strip_suffix("/s").unwrap_or(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Args, Command};
    use clap::Parser;

    fn parse(line: &[&str]) -> Result<ReplayArgs, clap::Error> {
        let args = Args::try_parse_from([&["sagashop", "replay"], line].concat())?;
        let Command::Replay(replay) = args.command else { panic!("replay") };
        Ok(*replay)
    }

    #[test]
    fn history_begins_at_a_time_a_position_or_the_beginning() {
        let from = |text: &str| parse(&["--to", "log", "--topic", "new", "--from", text]).map(|args| args.from);
        assert_eq!(from("beginning").ok(), Some(ReplayFrom::Beginning));
        assert_eq!(from("17").ok(), Some(ReplayFrom::Position(17)));
        assert!(matches!(from("-15m"), Ok(ReplayFrom::Time(_))));
        assert!(from("yesterday").is_err_and(|error| error.to_string().contains("beginning")));
    }

    #[test]
    fn one_of_both_is_asked_for_and_its_own_flags_alone() {
        assert_eq!(parse(&["--to", "kafka", "--topic", "new", "--rate", "50/s"]).expect("accepted").rate, Some(50.0));
        for bad in [
            &[][..],
            &["--to", "kafka"],
            &["--what-if", "--to", "kafka", "--topic", "new"],
            &["--what-if", "--rate", "5"],
            &["--to", "kafka", "--topic", "new", "--history", "x"],
            &["--to", "kafka", "--topic", "new", "--dry-run", "--yes"],
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }
}
