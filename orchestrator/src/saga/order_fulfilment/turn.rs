//! The handling of one input.

use chrono::{DateTime, Utc};

use super::State::{Cancelling, Charging, Compensating, Completing, Reserving};
use super::{
    CANCELLED_BY_CUSTOMER, Command, DONE_LATE, Definition, Direction, Error, Event, InputKind, NO_ANSWER,
    NOTHING_ORDERED, Order, OrderFulfilment, PAYMENT_TIMED_OUT, Plan, RESERVATION_TIMED_OUT, Status, Step, StepId,
    command_id, merged, plan,
};

/// Each event is folded in as it is recorded, so what follows decides on what was.
pub(super) struct Turn {
    pub(super) at: DateTime<Utc>,
    pub(super) definition: &'static Definition,
    pub(super) saga: OrderFulfilment,
    pub(super) events: Vec<Event>,
}

impl Turn {
    pub(super) fn of(saga: &OrderFulfilment, definition: &'static Definition, at: DateTime<Utc>) -> Self {
        Self { at, definition, saga: saga.clone(), events: Vec::new() }
    }

    /// What the input leads to.
    pub(super) fn events(mut self, kind: InputKind) -> Result<Vec<Event>, Error> {
        self.take(kind)?;
        Ok(self.events)
    }

    pub(super) fn take(&mut self, kind: InputKind) -> Result<(), Error> {
        use Direction::{Forward, Undo};
        match kind {
            message if self.saga.paused_at.is_some() && !message.trigger().is_operators() => self.keep(message),
            InputKind::OrderCreated { order_id, user_id, lines, total, payment_method } => {
                self.begin(Order { order_id, user_id, lines, total, payment_method });
            }
            InputKind::StockReserved { product_id } => self.succeed(StepId::ReserveStock(product_id), Forward, None),
            InputKind::StockCommitted { product_id } => self.succeed(StepId::CommitStock(product_id), Forward, None),
            InputKind::StockReleased { product_id } => self.succeed(StepId::ReserveStock(product_id), Undo, None),
            InputKind::PaymentSucceeded { transaction_id } => {
                self.succeed(StepId::ChargePayment, Forward, Some(transaction_id));
            }
            InputKind::PaymentRefunded => self.succeed(StepId::ChargePayment, Undo, None),
            InputKind::OrderConfirmed => self.succeed(StepId::ConfirmOrder, Forward, None),
            InputKind::OrderCancelled => self.succeed(StepId::CancelOrder, Forward, None),
            InputKind::StockRejected { product_id, reason } => {
                self.fail(StepId::ReserveStock(product_id), Forward, reason);
            }
            InputKind::PaymentFailed { reason } => self.fail(StepId::ChargePayment, Forward, reason),
            InputKind::RefundFailed { reason } => self.fail(StepId::ChargePayment, Undo, reason),
            InputKind::Timeout => self.time_out(),
            InputKind::CancelRequested if self.saga.goes_back() => {}
            InputKind::CancelRequested => self.compensate(CANCELLED_BY_CUSTOMER),
            act => self.operate(act)?,
        }
        Ok(())
    }

    fn begin(&mut self, order: Order) {
        let lines = merged(&order.lines);
        let possible = lines.is_some();
        let order = Order { lines: lines.unwrap_or_default(), ..order };
        self.record(Event::SagaStarted { at: self.at, definition_version: self.definition.version, order });
        if !possible {
            return self.compensate(NOTHING_ORDERED);
        }
        for step in self.plan().compensatable {
            self.issue(step.id, Direction::Forward, 1, step.forward);
        }
    }

    /// A step was done or undone; if that was waited for, the saga goes on.
    fn succeed(&mut self, id: StepId, direction: Direction, reference: Option<String>) {
        let Some(step) = self.saga.step(id, direction) else { return };
        if step.is_settled() {
            return;
        }
        let done = Event::StepSucceeded { at: self.at, step: id, direction, reference };
        if direction == Direction::Forward && self.saga.goes_back() && id != StepId::CancelOrder {
            return self.succeed_late(id, done);
        }
        self.record(done);
        self.advance();
    }

    /// A step was done after all, while the saga undoes its steps.
    fn succeed_late(&mut self, id: StepId, done: Event) {
        let Some((_, undo)) = self.plan().undos().find(|(step, _)| *step == id) else { return };
        match self.saga.step(id, Direction::Undo).map(|step| step.status) {
            Some(Status::Done) => {}
            Some(Status::Waiting | Status::Failed | Status::InDoubt | Status::Stuck) => self.record(done),
            None | Some(Status::Skipped) => {
                self.record(done);
                if self.saga.lane != Compensating {
                    self.record(Event::CompensationStarted { at: self.at, reason: format!("{id} {DONE_LATE}") });
                }
                self.issue(id, Direction::Undo, 1, undo);
            }
        }
    }

