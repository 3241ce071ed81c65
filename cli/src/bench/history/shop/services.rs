//! What the services do with what they are told.

use super::{ANSWERED_AFTER, RESTOCKED_AFTER, SENT_AFTER, STOCK_LOW, Shop, What};
use crate::bench::history::rows::Entry;
use crate::bench::history::streams::Streams;
use crate::ports::Role;
use anyhow::{Context, ensure};
use cqrs_es::Aggregate;
use domain::notification::{self, Notification};
use domain::order::{Order, OrderStatus};
use domain::payment::{self, Payment, TransactionId};
use event_store::Metadata;
use event_store::clock::Clock;
use kernel::{OrderId, PaymentId, ProductId};
use orchestrator::saga::order_fulfilment::OrderFulfilment;
use payment_service::{Ask, Job};
use psp::bank;
use psp::protocol::Kind;
use runtime::{Handler, Message, Origin};
use std::sync::Arc;

impl Shop {
    pub(super) fn deliver(&mut self, role: Role, consumer: &'static str, message: &Arc<Message>) -> anyhow::Result<()> {
        match role {
            Role::Product => self.stock(consumer, message),
            Role::Order => {
                let handler = order_service::FulfilmentCommands;
                self.handle(role, consumer, &handler, message, |shop| &mut shop.orders).map(drop)
            }
            Role::Orchestrator => {
                self.handle(role, consumer, &orchestrator::Sagas, message, |shop| &mut shop.sagas).map(drop)
            }
            Role::Payment => self.pay(message),
            Role::Notification => self.tell(message),
            Role::User => Ok(()),
        }
    }

    /// What a consumer does with a message: the streams that have gone on by it.
    fn handle<H: Handler>(
        &mut self,
        role: Role,
        consumer: &str,
        handler: &H,
        message: &Message,
        streams: impl Fn(&mut Self) -> &mut Streams<H::Aggregate>,
    ) -> anyhow::Result<Vec<String>> {
        let (clock, origin) = (Arc::clone(&self.clock), Origin::message(message));
        let commands = handler.commands(message, clock.now())?;
        if H::INBOX && !commands.is_empty() {
            self.batch.handled(role, consumer, message.id, clock.now());
        }
        let mut gone_on = Vec::new();
        for (id, command) in commands {
            let decided = streams(self).decide(&id, command, &origin, clock.as_ref())?;
            if self.recorded(role, decided)?.is_some() {
                gone_on.push(id);
            }
        }
        Ok(gone_on)
    }

    fn stock(&mut self, consumer: &str, message: &Message) -> anyhow::Result<()> {
        let handler = product_service::StockCommands;
        for id in self.handle(Role::Product, consumer, &handler, message, |shop| &mut shop.stocks)? {
            let is_low = self.stocks.get(&id).is_some_and(|stock| stock.available < STOCK_LOW && stock.initial > 0);
            let product: ProductId = id.parse()?;
            if is_low && self.ordered.insert(product) {
                self.later(RESTOCKED_AFTER, What::Restock(product));
            }
        }
        Ok(())
    }

    fn pay(&mut self, message: &Message) -> anyhow::Result<()> {
        let (id, command) = payment_service::command(message, self.clock.now())?;
        self.paid(id, command, &Origin::message(message))
    }

    /// Records it, and asks the provider for what follows.
    fn paid(&mut self, id: PaymentId, command: payment::Command, origin: &Origin) -> anyhow::Result<()> {
        let (clock, name) = (Arc::clone(&self.clock), id.to_string());
        let Some(decided) = self.payments.decide(&name, command, origin, clock.as_ref())? else { return Ok(()) };
        let asks = |event: &payment::Event| {
            matches!(event, payment::Event::ChargeRequested { .. } | payment::Event::RefundRequested { .. })
        };
        if let Some(n) = decided.events.iter().rposition(asks)
            && let Some(job) = Job::newly_asked(id, &self.payments.state(&name), &decided.events)
        {
            let asked = decided.append.events[n].metadata.clone();
            let after = ANSWERED_AFTER / 4 + self.dice.about(ANSWERED_AFTER);
            self.later(after, What::Answer(Box::new(job), Box::new(asked)));
        }
        self.record(Role::Payment, decided.append)
    }

