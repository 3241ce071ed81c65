//! Messages in: what the orchestrator asks for becomes commands to payments.

use chrono::{DateTime, Utc};
use domain::payment::{Command, Event, Payment};
use event_schemas::commands::{ChargePayment, RefundPayment};
use event_schemas::{Published, topics};
use kernel::PaymentId;
use runtime::consumer::Follows;
use runtime::message::{self, Message};
use runtime::{Handler, Origin};
use tokio::sync::mpsc;

use crate::job::Job;
use crate::measures;

/// What the consumer follows.
pub const FOLLOWS: Follows = Follows {
    consumer: "payment",
    topics: &[topics::PAYMENT_COMMANDS],
    acts_on: |message| command(message, DateTime::UNIX_EPOCH).is_ok(),
};

/// Charges and refunds; hands what was committed to whoever calls the provider.
pub(crate) struct PaymentCommands {
    jobs: mpsc::Sender<Job>,
}

impl PaymentCommands {
    pub(crate) fn new(jobs: mpsc::Sender<Job>) -> Self {
        Self { jobs }
    }
}

impl Handler for PaymentCommands {
    type Aggregate = Payment;

    fn commands(&self, message: &Message, at: DateTime<Utc>) -> Result<Vec<(String, Command)>, message::Error> {
        let (payment_id, command) = command(message, at)?;
        Ok(vec![(payment_id.to_string(), command)])
    }

    fn describe(&self, id: &str, command: &Command, span: &mut telemetry::Span) {
        span.set("payment.id", id);
        if let Command::Charge { order_id, .. } | Command::Refund { order_id, .. } = command {
            span.set("order.id", order_id.0);
        }
    }

    fn committed(&self, id: &str, payment: &Payment, events: &[Event], origin: &Origin) {
        measures::recorded(events);
        let Ok(payment_id) = id.parse() else { return };
        if let Some(job) = Job::newly_asked(payment_id, payment, events)
            && self.jobs.try_send(job.within(Some(origin.correlation_id), origin.traceparent.clone())).is_err()
        {
            // The partition must not wait for the provider: the sweep finds it.
            tracing::debug!(payment.id = id, "too much is waiting for the provider already");
        }
    }
}

/// What the message asks of which payment.
///
/// # Errors
/// It asks nothing of payments, or what it asks cannot be meant.
pub fn command(message: &Message, at: DateTime<Utc>) -> Result<(PaymentId, Command), message::Error> {
    let (order_id, command) = match message.message_type.as_str() {
        ChargePayment::TYPE => {
            let data: ChargePayment = message.data()?;
            let amount = data.money().map_err(|error| message.bad_data(&error))?;
            let payment_method = data.payment_method.parse().map_err(|error| message.bad_data(&error))?;
            let ChargePayment { order_id, user_id, .. } = data;
            (order_id, Command::Charge { order_id, user_id, amount, payment_method, at })
        }
        RefundPayment::TYPE => {
            let RefundPayment { order_id, reason, .. } = message.data()?;
            (order_id, Command::Refund { order_id, reason: reason.into(), at })
        }
        other => return Err(message::Error::UnknownType(other.to_owned())),
    };
    Ok((PaymentId::of_order(order_id), command))
}