    /// A step was refused: forward, the saga turns back; an undo is asked for again.
    fn fail(&mut self, id: StepId, direction: Direction, reason: String) {
        let Some(step) = self.saga.step(id, direction).filter(|step| step.status == Status::Waiting) else { return };
        let patience = self.definition.patience(id, direction);
        let again = direction == Direction::Undo && step.attempt < patience.attempts_max;
        let retry_at = again.then(|| self.at + patience.wait(step.attempt));
        self.record(Event::StepFailed { at: self.at, step: id, direction, reason: reason.clone(), retry_at });
        match direction {
            Direction::Forward => self.compensate(&reason),
            Direction::Undo if retry_at.is_none() => {
                self.record(Event::SagaStuck { at: self.at, step: id, direction, reason });
            }
            Direction::Undo => {}
        }
    }

    /// Asks again for all that is due; what is not asked for again turns the saga back or is stuck.
    fn time_out(&mut self) {
        let at = self.at;
        let mut given_up = None;
        let due: Vec<_> =
            self.saga.steps.iter().filter(|step| step.due.is_some_and(|due| due <= at)).cloned().collect();
        for Step { id, direction, status, attempt, command, .. } in due {
            if status == Status::Waiting {
                self.record(Event::StepTimedOut { at, step: id, direction, attempt });
            }
            match (id, direction) {
                _ if attempt < self.definition.patience(id, direction).attempts_max => {
                    self.issue(id, direction, attempt + 1, command);
                }
                (StepId::ReserveStock(_), Direction::Forward) => given_up = Some(RESERVATION_TIMED_OUT),
                (StepId::ChargePayment, Direction::Forward) => given_up = Some(PAYMENT_TIMED_OUT),
                _ => self.record(Event::SagaStuck { at, step: id, direction, reason: NO_ANSWER.to_owned() }),
            }
        }
        if let Some(reason) = given_up {
            self.compensate(reason);
        }
    }

    /// Turns back: undoes all that was done or may have been, last step first.
    pub(super) fn compensate(&mut self, reason: &str) {
        self.record(Event::CompensationStarted { at: self.at, reason: reason.to_owned() });
        for (id, undo) in self.plan().undos() {
            if self.saga.step(id, Direction::Forward).is_some_and(|step| step.status != Status::Failed) {
                self.issue(id, Direction::Undo, 1, undo);
            }
        }
        self.advance();
    }

    /// Goes on to the next state when this one's steps are settled.
    pub(super) fn advance(&mut self) {
        use Direction::Forward;
        let (at, plan, saga) = (self.at, self.plan(), &self.saga);
        match saga.lane {
            Reserving if plan.compensatable.iter().all(|step| saga.is_settled(step.id, Forward)) => {
                self.issue(plan.pivot.id, Forward, 1, plan.pivot.forward);
            }
            Charging if saga.is_settled(plan.pivot.id, Forward) => {
                for step in plan.retriable {
                    self.issue(step.id, Forward, 1, step.forward);
                }
            }
            Completing if plan.retriable.iter().all(|step| saga.is_settled(step.id, Forward)) => {
                self.record(Event::SagaCompleted { at });
            }
            Compensating if saga.steps.iter().all(|step| step.direction == Forward || step.is_settled()) => {
                // A saga that was reopened may have cancelled its order before.
                if saga.is_settled(plan.ending.id, Forward) {
                    self.end_cancelled();
                } else {
                    self.issue(plan.ending.id, Forward, 1, plan.ending.forward);
                }
            }
            Cancelling if saga.is_settled(plan.ending.id, Forward) => self.end_cancelled(),
            _ => {}
        }
    }

    fn end_cancelled(&mut self) {
        let reason = self.saga.cancel_reason.clone().unwrap_or_default();
        self.record(Event::SagaCancelled { at: self.at, reason });
    }

    fn plan(&self) -> Plan<StepId, Command> {
        // A turn has an order: only `begin` runs without one, and records it first.
        let order = self.saga.order.as_ref().expect("a saga that was started has its order");
        plan(order, self.saga.cancel_reason.as_deref().unwrap_or_default())
    }

    pub(super) fn issue(&mut self, step: StepId, direction: Direction, attempt: u32, command: Command) {
        let Some(order) = &self.saga.order else { return };
        self.record(Event::CommandIssued {
            at: self.at,
            command_id: command_id(order.order_id, step, direction),
            step,
            direction,
            attempt,
            due: self.at + self.definition.patience(step, direction).wait(attempt),
            command,
        });
    }

    pub(super) fn record(&mut self, event: Event) {
        self.saga.fold_event(event.clone());
        self.events.push(event);
    }
}
