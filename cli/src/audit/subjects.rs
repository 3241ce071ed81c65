//! What is particular to each kind of streams: its read model, and what the other checks need to know of it.

mod notification;
mod order;
mod payment;
mod product;
mod saga;
mod stock;
mod user;
mod webhook;

pub(super) use notification::Notifications;
pub(super) use order::{OrderFacts, Orders};
pub(super) use payment::{Book, PaymentFacts, Payments};
pub(super) use product::Products;
pub(super) use saga::{SagaFacts, Sagas};
pub(super) use stock::{Share, Stocks};
pub(super) use user::Users;
pub(super) use webhook::Webhooks;

/// The first of these columns that is not as it must be.
fn first(columns: impl IntoIterator<Item = (&'static str, bool)>) -> Option<&'static str> {
    columns.into_iter().find_map(|(column, is_right)| (!is_right).then_some(column))
}
