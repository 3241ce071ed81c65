//! What a saga is to do, in steps whose kind their type tells.
//!
//! The three kinds follow Chris Richardson, *Microservices Patterns*, chapter 4: what can be undone comes first, then
//! the one step that settles it, then what must succeed in the end. A [`Plan`] cannot be put together in another order,
//! and there is no way to ask a [`Retriable`] for its undo.

use chrono::TimeDelta;

/// Can be undone by a command of its own; all of them are issued at once.
pub(super) struct Compensatable<Id, Command> {
    pub(super) id: Id,
    pub(super) forward: Command,
    pub(super) undo: Command,
}

/// The point of no return: once it is done the saga goes forward by itself. What takes it back is issued when it may
/// have been done unseen, and when somebody asks for it later.
pub(super) struct Pivot<Id, Command> {
    pub(super) id: Id,
    pub(super) forward: Command,
    pub(super) takes_back: Command,
}

/// Must succeed in the end: it is asked for again until it does, and has no undo.
pub(super) struct Retriable<Id, Command> {
    pub(super) id: Id,
    pub(super) forward: Command,
}

/// The whole of a saga.
pub(super) struct Plan<Id, Command> {
    pub(super) compensatable: Vec<Compensatable<Id, Command>>,
    pub(super) pivot: Pivot<Id, Command>,
    pub(super) retriable: Vec<Retriable<Id, Command>>,
    /// What ends a saga that was undone.
    pub(super) ending: Retriable<Id, Command>,
}

impl<Id: Copy, Command> Plan<Id, Command> {
    /// The undo commands with the steps that they undo, last step first.
    pub(super) fn undos(self) -> impl Iterator<Item = (Id, Command)> {
        let compensatable = self.compensatable.into_iter().rev().map(|step| (step.id, step.undo));
        std::iter::once((self.pivot.id, self.pivot.takes_back)).chain(compensatable)
    }
}

/// How long a step is waited for, and how often it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// The wait for an answer to the first attempt, in seconds; doubled at each further one.
    pub wait_s: u32,
    /// The longest wait, in seconds.
    pub wait_s_max: u32,
    /// All attempts, the first among them.
    pub attempts_max: u32,
}

impl Patience {
    /// One attempt.
    pub(super) const fn once(wait_s: u32) -> Self {
        Self { wait_s, wait_s_max: wait_s, attempts_max: 1 }
    }

    /// The wait for the answer to an attempt, from 1 on.
    pub fn wait(self, attempt: u32) -> TimeDelta {
        let doubled = self.wait_s.saturating_mul(2_u32.saturating_pow(attempt.saturating_sub(1)));
        TimeDelta::seconds(doubled.min(self.wait_s_max).into())
    }
}
