//! What crosses the wire: requests, operations and webhooks, in JSON.

use chrono::{DateTime, Utc};
use poem_openapi::{Enum, Object};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Where charges are asked for, below the provider's URL.
pub const CHARGES: &str = "/v1/charges";
/// Where refunds are asked for.
pub const REFUNDS: &str = "/v1/refunds";
/// Where what was asked for is looked up and listed.
pub const OPERATIONS: &str = "/v1/operations";

/// The header that makes a request one thing, however often it comes.
pub const IDEMPOTENCY_KEY: &str = "Idempotency-Key";
/// A page of operations has at most so many.
pub const PAGE_MAX: u32 = 1_000;

/// Asks for a charge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Object)]
#[oai(deny_unknown_fields, example)]
pub struct NewCharge {
    /// What the caller calls it: a payment of the shop.
    pub reference: Uuid,
    /// How much, in the currency's smallest unit; more than 0.
    #[oai(validator(minimum(value = "1")))]
    pub amount_minor: i64,
    /// Its currency: three letters (ISO 4217).
    #[oai(validator(pattern = "^[A-Z]{3}$"))]
    pub currency: String,
    /// From which card or account: a token, never a number.
    #[oai(validator(pattern = "^tok_[a-z0-9_]{1,40}$"))]
    pub payment_method: String,
}

impl poem_openapi::types::Example for NewCharge {
    fn example() -> Self {
        Self {
            reference: Uuid::from_u128(0x0189_0000_0000_7000_8000_0000_0000_0001),
            amount_minor: 99_999,
            currency: "EUR".to_owned(),
            payment_method: "tok_ok".to_owned(),
        }
    }
}

/// Asks for a refund.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Object)]
#[oai(deny_unknown_fields, example)]
pub struct NewRefund {
    /// As of the charge.
    pub reference: Uuid,
    /// How much, in the currency's smallest unit; more than 0.
    #[oai(validator(minimum(value = "1")))]
    pub amount_minor: i64,
    /// Its currency.
    #[oai(validator(pattern = "^[A-Z]{3}$"))]
    pub currency: String,
    /// The charge's transaction.
    #[oai(validator(min_length = 1, max_length = 100))]
    pub charge: String,
}

impl poem_openapi::types::Example for NewRefund {
    fn example() -> Self {
        Self {
            reference: Uuid::from_u128(0x0189_0000_0000_7000_8000_0000_0000_0001),
            amount_minor: 99_999,
            currency: "EUR".to_owned(),
            charge: "TXN-0dc8bd4bd3c95d0d9bd1ecb0e3d0ab58".to_owned(),
        }
    }
}

/// What an operation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Enum)]
#[serde(rename_all = "snake_case")]
#[oai(rename = "OperationKind", rename_all = "snake_case")]
pub enum Kind {
    /// Money taken.
    Charge,
    /// Money given back.
    Refund,
}

/// How it ended. It never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Enum)]
#[serde(rename_all = "snake_case")]
#[oai(rename = "OperationStatus", rename_all = "snake_case")]
pub enum Status {
    /// The money moved.
    Succeeded,
    /// It did not, and under this key never will.
    Failed,
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Object)]
pub struct Operation {
    /// The request's idempotency key.
    pub key: String,
    /// What was asked.
    pub kind: Kind,
    /// What the caller calls it.
    pub reference: Uuid,
    /// How much, in the currency's smallest unit.
    pub amount_minor: i64,
    /// Its currency.
    pub currency: String,
    /// How it ended.
    pub status: Status,
    /// The provider's number of it, where money moved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[oai(skip_serializing_if_is_none)]
    pub transaction_id: Option<String>,
    /// Why no money moved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[oai(skip_serializing_if_is_none)]
    pub reason: Option<String>,
    /// When it was booked.
    pub created_at: DateTime<Utc>,
}

/// Some operations, in the order of their keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Object)]
pub struct Page {
    /// They.
    pub operations: Vec<Operation>,
    /// What to give as `after` for those that follow, if there are more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[oai(skip_serializing_if_is_none)]
    pub next: Option<String>,
}

/// A webhook: the provider tells of an operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Object)]
#[oai(rename = "ProviderEvent")]
pub struct Event {
    /// Its id, the same at each delivery.
    pub id: String,
    /// `charge.succeeded`, `charge.failed`, `refund.succeeded` or `refund.failed`.
    #[serde(rename = "type")]
    #[oai(rename = "type")]
    pub event_type: String,
    /// Which delivery of it this is, from 1 on.
    pub attempt: u32,
    /// The operation that it is about.
    pub data: Operation,
}

impl Event {
    /// The event about an operation.
    pub fn about(operation: Operation, attempt: u32) -> Self {
        let kind = match operation.kind {
            Kind::Charge => "charge",
            Kind::Refund => "refund",
        };
        let status = match operation.status {
            Status::Succeeded => "succeeded",
            Status::Failed => "failed",
        };
        let id = Uuid::new_v5(&Uuid::NAMESPACE_OID, operation.key.as_bytes()).simple();
        Self { id: format!("evt_{id}"), event_type: format!("{kind}.{status}"), attempt, data: operation }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_is_named_by_its_operation() {
        let operation: Operation = serde_json::from_value(json!({
            "key": "p/charge", "kind": "charge", "reference": Uuid::nil(), "amount_minor": 5, "currency": "EUR",
            "status": "failed", "reason": "card_declined", "created_at": "2026-11-26T04:30:00Z"
        }))
        .unwrap();
        let (first, second) = (Event::about(operation.clone(), 1), Event::about(operation, 2));
        assert_eq!((first.event_type.as_str(), &first.id), ("charge.failed", &second.id));
        let json = serde_json::to_value(&second).unwrap();
        assert_eq!((&json["type"], &json["attempt"]), (&json!("charge.failed"), &json!(2)));
        assert!(json["data"].get("transaction_id").is_none());
    }
}
