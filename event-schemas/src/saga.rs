//! Topic `saga_events`: what became of sagas.

use kernel::OrderId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::EventType;
use crate::published::published;

/// An order's saga began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SagaStarted {
    /// The order.
    #[schemars(with = "Uuid")]
    pub order_id: OrderId,
    /// Always `saga_started`.
    pub event_type: EventType<SagaStarted>,
}

/// Every step was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SagaCompleted {
    /// The order.
    #[schemars(with = "Uuid")]
    pub order_id: OrderId,
    /// Always `saga_completed`.
    pub event_type: EventType<SagaCompleted>,
}

/// Every step that had been done was undone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SagaCancelled {
    /// The order.
    #[schemars(with = "Uuid")]
    pub order_id: OrderId,
    /// Why.
    pub reason: String,
    /// Always `saga_cancelled`.
    pub event_type: EventType<SagaCancelled>,
}

/// A step that must succeed does not: an operator is needed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SagaStuck {
    /// The order.
    #[schemars(with = "Uuid")]
    pub order_id: OrderId,
    /// The step.
    pub step: String,
    /// Why.
    pub reason: String,
    /// Always `saga_stuck`.
    pub event_type: EventType<SagaStuck>,
}

published! {
    SagaStarted: "saga_started" on SAGA_EVENTS by order_id;
    SagaCompleted: "saga_completed" on SAGA_EVENTS by order_id;
    SagaCancelled: "saga_cancelled" on SAGA_EVENTS by order_id;
    SagaStuck: "saga_stuck" on SAGA_EVENTS by order_id;
}