    /// The provider has an answer.
    pub(super) fn answer(&mut self, job: &Job, asked: &Metadata) -> anyhow::Result<()> {
        let (at, transaction) = (self.clock.now(), bank::transaction_of(job.key()));
        let transaction_id = TransactionId(transaction.clone());
        let (kind, amount, source, declined) = match &job.ask {
            Ask::Charge(charge) => {
                let token = charge.payment_method.as_str();
                (Kind::Charge, charge.amount, token, bank::declined(token))
            }
            Ask::Refund(refund) => (Kind::Refund, refund.amount, refund.charge.0.as_str(), None),
        };
        let outcome = declined.map_or(Ok(&*transaction), Err);
        let entry = Entry { key: job.key(), kind, payment_id: job.payment_id.0, amount, outcome, source };
        self.batch.booked(&entry, at);
        let result = match (kind, declined) {
            (_, Some(reason)) => payment::Command::RecordDeclined { reason: reason.into(), at },
            (Kind::Charge, None) => payment::Command::RecordCaptured { transaction_id, at },
            (Kind::Refund, None) => payment::Command::RecordRefunded { transaction_id, at },
        };
        self.paid(job.payment_id, result, &payment_service::answered(asked))
    }

    fn tell(&mut self, message: &Arc<Message>) -> anyhow::Result<()> {
        let (clock, origin) = (Arc::clone(&self.clock), Origin::message(message));
        for (id, command) in self.mailing.commands(message, clock.now())? {
            let decided = self.notifications.decide(&id, command, &origin, clock.as_ref())?;
            self.recorded(Role::Notification, decided)?;
            self.later(SENT_AFTER, What::Send(id, Arc::clone(message)));
        }
        Ok(())
    }

    pub(super) fn send(&mut self, id: &str, message: &Message) -> anyhow::Result<()> {
        let clock = Arc::clone(&self.clock);
        let origin = notification_service::attempted(message.correlation_id, message.id, clock.as_ref());
        let sent = notification::Command::RecordSent { at: clock.now() };
        let decided = self.notifications.decide(id, sent, &origin, clock.as_ref())?;
        self.recorded(Role::Notification, decided)?;
        self.notifications.forget(id);
        self.forget_head(Notification::TYPE, id);
        Ok(())
    }

    /// An order is over, in every way.
    pub(super) fn forget(&mut self, order: OrderId) -> anyhow::Result<()> {
        let (id, payment) = (order.to_string(), PaymentId::of_order(order));
        let saga = self.sagas.get(&id).with_context(|| format!("order {id} has no saga"))?;
        ensure!(saga.state().is_over() && saga.deadline().is_none(), "order {id}: its saga is {}", saga.state());
        let outstanding = self.payments.get(&payment.to_string()).and_then(|of| Job::outstanding(payment, of, false));
        ensure!(outstanding.is_none(), "order {id}: its payment waits for the provider");
        match self.orders.get(&id) {
            Some(Order::Placed(placed)) if placed.status == OrderStatus::Confirmed => self.ended.confirmed += 1,
            Some(Order::Placed(placed)) if placed.status == OrderStatus::Cancelled => self.ended.cancelled += 1,
            _ => anyhow::bail!("order {id} has not ended"),
        }
        self.orders.forget(&id);
        self.sagas.forget(&id);
        self.payments.forget(&payment.to_string());
        self.forget_head(Order::TYPE, &id);
        self.forget_head(OrderFulfilment::TYPE, &id);
        self.forget_head(Payment::TYPE, &payment.to_string());
        Ok(())
    }

    fn forget_head(&mut self, kind: &'static str, id: &str) {
        if let Some(heads) = &mut self.heads {
            heads.remove(&(kind, id.to_owned()));
        }
    }
}
