//! `sagashop saga`: the sagas as their database has them, and the machine they run on.

mod bulk;
mod list;
mod show;

use crate::args::{DatabaseArgs, GlobalArgs, SagaCommand, SagaFilterArgs, SagaGraphArgs};
use crate::exit::{Code, Failure};
use crate::mend::{Store, attach};
use crate::output::{self, Format};
use crate::ports::Role;
use event_store::clock;
use orchestrator::inspect;
use orchestrator::operate::Act;
use orchestrator::saga::order_fulfilment::{self, CURRENT_VERSION, Definition};

/// Runs one of the commands.
///
/// # Errors
/// When there is no database to look into, or no such saga.
pub async fn run(global: &GlobalArgs, command: &SagaCommand) -> anyhow::Result<Code> {
    match command {
        SagaCommand::List(args) => list::list(global, args).await,
        SagaCommand::Show(args) => show::show(global, args).await,
        SagaCommand::Retry(args) => bulk::act(global, args, Act::Retry).await,
        SagaCommand::Skip(args) => bulk::act(global, args, Act::Skip).await,
        SagaCommand::Cancel(args) => bulk::act(global, args, Act::Cancel).await,
        SagaCommand::Pause(args) => bulk::act(global, args, Act::Pause).await,
        SagaCommand::Resume(args) => bulk::act(global, args, Act::Resume).await,
        SagaCommand::RestartFrom(args) => bulk::act(global, &args.of, Act::RestartFrom(args.from)).await,
        SagaCommand::Graph(args) => graph(global.output, args),
    }
}

fn graph(format: Format, args: &SagaGraphArgs) -> anyhow::Result<Code> {
    let version = args.definition.unwrap_or(CURRENT_VERSION);
    let Some(definition) = Definition::of_version(version) else {
        let known: Vec<String> = Definition::all().iter().map(|definition| definition.version.to_string()).collect();
        let message = format!("this program has no definition {version}: it has {}", known.join(", "));
        return Err(Failure::new(Code::Usage, message).into());
    };
    output::page(format, "mermaid", &order_fulfilment::mermaid(definition))?;
    Ok(Code::Done)
}

/// The orchestrator's store, on a server that runs.
async fn store(global: &GlobalArgs, database: &DatabaseArgs) -> anyhow::Result<Store> {
    Ok(Store::open(&attach(global, database).await?, Role::Orchestrator))
}

/// What the flags mean now.
fn filter(args: &SagaFilterArgs) -> inspect::Filter {
    let age = args.age.and_then(|age| chrono::TimeDelta::from_std(age).ok());
    inspect::Filter {
        state: args.state,
        begun_before: age.and_then(|age| clock::system().now().checked_sub_signed(age)),
        step: args.step,
        error: args.error.clone(),
        customer: args.customer,
        orders: None,
    }
}
