//! What the shop answers, as far as we read it.

use super::{Error, bearer};
use chrono::{DateTime, Utc};
use reqwest::header::HeaderValue;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Somebody who is logged in.
#[derive(Clone, Debug)]
pub struct Session {
    /// Their id.
    pub user_id: Uuid,
    pub(super) bearer: HeaderValue,
}

impl Session {
    /// The value of the header `Authorization`.
    pub fn authorization(&self) -> &[u8] {
        self.bearer.as_bytes()
    }

    pub(super) fn of(answer: LoggedIn) -> Result<Self, Error> {
        Ok(Self { user_id: answer.user.id, bearer: bearer(&answer.token)? })
    }
}

/// Where an order stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It is not decided yet.
    Pending,
    /// Paid and sold.
    Confirmed,
    /// Everything was undone.
    Cancelled,
}

/// An order.
#[derive(Clone, Debug, Deserialize)]
pub struct Order {
    /// Its id.
    pub id: Uuid,
    /// Where it stands.
    pub status: Status,
    /// Why it was cancelled, once it is.
    pub cancel_reason: Option<String>,
}

/// One thing that happened.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Moment {
    /// When.
    pub at: DateTime<Utc>,
    /// The event's type.
    pub event: String,
    /// In plain words.
    pub text: String,
    /// Who did it.
    pub actor: String,
}

/// A saga.
#[derive(Clone, Debug, Deserialize)]
pub struct Saga {
    /// The order, and the saga's id.
    pub order_id: Uuid,
    /// Its state's name.
    pub state: String,
    /// When it ended, once it has.
    pub ended_at: Option<DateTime<Utc>>,
    /// All its moments, where one saga was asked for.
    #[serde(default)]
    pub timeline: Vec<Moment>,
}

#[derive(Deserialize)]
pub(super) struct LoggedIn {
    token: String,
    user: Entity,
}

#[derive(Deserialize)]
struct Entity {
    id: Uuid,
}

#[derive(Deserialize)]
pub(super) struct Product {
    pub(super) id: Uuid,
}

#[derive(Deserialize)]
pub(super) struct OrderPage {
    pub(super) orders: Vec<Order>,
}

#[derive(Deserialize)]
pub(super) struct Health {
    pub(super) service: String,
}
