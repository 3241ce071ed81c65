//! The shop's business rules: what may be asked of a user, a product, its stock, an order, a payment, a notification,
//! and what follows from it.
//!
//! Each aggregate is one file: commands, events, state, decision, errors, tests. Decisions are pure: the time, ids and
//! all facts from elsewhere come in the command. Folds cannot fail: an event that makes no sense in a state is ignored.

#![deny(clippy::disallowed_methods)]

pub use kernel;

pub mod notification;
pub mod order;
pub mod payment;
mod payment_method;
pub mod product;
pub mod stock;
mod text;
pub mod user;

#[cfg(test)]
mod testing;

pub use payment_method::{PaymentMethod, PaymentMethodError};
pub use text::{Reason, TextError};
