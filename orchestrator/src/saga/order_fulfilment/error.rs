//! Why a saga refuses.

use super::{CommandKind, State};

/// Why an input was refused. Messages never are, unless their saga cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is no such saga.
    #[error("there is no saga for this order")]
    NotStarted,
    /// Retry and skip are for what is stuck.
    #[error("nothing is stuck: the saga is {0}")]
    NotStuck(State),
    /// A saga that stands still does nothing else before it goes on.
    #[error("the saga is paused: resume it first")]
    Paused,
    /// Only what stands still can go on.
    #[error("the saga is not paused: it is {0}")]
    NotPaused(State),
    /// Nothing is to be paused.
    #[error("the saga is over: it is {0}")]
    Over(State),
    /// The step lies on the other way.
    #[error("the saga {} and does not come to {from}: it can restart from {}", way(*.goes_back), steps(*.goes_back))]
    NotOnItsWay {
        /// The step.
        from: CommandKind,
        /// Whether the saga is undone, or was.
        goes_back: bool,
    },
    /// All of it is done, or was never asked for.
    #[error("nothing from {0} on was asked for and is not done")]
    NothingToRestart(CommandKind),
    /// Only what goes forward can be cancelled.
    #[error("an operator cannot cancel a saga that is {0}")]
    NotCancellable(State),
    /// It was begun by a newer program than this.
    #[error("the saga runs on definition version {0}, which this program does not have")]
    UnknownDefinition(u32),
}

fn way(goes_back: bool) -> &'static str {
    if goes_back { "is undone" } else { "goes forward" }
}

fn steps(goes_back: bool) -> String {
    let steps = CommandKind::ALL.into_iter().filter(|kind| kind.goes_back() == goes_back);
    steps.map(CommandKind::as_str).collect::<Vec<_>>().join(", ")
}
