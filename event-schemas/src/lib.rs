//! What crosses the broker: published messages, one plain struct each, and their topics.
//!
//! Readers are tolerant: a field that they do not know is ignored, so a message may gain optional fields within its
//! version. Whatever else changes needs a new version beside the old one ([`compatibility`]). `samples/` holds one message
//! of each type and version, and `schemas/` its JSON Schema; `stored/` the same of the events that the services store;
//! `histories/` what happened in real runs. `sagashop schemas write` writes what can be generated; tests compare.

mod amount;
mod catalogue;
pub mod compatibility;
mod files;
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
pub use files::{FILES, file};
pub use published::{EventType, Published};
