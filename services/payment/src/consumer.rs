//! Messages in: what the orchestrator asks for becomes commands to payments.

use chrono::{DateTime, Utc};
use domain::payment::{Command, Event, Payment};
use event_schemas::Published;
use event_schemas::commands::{ChargePayment, RefundPayment};
use kernel::PaymentId;
use runtime::message::{self, Message};
use runtime::{Handler, Origin};
use tokio::sync::mpsc;

use crate::job::Job;
use crate::measures;

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
        Ok(vec![(PaymentId::of_order(order_id).to_string(), command)])
    }

    fn describe(&self, id: &str, command: &Command, span: &mut telemetry::Span) {
        span.set_with("payment.id", || id.to_owned());
        if let Command::Charge { order_id, .. } | Command::Refund { order_id, .. } = command {
            span.set_with("order.id", || order_id.to_string());
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
