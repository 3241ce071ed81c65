//! What operators do to sagas from the command line: each act is recorded in the saga's own stream and among the
//! store's operations, in one unit of work.

use event_store::Operation;
use runtime::{Commands, Handler, Origin, commands};
use uuid::Uuid;

use crate::consumer::Sagas;
use crate::saga::order_fulfilment::{Error, Input, InputKind, OrderFulfilment};

/// What is done to a saga.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Ask again for what is stuck, with all attempts anew.
    Retry,
    /// Take what is stuck as done.
    Skip,
    /// Undo what has been done so far.
    Cancel,
}

impl Act {
    /// As the operations name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Retry => "saga_retried",
            Self::Skip => "saga_skipped",
            Self::Cancel => "saga_cancelled",
        }
    }

    fn input(self, actor: String, reason: String) -> InputKind {
        match self {
            Self::Retry => InputKind::OperatorRetry { actor },
            Self::Skip => InputKind::OperatorSkip { actor, reason },
            Self::Cancel => InputKind::OperatorCancel { actor, reason },
        }
    }
}

/// Does it, and tells the saga's state afterwards.
///
/// # Errors
/// The saga refuses it in the state that it is in, keeps moving on by itself, or the store is away.
pub async fn act(
    commands: &Commands,
    order_id: Uuid,
    act: Act,
    actor: &str,
    reason: &str,
) -> Result<&'static str, commands::Error<Error>> {
    let clock = commands.clock();
    let origin = Origin::request(clock.new_id(), clock.new_id(), actor);
    let input = Input { at: clock.now(), kind: act.input(actor.to_owned(), reason.to_owned()) };
    let operation = Operation {
        act: act.as_str().to_owned(),
        target: serde_json::json!({ "order_id": order_id }),
        reason: Some(reason.to_owned()),
    };
    let id = order_id.to_string();
    let timer = |before: &OrderFulfilment, after: &OrderFulfilment| Sagas.timer(&id, before, after);
    let executed = commands.operate::<OrderFulfilment>(&id, &origin, input, &operation, timer).await?;
    Ok(executed.state.state().as_str())
}
