//! The flags of `sagashop saga`.

use super::{ActArgs, DatabaseArgs, values};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{ArgGroup, Subcommand};
use orchestrator::saga::order_fulfilment::{CommandKind, State};
use std::time::Duration;
use uuid::Uuid;

/// `sagashop saga …`.
#[derive(Debug, Subcommand)]
pub enum SagaCommand {
    /// List sagas, the newest first, each with what it waits for.
    #[command(after_help = LIST_HELP)]
    List(SagaListArgs),
    /// Show one saga whole: what was asked for, what came of it, what comes next, and its story.
    #[command(after_help = "Example:\n  sagashop saga show 01998d0e-3f6e-7c9c-8a4b-1f2e3d4c5b6a")]
    Show(SagaShowArgs),
    /// Ask again for what is stuck, with all attempts anew.
    #[command(after_help = ACT_HELP)]
    Retry(SagaActArgs),
    /// Take what is stuck as done: it was mended by hand.
    #[command(after_help = ACT_HELP)]
    Skip(SagaActArgs),
    /// Undo what the sagas have done so far.
    #[command(after_help = ACT_HELP)]
    Cancel(SagaActArgs),
    /// Have sagas stand still: they ask for nothing, no time runs out, and what comes is kept.
    #[command(after_help = PAUSE_HELP)]
    Pause(SagaActArgs),
    /// Have paused sagas go on, with what came meanwhile.
    ///
    /// Messages that were kept are handled in the order in which they came, and a time that ran out meanwhile has run out.
    #[command(after_help = PAUSE_HELP)]
    Resume(SagaActArgs),
    /// Ask again for a step and those behind it, with all attempts anew.
    ///
    /// What is known to be done stays done. What an operator skipped is asked for too, also by a saga that is over. Services do
    /// nothing twice: each is asked under the same command's id as before.
    #[command(after_help = RESTART_HELP, override_usage = RESTART_USAGE)]
    RestartFrom(SagaRestartArgs),
    /// Print the saga's state machine as a Mermaid diagram.
    #[command(after_help = "Example:\n  sagashop saga graph > order-fulfilment.mmd")]
    Graph(SagaGraphArgs),
}

const LIST_HELP: &str = "\
Examples:
  sagashop saga list --state stuck --step refund_payment
  sagashop saga list --error 'card declined' --output jsonl
  sagashop saga list --state compensating --age 5m --watch";

const ACT_HELP: &str = "\
Examples:
  sagashop saga retry 01998d0e-3f6e-7c9c-8a4b-1f2e3d4c5b6a --reason 'provider is back'
  sagashop saga retry --state stuck --step refund_payment --reason 'provider is back' --dry-run
  sagashop saga skip 01998d0e-3f6e-7c9c-8a4b-1f2e3d4c5b6a --reason 'refunded by hand'
  sagashop saga cancel --customer 01998d0e-3f6e-7c9c-8a4b-1f2e3d4c5b6a --state reserving --reason 'asked us to' --yes";

const PAUSE_HELP: &str = "\
Examples:
  sagashop saga pause --step charge_payment --reason 'the provider is being moved'
  sagashop saga resume --state paused --reason 'moved' --yes";

const RESTART_HELP: &str = "\
Examples:
  sagashop saga restart-from refund_payment 01998d0e-3f6e-7c9c-8a4b-1f2e3d4c5b6a --reason 'skipped by mistake'
  sagashop saga restart-from commit_stock --state completing --age 2m --reason 'product was restored' --dry-run";

const RESTART_USAGE: &str = "sagashop saga restart-from [OPTIONS] <STEP> <ORDER_ID|--state <STATE>|--age <TIME>|--step <STEP>|--error <TEXT>|--customer <USER_ID>>";

fn state() -> impl TypedValueParser<Value = State> {
    let named = |name: &str| State::ALL.into_iter().find(|state| state.as_str() == name);
    PossibleValuesParser::new(State::ALL.map(State::as_str)).try_map(move |name| named(&name).ok_or("no such state"))
}

fn step() -> impl TypedValueParser<Value = CommandKind> {
    let named = |name: &str| CommandKind::ALL.into_iter().find(|step| step.as_str() == name);
    let names = PossibleValuesParser::new(CommandKind::ALL.map(CommandKind::as_str));
    names.try_map(move |name| named(&name).ok_or("no such step"))
}

/// Which sagas.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Which sagas")]
pub struct SagaFilterArgs {
    /// Only sagas in this state.
    #[arg(long, value_name = "STATE", value_parser = state())]
    pub state: Option<State>,
    /// Only sagas that began so long ago or longer, such as 90s or 2h.
    #[arg(long, value_name = "TIME", value_parser = values::duration)]
    pub age: Option<Duration>,
    /// Only sagas that wait for this step, or are stuck at it.
    #[arg(long = "step", id = "at_step", value_name = "STEP", value_parser = step())]
    pub step: Option<CommandKind>,
    /// Only sagas with this text in why they are undone, or in what went wrong with what they wait for.
    #[arg(long, value_name = "TEXT")]
    pub error: Option<String>,
    /// Only sagas of this customer's orders.
    #[arg(long, value_name = "USER_ID")]
    pub customer: Option<Uuid>,
}

/// `sagashop saga list`.
#[derive(Clone, Debug, clap::Args)]
pub struct SagaListArgs {
    /// Which.
    #[command(flatten)]
    pub filter: SagaFilterArgs,
    /// At most this many.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub limit: u32,
    /// List them again every other second, until Ctrl-C.
    #[arg(long)]
    pub watch: bool,
    /// Where PostgreSQL is.
    #[command(flatten)]
    pub database: DatabaseArgs,
}

/// `sagashop saga show`.
#[derive(Clone, Debug, clap::Args)]
pub struct SagaShowArgs {
    /// The id of the saga, which is that of its order.
    #[arg(value_name = "ORDER_ID")]
    pub id: Uuid,
    /// Where PostgreSQL is.
    #[command(flatten)]
    pub database: DatabaseArgs,
}

/// `sagashop saga retry`, `skip`, `cancel`, `pause` and `resume`.
#[derive(Clone, Debug, clap::Args)]
#[command(group = ArgGroup::new("which").args(["ids", "state", "age", "at_step", "error", "customer"]).required(true).multiple(true))]
pub struct SagaActArgs {
    /// The sagas, by their orders' ids.
    #[arg(value_name = "ORDER_ID")]
    pub ids: Vec<Uuid>,
    /// Or all that are meant by this.
    #[command(flatten)]
    pub filter: SagaFilterArgs,
    /// At most this many at once.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub limit: u32,
    /// Who does it, and why.
    #[command(flatten)]
    pub act: ActArgs,
    /// Where PostgreSQL is.
    #[command(flatten)]
    pub database: DatabaseArgs,
}

/// `sagashop saga restart-from`.
#[derive(Clone, Debug, clap::Args)]
pub struct SagaRestartArgs {
    /// The step, by the command that it is asked for with.
    #[arg(value_name = "STEP", value_parser = step())]
    pub from: CommandKind,
    /// Which sagas, by whom and why.
    #[command(flatten)]
    pub of: SagaActArgs,
}

/// `sagashop saga graph`.
#[derive(Clone, Debug, clap::Args)]
pub struct SagaGraphArgs {
    /// The version of its definition; that of new sagas when none is named.
    #[arg(long, value_name = "N")]
    pub definition: Option<u32>,
}
