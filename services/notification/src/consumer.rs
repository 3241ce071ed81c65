//! Messages in: what concerns a customer becomes a notification for each channel.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use domain::notification::{Channel, Command, Event, Letter, Notification};
use event_schemas::Published;
use event_schemas::order::{OrderCancelled, OrderConfirmed, OrderCreated};
use event_schemas::payment::{PaymentFailed, PaymentRefunded, PaymentSuccess};
use event_schemas::user::UserRegistered;
use kernel::{NotificationId, OrderId, UserId};
use parking_lot::Mutex;
use runtime::Handler;
use runtime::message::{self, Message};
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::commands::{Queued, Story};
use crate::worker::Fresh;

/// Stories kept between a message's reading and its commit, twice as many at most: more than a batch holds.
const STORIES_MAX: usize = 4_000;

/// Queues notifications, and hands them to the workers once they are committed.
pub(crate) struct Customers {
    channels: Vec<(Channel, mpsc::Sender<Fresh>)>,
    stories: Mutex<Stories>,
}

impl Customers {
    /// For these channels and their workers.
    pub(crate) fn new(channels: Vec<(Channel, mpsc::Sender<Fresh>)>) -> Self {
        Self { channels, stories: Mutex::default() }
    }
}

impl Handler for Customers {
    type Aggregate = Notification;

    fn commands(&self, message: &Message, now: DateTime<Utc>) -> Result<Vec<(String, Command)>, message::Error> {
        let Some(news) = news(message)? else { return Ok(Vec::new()) };
        self.stories.lock().put(Story {
            message_id: message.id,
            correlation_id: message.correlation_id,
            traceparent: message.traceparent.clone(),
        });
        let queue = |(channel, _): &(Channel, _)| {
            let notification_id = NotificationId::of_message(message.id, channel.as_str());
            let command = Command::Queue {
                notification_id,
                message_id: message.id,
                channel: *channel,
                recipient: news.recipient,
                template: message.message_type.clone(),
                order_id: news.order_id,
                at: now,
            };
            (notification_id.to_string(), command)
        };
        Ok(self.channels.iter().map(queue).collect())
    }

    fn committed(&self, _: &str, _: &Notification, events: &[Event]) {
        // Only the first event of a stream is decided here; results are recorded by the workers.
        let [Event::NotificationQueued { notification_id, message_id, channel, recipient, template, order_id, .. }] =
            events
        else {
            return;
        };
        let worker = self.channels.iter().find(|(of, _)| of == channel).map(|(_, worker)| worker);
        let story = self.stories.lock().get(message_id);
        if let (Some(worker), Some(story)) = (worker, story) {
            let letter =
                Letter { channel: *channel, recipient: *recipient, template: template.clone(), order_id: *order_id };
            // One that finds no place is found by the sweep.
            let _ = worker.try_send(Fresh::new(Queued {
                id: *notification_id,
                letter,
                failed_attempts: 0,
                sequence: 1,
                story,
            }));
        }
    }
}

/// What a customer is to be told of.
struct News {
    recipient: UserId,
    order_id: Option<OrderId>,
}

/// What the message is to a customer; nothing if it is no business of theirs.
fn news(message: &Message) -> Result<Option<News>, message::Error> {
    let (recipient, order_id) = match message.message_type.as_str() {
        UserRegistered::TYPE => (message.data::<UserRegistered>()?.user_id, None),
        OrderCreated::TYPE => {
            let data: OrderCreated = message.data()?;
            (data.user_id, Some(data.order_id))
        }
        OrderConfirmed::TYPE => {
            let data: OrderConfirmed = message.data()?;
            (data.user_id, Some(data.order_id))
        }
        OrderCancelled::TYPE => {
            let data: OrderCancelled = message.data()?;
            (data.user_id, Some(data.order_id))
        }
        PaymentSuccess::TYPE => {
            let data: PaymentSuccess = message.data()?;
            (data.user_id, Some(data.order_id))
        }
        PaymentFailed::TYPE => {
            let data: PaymentFailed = message.data()?;
            (data.user_id, Some(data.order_id))
        }
        PaymentRefunded::TYPE => {
            let data: PaymentRefunded = message.data()?;
            // Without a user no charge had been asked for: nobody waits for news of it.
            let Some(user_id) = data.user_id else { return Ok(None) };
            (user_id, Some(data.order_id))
        }
        other if event_schemas::Entry::named(other).is_some() => return Ok(None),
        other => return Err(message::Error::UnknownType(other.to_owned())),
    };
    Ok(Some(News { recipient, order_id }))
}

/// The stories of messages in hand, by message, in two generations: when the young one is full the old one goes.
#[derive(Default)]
struct Stories {
    young: HashMap<Uuid, Story>,
    old: HashMap<Uuid, Story>,
}

impl Stories {
    fn put(&mut self, story: Story) {
        if self.young.len() >= STORIES_MAX {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(story.message_id, story);
    }

    fn get(&self, message_id: &Uuid) -> Option<Story> {
        self.young.get(message_id).or_else(|| self.old.get(message_id)).cloned()
    }
}
