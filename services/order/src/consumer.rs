//! The orchestrator's commands to orders.

use chrono::{DateTime, Utc};
use domain::order::{Command, Event, Order};
use event_schemas::commands::{CancelOrder, ConfirmOrder};
use event_schemas::{Published, topics};
use runtime::consumer::Follows;
use runtime::{Handler, Message, Origin, message};

use crate::measures;

/// What the consumer follows.
pub const FOLLOWS: Follows = Follows {
    consumer: "order",
    topics: &[topics::ORDER_COMMANDS],
    acts_on: |message| {
        FulfilmentCommands.commands(message, DateTime::UNIX_EPOCH).is_ok_and(|commands| !commands.is_empty())
    },
};

/// Handles the topic `order_commands`.
pub struct FulfilmentCommands;

impl Handler for FulfilmentCommands {
    type Aggregate = Order;

    fn commands(&self, message: &Message, now: DateTime<Utc>) -> Result<Vec<(String, Command)>, message::Error> {
        Ok(match message.message_type.as_str() {
            ConfirmOrder::TYPE => {
                let ConfirmOrder { order_id, .. } = message.data()?;
                vec![(order_id.to_string(), Command::Confirm { at: now })]
            }
            CancelOrder::TYPE => {
                let CancelOrder { order_id, reason, .. } = message.data()?;
                vec![(order_id.to_string(), Command::Cancel { reason: reason.into(), at: now })]
            }
            _ => Vec::new(),
        })
    }

    fn committed(&self, _: &str, order: &Order, events: &[Event], _: &Origin) {
        measures::recorded(order, events);
    }

    fn describe(&self, id: &str, _: &Command, span: &mut telemetry::Span) {
        span.set("order.id", id);
    }
}
