//! The only place where the saga's own events become published messages: commands, and its end.

use event_schemas::commands::{
    CancelOrder, ChargePayment, CommitStock, ConfirmOrder, RefundPayment, ReleaseStock, ReserveStock,
};
use event_schemas::saga::{SagaCancelled, SagaCompleted, SagaStarted, SagaStuck};
use event_schemas::{EventType, Published};
use event_store::RecordedEvent;
use kernel::OrderId;
use runtime::{Outgoing, Publish};

use crate::saga::order_fulfilment::{Command, Event, OrderFulfilment};

/// Publishes what sagas record.
pub struct Publisher;

impl Publish for Publisher {
    fn publish(&self, event: &RecordedEvent) -> Result<Vec<Outgoing>, event_store::Error> {
        let order_id: OrderId = event.aggregate_id.parse().map_err(|_| event_store::Error::Undecodable {
            stream: event.aggregate_id.clone(),
            sequence: event.sequence,
            error: "the stream's id is no order id".to_owned(),
        })?;
        Ok(event.decode_all::<OrderFulfilment>()?.filter_map(|event| told(order_id, event)).collect())
    }
}

fn told(order_id: OrderId, event: Event) -> Option<Outgoing> {
    Some(match event {
        Event::CommandIssued { command_id, command, .. } => outgoing(order_id, command).with_id(command_id),
        Event::SagaStarted { .. } => message(&SagaStarted { order_id, event_type: EventType::default() }),
        Event::SagaCompleted { .. } => message(&SagaCompleted { order_id, event_type: EventType::default() }),
        Event::SagaCancelled { reason, .. } => {
            message(&SagaCancelled { order_id, reason, event_type: EventType::default() })
        }
        Event::SagaStuck { step, reason, .. } => {
            message(&SagaStuck { order_id, step: step.to_string(), reason, event_type: EventType::default() })
        }
        Event::StepSucceeded { .. }
        | Event::StepFailed { .. }
        | Event::StepTimedOut { .. }
        | Event::CompensationStarted { .. }
        | Event::OperatorRetried { .. }
        | Event::OperatorSkipped { .. }
        | Event::OperatorCancelled { .. }
        | Event::OperatorPaused { .. }
        | Event::InputKept { .. }
        | Event::OperatorResumed { .. }
        | Event::OperatorRestarted { .. } => return None,
    })
}

fn outgoing(order_id: OrderId, command: Command) -> Outgoing {
    match command {
        Command::ReserveStock { product_id, quantity } => {
            message(&ReserveStock { order_id, product_id, quantity, event_type: EventType::default() })
        }
        Command::ReleaseStock { product_id } => {
            message(&ReleaseStock { order_id, product_id, event_type: EventType::default() })
        }
        Command::CommitStock { product_id } => {
            message(&CommitStock { order_id, product_id, event_type: EventType::default() })
        }
        Command::ChargePayment { user_id, amount, payment_method } => message(&ChargePayment {
            order_id,
            user_id,
            amount: amount.into(),
            currency: amount.currency,
            payment_method,
            event_type: EventType::default(),
        }),
        Command::RefundPayment { reason } => {
            message(&RefundPayment { order_id, reason, event_type: EventType::default() })
        }
        Command::ConfirmOrder => message(&ConfirmOrder { order_id, event_type: EventType::default() }),
        Command::CancelOrder { reason } => message(&CancelOrder { order_id, reason, event_type: EventType::default() }),
    }
}

fn message<M: Published>(message: &M) -> Outgoing {
    Outgoing::new(M::TOPIC, message.key(), M::TYPE, message)
}
