//! The flags of `sagashop saga`.

use super::{ActArgs, DatabaseArgs, values};
use clap::{ArgGroup, Subcommand};
use std::time::Duration;
use uuid::Uuid;

/// `sagashop saga …`.
#[derive(Debug, Subcommand)]
pub enum SagaCommand {
    /// List sagas, the newest first.
    #[command(after_help = LIST_HELP)]
    List(SagaListArgs),
    /// Show one saga with its timeline.
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
    /// Print the saga's state machine as a Mermaid diagram.
    Graph,
}

const LIST_HELP: &str = "\
Examples:
  sagashop saga list --state stuck --step charge_payment
  sagashop saga list --error 'card declined' --output jsonl
  sagashop saga list --state compensating --age 5m --watch";

const ACT_HELP: &str = "\
Examples:
  sagashop saga retry 01998d0e-3f6e-7c9c-8a4b-1f2e3d4c5b6a --reason 'provider is back'
  sagashop saga retry --state stuck --step refund_payment --reason 'provider is back' --dry-run
  sagashop saga cancel --customer 01998d0e-3f6e-7c9c-8a4b-1f2e3d4c5b6a --state reserving --reason 'asked us to' --yes";

/// Which sagas.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct SagaFilterArgs {
    /// Only sagas in this state, for example stuck.
    #[arg(long, value_name = "STATE")]
    pub state: Option<String>,
    /// Only sagas that began so long ago or longer, such as 90s or 2h.
    #[arg(long, value_name = "TIME", value_parser = values::duration)]
    pub age: Option<Duration>,
    /// Only sagas that are stuck at this step.
    #[arg(long, value_name = "STEP")]
    pub step: Option<String>,
    /// Only sagas with this text in why they are undone, or in what is stuck.
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
    pub id: Uuid,
    /// Where PostgreSQL is.
    #[command(flatten)]
    pub database: DatabaseArgs,
}

/// `sagashop saga retry`, `skip` and `cancel`.
#[derive(Clone, Debug, clap::Args)]
#[command(group = ArgGroup::new("which").args(["ids", "state", "age", "step", "error", "customer"]).required(true).multiple(true))]
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
