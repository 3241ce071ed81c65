//! `sagashop dead-letters`.

mod act;
mod find;
mod show;

use crate::args::{DeadLettersCommand, GlobalArgs};
use crate::exit::Code;

/// Runs one of the commands.
///
/// # Errors
/// When there is no such letter, it has changed meanwhile, or a store is away.
pub async fn run(global: &GlobalArgs, command: &DeadLettersCommand) -> anyhow::Result<Code> {
    match command {
        DeadLettersCommand::List(args) => show::list(global, args).await,
        DeadLettersCommand::Show(args) => show::show(global, args).await,
        DeadLettersCommand::Retry(args) => act::retry(global, args).await,
        DeadLettersCommand::Discard(args) => act::discard(global, args).await,
        DeadLettersCommand::Edit(args) => act::edit(global, args).await,
    }
}
