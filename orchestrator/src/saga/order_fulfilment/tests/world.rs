//! A small world around a saga: stock, a payment provider and the order, with logs between them that keep the order
//! within a key, deliver late and deliver again.

use super::*;

/// What is sent under one key: read in order, and again from an earlier place after a crash.
struct Log<T> {
    records: Vec<T>,
    next: usize,
}

impl<T> Default for Log<T> {
    fn default() -> Self {
        Self { records: Vec::new(), next: 0 }
    }
}

impl<T: Clone> Log<T> {
    fn read(&mut self) -> Option<T> {
        let record = self.records.get(self.next).cloned();
        self.next += usize::from(record.is_some());
        record
    }

    fn rewind(&mut self, by: usize) {
        self.next -= by.min(self.next);
    }

    fn is_read(&self) -> bool {
        self.next == self.records.len()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hold {
    Nothing,
    Reserved(i64),
    Sold(i64),
    Rejected,
    Released,
}

/// The stock of one product, as far as this order touches it.
pub(super) struct Stock {
    pub(super) available: i64,
    pub(super) hold: Hold,
}

impl Stock {
    fn handle(&mut self, product_id: ProductId, command: &Command) -> Option<In> {
        let released = In::StockReleased { product_id };
        match (command, self.hold) {
            (Command::ReserveStock { quantity, .. }, Hold::Nothing) => {
                let wanted = i64::from(*quantity);
                let enough = wanted <= self.available;
                self.hold = if enough { Hold::Reserved(wanted) } else { Hold::Rejected };
                self.available -= if enough { wanted } else { 0 };
                self.handle(product_id, command)
            }
            (Command::ReserveStock { .. }, Hold::Reserved(_) | Hold::Sold(_)) => Some(In::StockReserved { product_id }),
            (Command::ReserveStock { .. }, Hold::Rejected) => {
                Some(In::StockRejected { product_id, reason: "out of stock".to_owned() })
            }
            (Command::ReserveStock { .. }, Hold::Released) => Some(released),
            (Command::CommitStock { .. }, Hold::Reserved(quantity) | Hold::Sold(quantity)) => {
                self.hold = Hold::Sold(quantity);
                Some(In::StockCommitted { product_id })
            }
            (Command::ReleaseStock { .. }, hold) => {
                if let Hold::Reserved(quantity) | Hold::Sold(quantity) = hold {
                    self.available += quantity;
                }
                self.hold = Hold::Released;
                Some(released)
            }
            _ => None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Charge {
    Unknown,
    AtProvider { refund_wanted: bool },
    Captured,
    Failed,
    Refunded,
}

/// The payment and the provider's books.
pub(super) struct Payment {
    pub(super) charge: Charge,
    pub(super) captured: i64,
    pub(super) refunded: i64,
    pub(super) refunds_that_fail: u32,
}

impl Payment {
    fn handle(&mut self, command: &Command) -> Option<In> {
        match (command, self.charge) {
            (Command::ChargePayment { .. }, Charge::Unknown) => {
                self.charge = Charge::AtProvider { refund_wanted: false };
                None
            }
            (Command::RefundPayment { .. }, Charge::AtProvider { .. }) => {
                self.charge = Charge::AtProvider { refund_wanted: true };
                None
            }
            (Command::RefundPayment { .. }, Charge::Captured) if self.refunds_that_fail > 0 => {
                self.refunds_that_fail -= 1;
                Some(refund_failed())
            }
            (Command::RefundPayment { .. }, Charge::Captured) => {
                self.refunded = self.captured;
                self.charge = Charge::Refunded;
                Some(In::PaymentRefunded)
            }
            // Nothing was taken and nothing will be.
            (Command::RefundPayment { .. }, _) | (Command::ChargePayment { .. }, Charge::Refunded) => {
                self.charge = Charge::Refunded;
                Some(In::PaymentRefunded)
            }
            (Command::ChargePayment { .. }, Charge::Captured) => Some(paid()),
            (Command::ChargePayment { .. }, Charge::Failed) => Some(declined()),
            _ => None,
        }
    }

    /// The provider answers a charge, if one is with it.
    fn provider_answers(&mut self, good: bool, amount: i64) -> Vec<In> {
        let Charge::AtProvider { refund_wanted } = self.charge else { return Vec::new() };
        self.charge = if good { Charge::Captured } else { Charge::Failed };
        self.captured += if good { amount } else { 0 };
        let answer = if good { paid() } else { declined() };
        let refund = Command::RefundPayment { reason: String::new() };
        [answer].into_iter().chain(refund_wanted.then(|| self.handle(&refund)).flatten()).collect()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Placed {
    Pending,
    Confirmed,
    Cancelled,
}

/// What goes wrong with a step, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The command is lost.
    Unheard,
    /// The command is carried out and the answer is lost.
    Unanswered,
    /// The command is delivered again, and answered again.
    Repeated,
}

/// What may happen next.
#[derive(Clone, Copy, Debug)]
pub(super) enum Act {
    /// The reader of one of the logs gets its next record.
    Deliver(usize),
    /// The reader of one of the logs falls back.
    Rewind(usize, usize),
    Provider(bool),
    RefundsFail(u32),
    CustomerCancels,
    /// The timer fires, this many seconds later; it is not always due.
    Later(u32),
    /// The timer fires when it is due.
    Due,
    Operator(bool),
    /// An operator has the saga stand still, or go on.
    Stands(bool),
    /// An operator has the saga go back.
    Restarts(CommandKind),
}

type Sent = (StepId, Direction, Command);

pub(super) struct World {
    pub(super) story: Story,
    pub(super) stocks: Vec<Stock>,
    pub(super) payment: Payment,
    pub(super) placed: Placed,
    pub(super) fault: Option<(StepId, Direction, Fault)>,
    /// How the provider answers when it is not told.
    pub(super) card_is_good: bool,
    to_product: Vec<Log<Sent>>,
    to_payment: Log<Sent>,
    to_order: Log<Sent>,
    from_product: Vec<Log<In>>,
    from_payment: Log<In>,
    from_order: Log<In>,
}

impl World {
    /// So many of each product are there, and so many are ordered.
    pub(super) fn new(available: &[i64], ordered: &[i64]) -> Self {
        Self {
            story: Story::default(),
            stocks: available.iter().map(|&available| Stock { available, hold: Hold::Nothing }).collect(),
            payment: Payment { charge: Charge::Unknown, captured: 0, refunded: 0, refunds_that_fail: 0 },
            placed: Placed::Pending,
            fault: None,
            card_is_good: true,
            to_product: available.iter().map(|_| Log::default()).collect(),
            to_payment: Log::default(),
            to_order: Log::default(),
            from_product: available.iter().map(|_| Log::default()).collect(),
            from_payment: Log::default(),
            from_order: Log { records: vec![created(order(ordered))], next: 0 },
        }
    }

    pub(super) fn act(&mut self, act: Act) {
        match act {
            Act::Deliver(log) => self.deliver(log % self.logs()),
            Act::Rewind(log, by) => self.rewind(log % self.logs(), by),
            Act::Provider(good) => self.provider_answers(good),
            Act::RefundsFail(times) => self.payment.refunds_that_fail = times,
            Act::CustomerCancels => self.from_order.records.push(In::CancelRequested),
            Act::Later(seconds) => {
                self.story.now += chrono::TimeDelta::seconds(seconds.into());
                self.saga_gets(In::Timeout);
            }
            Act::Due => {
                self.story.now = self.story.saga.deadline().map_or(self.story.now, |due| due.max(self.story.now));
                self.saga_gets(In::Timeout);
            }
            // In a state that does not allow it, an operator is refused and nothing happens.
            Act::Operator(true) => self.saga_gets(retry()),
            Act::Operator(false) => self.saga_gets(cancel()),
            Act::Stands(true) => self.saga_gets(pause()),
            Act::Stands(false) => self.saga_gets(resume()),
            Act::Restarts(from) => self.saga_gets(restart(from)),
        }
    }

    /// All is delivered, all services answer, the timer fires and somebody looks after what is stuck, until the saga is
    /// over. Says how many acts it took, if it came to an end.
    pub(super) fn settle(&mut self, acts_max: usize) -> Option<usize> {
        self.payment.refunds_that_fail = 0;
        self.act(Act::Stands(false));
        for acts in 0..acts_max {
            if let Some(log) = (0..self.logs()).find(|log| !self.is_read(*log)) {
                self.deliver(log);
            } else if matches!(self.payment.charge, Charge::AtProvider { .. }) {
                self.provider_answers(self.card_is_good);
            } else if self.story.saga.state().is_over() {
                return Some(acts);
            } else if self.story.saga.deadline().is_some() {
                self.act(Act::Due);
            } else {
                self.act(Act::Operator(true));
            }
        }
        None
    }

    fn logs(&self) -> usize {
        2 * self.stocks.len() + 4
    }

    fn is_read(&self, log: usize) -> bool {
        let products = self.stocks.len();
        match log {
            0 => self.to_payment.is_read(),
            1 => self.to_order.is_read(),
            2 => self.from_payment.is_read(),
            3 => self.from_order.is_read(),
            log if log - 4 < products => self.to_product[log - 4].is_read(),
            log => self.from_product[log - 4 - products].is_read(),
        }
    }

    fn rewind(&mut self, log: usize, by: usize) {
        let products = self.stocks.len();
        match log {
            0 => self.to_payment.rewind(by),
            1 => self.to_order.rewind(by),
            2 => self.from_payment.rewind(by),
            3 => self.from_order.rewind(by),
            log if log - 4 < products => self.to_product[log - 4].rewind(by),
            log => self.from_product[log - 4 - products].rewind(by),
        }
    }

    fn deliver(&mut self, log: usize) {
        let products = self.stocks.len();
        match log {
            0 => {
                let sent = self.to_payment.read();
                let answers = self.carry_out(sent, |world, command| world.payment.handle(command));
                self.from_payment.records.extend(answers);
            }
            1 => {
                let sent = self.to_order.read();
                let answers = self.carry_out(sent, Self::order_handles);
                self.from_order.records.extend(answers);
            }
            2 => self.from_payment.read().into_iter().for_each(|message| self.saga_gets(message)),
            3 => self.from_order.read().into_iter().for_each(|message| self.saga_gets(message)),
            log if log - 4 < products => {
                let index = log - 4;
                let id = product(index as u128 + 1);
                let sent = self.to_product[index].read();
                let answers = self.carry_out(sent, |world, command| world.stocks[index].handle(id, command));
                self.from_product[index].records.extend(answers);
            }
            log => self.from_product[log - 4 - products].read().into_iter().for_each(|message| self.saga_gets(message)),
        }
    }

    /// A service carries out a command and answers, with the fault that is set for its step.
    fn carry_out(&mut self, sent: Option<Sent>, handle: impl Fn(&mut Self, &Command) -> Option<In>) -> Vec<In> {
        let Some((step, direction, command)) = sent else { return Vec::new() };
        let fault = self.fault.take_if(|(s, d, _)| (*s, *d) == (step, direction)).map(|(.., fault)| fault);
        if fault == Some(Fault::Unheard) {
            return Vec::new();
        }
        let mut answers: Vec<_> = handle(self, &command).into_iter().collect();
        match fault {
            Some(Fault::Repeated) => answers.extend(handle(self, &command)),
            Some(_) => answers.clear(),
            None => {}
        }
        answers
    }

    fn order_handles(&mut self, command: &Command) -> Option<In> {
        match (command, self.placed) {
            (Command::ConfirmOrder, Placed::Pending | Placed::Confirmed) => {
                self.placed = Placed::Confirmed;
                Some(In::OrderConfirmed)
            }
            (Command::CancelOrder { .. }, _) => {
                self.placed = Placed::Cancelled;
                Some(In::OrderCancelled)
            }
            _ => None,
        }
    }

    fn provider_answers(&mut self, good: bool) {
        let total = order(&[]).total.minor;
        self.from_payment.records.extend(self.payment.provider_answers(good, total));
    }

    fn saga_gets(&mut self, kind: In) {
        let Ok(story) = self.story.clone().try_on(kind) else { return };
        self.story = story;
        for event in &self.story.last {
            let Event::CommandIssued { step, direction, command, .. } = event else { continue };
            let sent = (*step, *direction, command.clone());
            match command {
                Command::ReserveStock { product_id, .. }
                | Command::ReleaseStock { product_id }
                | Command::CommitStock { product_id } => {
                    self.to_product[product_id.0.as_u128() as usize - 1].records.push(sent);
                }
                Command::ChargePayment { .. } | Command::RefundPayment { .. } => self.to_payment.records.push(sent),
                Command::ConfirmOrder | Command::CancelOrder { .. } => self.to_order.records.push(sent),
            }
        }
    }
}
