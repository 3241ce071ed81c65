//! Messages in: what concerns a customer becomes a notification for each channel.

use chrono::{DateTime, Utc};
use domain::Reason;
use domain::notification::{Channel, Command, Event, Letter, Notification, Status};
use event_schemas::Published;
use event_schemas::order::{OrderCancelled, OrderConfirmed, OrderCreated};
use event_schemas::payment::{PaymentFailed, PaymentRefunded, PaymentSuccess};
use event_schemas::topics::{ORDER_EVENTS, PAYMENT_EVENTS, PRODUCT_EVENTS, SAGA_EVENTS, USER_EVENTS};
use event_schemas::user::UserRegistered;
use kernel::{Currency, Money, OrderId, UserId, WebhookId};
use runtime::consumer::Follows;
use runtime::message::{self, Message};
use runtime::{Handler, Origin};
use tokio::sync::mpsc;

use crate::commands::{Queued, Story};
use crate::webhooks::Subscribers;
use crate::worker::Fresh;

/// What the consumer follows.
pub const FOLLOWS: Follows = Follows {
    consumer: "notification",
    topics: &[ORDER_EVENTS, PRODUCT_EVENTS, PAYMENT_EVENTS, USER_EVENTS, SAGA_EVENTS],
    acts_on: |message| news(message).is_ok_and(|news| news.is_some()),
};

/// Queues notifications, and hands them to the workers once they are committed.
pub struct Customers {
    channels: Vec<(Channel, mpsc::Sender<Fresh>)>,
    subscribers: Option<Subscribers>,
}

impl Customers {
    /// For the log alone, and without a worker: for whoever records by himself what was sent.
    pub fn of_the_log() -> Self {
        // Nobody takes from it.
        let (worker, _) = mpsc::channel(1);
        Self { channels: vec![(Channel::Log, worker)], subscribers: None }
    }

    /// For these channels and their workers, and the webhooks.
    pub(crate) fn new(channels: Vec<(Channel, mpsc::Sender<Fresh>)>, subscribers: Option<Subscribers>) -> Self {
        Self { channels, subscribers }
    }

    /// Each way that news of this kind goes.
    fn ways(&self, kind: &str) -> Vec<(Channel, Option<WebhookId>)> {
        let mut ways = Vec::with_capacity(self.channels.len());
        for (channel, _) in &self.channels {
            match (channel, &self.subscribers) {
                (Channel::Webhook, Some(subscribers)) => {
                    ways.extend(subscribers.of(kind).into_iter().map(|webhook| (*channel, Some(webhook))));
                }
                (Channel::Webhook, None) => {}
                (Channel::Log | Channel::Email, _) => ways.push((*channel, None)),
            }
        }
        ways
    }
}

impl Handler for Customers {
    type Aggregate = Notification;

    fn commands(&self, message: &Message, now: DateTime<Utc>) -> Result<Vec<(String, Command)>, message::Error> {
        let Some(news) = news(message)? else { return Ok(Vec::new()) };
        let queue = |(channel, webhook_id)| {
            let letter = Letter {
                channel,
                recipient: news.recipient,
                template: message.message_type.clone(),
                order_id: news.order_id,
                webhook_id,
                amount: news.amount,
                reason: news.reason.clone(),
            };
            let notification_id = letter.id(message.id);
            let command = Command::Queue { notification_id, message_id: message.id, letter, at: now };
            (notification_id.to_string(), command)
        };
        Ok(self.ways(&message.message_type).into_iter().map(queue).collect())
    }

    fn describe(&self, _: &str, command: &Command, span: &mut telemetry::Span) {
        if let Command::Queue { letter: Letter { order_id: Some(order_id), .. }, .. } = command {
            span.set("order.id", order_id.0);
        }
    }

    fn committed(&self, _: &str, state: &Notification, events: &[Event], origin: &Origin) {
        // Only the first event of a stream is decided here; results are recorded by the workers.
        let ([Event::NotificationQueued { notification_id, message_id, at, .. }], Notification::Known(known)) =
            (events, state)
        else {
            return;
        };
        let worker = self.channels.iter().find(|(of, _)| *of == known.letter.channel).map(|(_, worker)| worker);
        if let Some(worker) = worker {
            // One that finds no place is found by the sweep.
            let _ = worker.try_send(Fresh::new(Queued {
                id: *notification_id,
                letter: known.letter.clone(),
                queued_at: *at,
                status: Status::Queued,
                attempts: 0,
                failed_attempts: 0,
                sequence: 1,
                story: Story {
                    message_id: *message_id,
                    correlation_id: origin.correlation_id,
                    traceparent: origin.traceparent.clone(),
                },
            }));
        }
    }
}

/// What a customer is to be told of.
struct News {
    recipient: UserId,
    order_id: Option<OrderId>,
    amount: Option<Money>,
    reason: Option<Reason>,
}

impl News {
    fn of_order(recipient: UserId, order_id: OrderId) -> Self {
        Self { recipient, order_id: Some(order_id), amount: None, reason: None }
    }

    /// With an amount; without, where it is none of its currency: better no figure than no news.
    fn over(self, amount: &event_schemas::Amount, currency: Currency) -> Self {
        Self { amount: amount.money(currency).ok(), ..self }
    }

    fn because(self, reason: &str) -> Self {
        Self { reason: Some(reason.into()), ..self }
    }
}

/// What the message is to a customer; nothing if it is no business of theirs.
fn news(message: &Message) -> Result<Option<News>, message::Error> {
    Ok(Some(match message.message_type.as_str() {
        UserRegistered::TYPE => {
            let data: UserRegistered = message.data()?;
            News { recipient: data.user_id, order_id: None, amount: None, reason: None }
        }
        OrderCreated::TYPE => {
            let data: OrderCreated = message.data()?;
            News::of_order(data.user_id, data.order_id).over(&data.total_price, data.currency)
        }
        OrderConfirmed::TYPE => {
            let data: OrderConfirmed = message.data()?;
            News::of_order(data.user_id, data.order_id).over(&data.total_price, data.currency)
        }
        OrderCancelled::TYPE => {
            let data: OrderCancelled = message.data()?;
            News::of_order(data.user_id, data.order_id).because(&data.reason)
        }
        PaymentSuccess::TYPE => {
            let data: PaymentSuccess = message.data()?;
            News::of_order(data.user_id, data.order_id).over(&data.amount, data.currency)
        }
        PaymentFailed::TYPE => {
            let data: PaymentFailed = message.data()?;
            News::of_order(data.user_id, data.order_id).over(&data.amount, data.currency).because(&data.reason)
        }
        PaymentRefunded::TYPE => {
            let data: PaymentRefunded = message.data()?;
            // Without a user no charge had been asked for: nobody waits for news of it.
            let Some(user_id) = data.user_id else { return Ok(None) };
            let news = News::of_order(user_id, data.order_id);
            match data.currency {
                Some(currency) => news.over(&data.amount, currency),
                None => news,
            }
        }
        other if event_schemas::Entry::named(other).is_some() => return Ok(None),
        other => return Err(message::Error::UnknownType(other.to_owned())),
    }))
}
