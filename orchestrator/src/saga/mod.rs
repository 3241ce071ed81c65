//! The sagas: pure state machines over messages, each in one file.
//!
//! Nothing here does IO or takes the time. A message, a timer or an operator's act comes in with its time; events go
//! out, and some of them are commands to the services.

#![deny(clippy::disallowed_methods)]

pub mod order_fulfilment;
mod plan;
