//! What operators do to sagas, by REST and by the command line: each act is recorded in the saga's own stream and among
//! the store's operations, in one unit of work.

use event_store::{Answer, Operation};
use runtime::{Commands, Executed, Origin, commands};
use uuid::Uuid;

use crate::consumer;
use crate::saga::order_fulfilment::{CommandKind, Error, Input, InputKind, OrderFulfilment};

/// What is done to a saga.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Ask again for what is stuck, with all attempts anew.
    Retry,
    /// Take what is stuck as done.
    Skip,
    /// Undo what has been done so far.
    Cancel,
    /// Ask for nothing and wait for nothing.
    Pause,
    /// Go on, with what came meanwhile.
    Resume,
    /// Ask again for this step and those behind it, as far as they are not done.
    RestartFrom(CommandKind),
}

impl Act {
    /// As the operations name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Retry => "saga_retried",
            Self::Skip => "saga_skipped",
            Self::Cancel => "saga_cancelled",
            Self::Pause => "saga_paused",
            Self::Resume => "saga_resumed",
            Self::RestartFrom(_) => "saga_restarted",
        }
    }

    fn input(self, actor: String, reason: Option<String>) -> InputKind {
        let said = reason.clone().unwrap_or_default();
        match self {
            Self::Retry => InputKind::OperatorRetry { actor, reason },
            Self::Skip => InputKind::OperatorSkip { actor, reason: said },
            Self::Cancel => InputKind::OperatorCancel { actor, reason: said },
            Self::Pause => InputKind::OperatorPause { actor, reason: said },
            Self::Resume => InputKind::OperatorResume { actor, reason: said },
            Self::RestartFrom(from) => InputKind::OperatorRestart { actor, reason: said, from },
        }
    }

    fn target(self, order_id: Uuid) -> serde_json::Value {
        match self {
            Self::RestartFrom(from) => serde_json::json!({ "order_id": order_id, "from": from.as_str() }),
            _ => serde_json::json!({ "order_id": order_id }),
        }
    }
}

/// Does it, with the answer to the request that it came with.
///
/// # Errors
/// The saga refuses it in the state that it is in, keeps moving on by itself, or the store is away.
pub async fn act(
    commands: &Commands,
    order_id: Uuid,
    act: Act,
    reason: Option<String>,
    origin: &Origin,
    answering: impl Fn(u64) -> Option<Answer> + Send + Sync,
) -> Result<Executed<OrderFulfilment>, commands::Error<Error>> {
    let kind = act.input(origin.actor.clone(), reason.clone());
    let input = Input { at: commands.clock().now(), kind };
    let operation = Operation { act: act.as_str().to_owned(), target: act.target(order_id), reason };
    let id = order_id.to_string();
    let answering = |_: &OrderFulfilment, sequence| answering(sequence);
    // What is asked for again has a deadline again.
    commands.operate(&id, origin, input, &operation, &answering, consumer::timer).await
}
