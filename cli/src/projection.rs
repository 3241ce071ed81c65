//! `sagashop projection …`: the read models of all services, made anew while they serve, and compared with their events.
//!
//! What is made anew is made by `runtime::projection` from the events and nothing else; here is only what people see of it.

mod list;
mod rebuild;
mod shown;
mod verify;

use crate::args::{DatabaseArgs, GlobalArgs, ProjectionCommand};
use crate::exit::{Code, Failure};
use crate::mend::attach;
use crate::ports::Role;
use crate::shop::asked_to_stop;
use runtime::projection::{Database, Error, ReadModel};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// All that there are.
pub(crate) const NAMES: [&str; 7] = ["users", "products", "orders", "payments", "notifications", "webhooks", "sagas"];

/// A read model, and whose it is.
pub(crate) struct Named {
    pub(crate) role: Role,
    pub(crate) model: Arc<dyn ReadModel>,
}

impl Named {
    fn name(&self) -> &'static str {
        self.model.table().name
    }
}

/// All read models, in the order of [`NAMES`].
pub(crate) fn all() -> Vec<Named> {
    let models: [(Role, Arc<dyn ReadModel>); NAMES.len()] = [
        (Role::User, Arc::new(user_service::UserList)),
        (Role::Product, Arc::new(product_service::Catalogue)),
        (Role::Order, Arc::new(order_service::OrderList)),
        (Role::Payment, Arc::new(payment_service::PaymentList)),
        (Role::Notification, Arc::new(notification_service::NotificationList)),
        (Role::Notification, Arc::new(notification_service::WebhookList)),
        (Role::Orchestrator, Arc::new(orchestrator::SagaList)),
    ];
    models.into_iter().map(|(role, model)| Named { role, model }).collect()
}

/// Runs one of the commands.
///
/// # Errors
/// No shop runs, a database is away, or what is to be done cannot be done.
pub async fn run(global: &GlobalArgs, command: &ProjectionCommand) -> anyhow::Result<Code> {
    match command {
        ProjectionCommand::List(args) => list::list(global, args).await,
        ProjectionCommand::Rebuild(args) => rebuild::rebuild(global, args).await,
        ProjectionCommand::Verify(args) => verify::verify(global, args).await,
        ProjectionCommand::DropOld(args) => rebuild::drop_old(global, args).await,
    }
}

/// Those of these names, in the order in which they are named; all if none is.
fn named(names: &[String]) -> Vec<Named> {
    if names.is_empty() {
        return all();
    }
    names.iter().filter_map(|name| all().into_iter().find(|named| named.name() == name)).collect()
}

/// Read models with their databases, on a server that runs.
///
/// # Errors
/// None runs.
async fn open(
    global: &GlobalArgs,
    database: &DatabaseArgs,
    named: Vec<Named>,
) -> anyhow::Result<Vec<(Named, Database)>> {
    let server = attach(global, database).await?;
    let with_database = |named: Named| {
        let database = Database::new(server.options(named.role.database()));
        (named, database)
    };
    Ok(named.into_iter().map(with_database).collect())
}

/// What an error means to whoever called.
fn failed(named: &Named, error: Error) -> anyhow::Error {
    let code = match error {
        Error::Busy { .. } | Error::TakenOver { .. } => Code::InUse,
        Error::Differs(_) => Code::Violated,
        Error::NotAllowed(_) => Code::Unavailable,
        Error::Failed(error) => return error.context(format!("the read model {}", named.name())),
        _ => Code::Failed,
    };
    Failure::new(code, error.to_string()).into()
}

/// Cancelled when somebody asks to stop; the task ends with this.
fn stopped_by_signal() -> (CancellationToken, tokio::task::JoinHandle<()>) {
    let stop = CancellationToken::new();
    let asked = stop.clone();
    let listening = tokio::spawn(async move {
        if asked_to_stop().await.is_ok() {
            asked.cancel();
        }
    });
    (stop, listening)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_read_models_have_their_names() {
        assert_eq!(all().iter().map(Named::name).collect::<Vec<_>>(), NAMES);
    }
}
