//! Messages in: what the orchestrator asks of stock.

use chrono::{DateTime, Utc};
use domain::stock::{Command, Stock};
use event_schemas::commands::{CommitStock, ReleaseStock, ReserveStock};
use event_schemas::{Published, topics};
use runtime::consumer::Follows;
use runtime::message::Error;
use runtime::{Handler, Message};

/// What the consumer follows.
pub const FOLLOWS: Follows = Follows {
    consumer: "product",
    topics: &[topics::PRODUCT_COMMANDS],
    acts_on: |message| StockCommands.commands(message, DateTime::UNIX_EPOCH).is_ok_and(|commands| !commands.is_empty()),
};

/// Commands to stock. Their ids are remembered: stock forgets what an order once had, so by its own
/// state it could not tell a repeated command from a new one.
pub struct StockCommands;

impl Handler for StockCommands {
    type Aggregate = Stock;

    const INBOX: bool = true;

    fn commands(&self, message: &Message, now: DateTime<Utc>) -> Result<Vec<(String, Command)>, Error> {
        let (product_id, command) = match message.message_type.as_str() {
            ReserveStock::TYPE => {
                let ReserveStock { order_id, product_id, quantity, .. } = message.data()?;
                (product_id, Command::Reserve { order_id, quantity, at: now })
            }
            ReleaseStock::TYPE => {
                let ReleaseStock { order_id, product_id, .. } = message.data()?;
                (product_id, Command::Release { order_id })
            }
            CommitStock::TYPE => {
                let CommitStock { order_id, product_id, .. } = message.data()?;
                (product_id, Command::Commit { order_id })
            }
            _ => {
                return Err(Error::BadData {
                    message_type: message.message_type.clone(),
                    error: "it is not a command to stock".to_owned(),
                });
            }
        };
        Ok(vec![(product_id.to_string(), command)])
    }

    fn describe(&self, id: &str, command: &Command, span: &mut telemetry::Span) {
        span.set("product.id", id);
        let (Command::Reserve { order_id, .. } | Command::Release { order_id } | Command::Commit { order_id }) =
            command
        else {
            return;
        };
        span.set("order.id", order_id.0);
    }
}
