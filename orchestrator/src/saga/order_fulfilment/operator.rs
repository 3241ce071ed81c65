//! What operators do to a saga.

use super::{CommandKind, Error, Event, InputKind, OPERATOR, OrderFulfilment, State, Step, Trigger, Turn};

/// Why an operator's act does not fit the state that the saga is in. What is no act is just not heeded.
pub(super) fn refusal(state: State, act: Trigger) -> Option<Error> {
    act.is_operators().then_some(match (state, act) {
        (State::NotStarted, _) => Error::NotStarted,
        (_, Trigger::OperatorResume) => Error::NotPaused(state),
        (State::Paused, _) => Error::Paused,
        (_, Trigger::OperatorPause) => Error::Over(state),
        (_, Trigger::OperatorCancel) => Error::NotCancellable(state),
        _ => Error::NotStuck(state),
    })
}

impl OrderFulfilment {
    /// What a restart from there asks again for: what was asked for and is not known to be done, or was skipped, of the
    /// first stage that has any. A saga that was reopened does not go on to its end before it is undone.
    fn to_restart(&self, from: CommandKind) -> Vec<Step> {
        let last = match self.lane {
            State::Compensating => CommandKind::ReleaseStock.stage(),
            _ => CommandKind::CancelOrder.stage(),
        };
        let behind = |step: &&Step| {
            let kind = step.command.kind();
            kind >= from && kind.goes_back() == from.goes_back() && kind.stage() <= last && !step.is_done()
        };
        let behind: Vec<&Step> = self.steps.iter().filter(behind).collect();
        let first = behind.iter().map(|step| step.command.kind().stage()).min();
        behind.into_iter().filter(|step| Some(step.command.kind().stage()) == first).cloned().collect()
    }
}

impl Turn {
    pub(super) fn operate(&mut self, act: InputKind) -> Result<(), Error> {
        let at = self.at;
        match act {
            InputKind::OperatorRetry { actor, reason } => {
                let stuck: Vec<_> = self.saga.stuck().cloned().collect();
                self.record(Event::OperatorRetried { at, actor, reason });
                self.ask_again(stuck);
            }
            InputKind::OperatorSkip { actor, reason } => {
                self.record(Event::OperatorSkipped { at, actor, reason });
                self.advance();
            }
            InputKind::OperatorCancel { .. } if self.saga.goes_back() => {
                return Err(Error::NotCancellable(self.saga.lane));
            }
            InputKind::OperatorCancel { actor, reason } => {
                let told = format!("{OPERATOR}: {reason}");
                self.record(Event::OperatorCancelled { at, actor, reason });
                self.compensate(&told);
            }
            InputKind::OperatorPause { actor, reason } => self.record(Event::OperatorPaused { at, actor, reason }),
            InputKind::OperatorResume { actor, reason } => self.resume(Event::OperatorResumed { at, actor, reason })?,
            InputKind::OperatorRestart { actor, reason, from } => {
                if from.goes_back() != self.saga.goes_back() {
                    return Err(Error::NotOnItsWay { from, goes_back: self.saga.goes_back() });
                }
                let steps = self.saga.to_restart(from);
                let Some(first) = steps.first() else { return Err(Error::NothingToRestart(from)) };
                // What is done already is not gone back to.
                let from = from.max(first.command.kind());
                self.record(Event::OperatorRestarted { at, actor, reason, from });
                self.ask_again(steps);
            }
            // All else is no act.
            _ => {}
        }
        Ok(())
    }

    /// With all attempts anew.
    fn ask_again(&mut self, steps: Vec<Step>) {
        for step in steps {
            self.issue(step.id, step.direction, 1, step.command);
        }
    }

    /// A message for a saga that stands still, once.
    pub(super) fn keep(&mut self, input: InputKind) {
        if !self.saga.kept.contains(&input) {
            self.record(Event::InputKept { at: self.at, input });
        }
    }

    /// All that was kept, in its order, each as it fits what the one before it led to.
    fn resume(&mut self, resumed: Event) -> Result<(), Error> {
        let kept = self.saga.kept.clone();
        self.record(resumed);
        for input in kept {
            if self.saga.state().heeds(input.trigger()) {
                self.take(input)?;
            }
        }
        Ok(())
    }
}
