//! What crosses the broker: published messages, one plain struct each, and their topics.
//!
//! Readers are tolerant: a field that they do not know is ignored, so a message may gain optional fields within its
//! version. Whatever else changes needs a new version beside the old one. `samples/` holds one message of each type
//! and `schemas/` its JSON Schema; the tests compare both with the types.

mod amount;
mod catalogue;
mod published;

pub mod commands;
pub mod order;
pub mod payment;
pub mod product;
pub mod saga;
pub mod topics;
pub mod user;

pub use amount::Amount;
pub use catalogue::{CATALOGUE, Entry};
pub use published::{EventType, Published};
