//! What moves events: commands, relay, consumers, timers and projections.
//!
//! All of it is the same code above every event store and every broker, and takes its time and
//! ids from a [`Clock`](event_store::clock::Clock).

mod answers;
mod backoff;
mod batch;
pub mod commands;
pub mod consumer;
pub mod failpoint;
pub mod foreign;
mod grouped;
pub mod measures;
pub mod message;
mod migrations;
mod origin;
mod precedence;
pub mod projection;
pub mod relay;
pub mod service;
mod states;
pub mod timers;
mod traces;
pub mod unfinished;

pub use commands::{Commands, Executed};
pub use consumer::{Handler, Timer};
pub use grouped::{GivenUp, Grouped};
pub use message::{Message, Outgoing};
pub use origin::Origin;
pub use precedence::{Inside, Precedence};
pub use projection::{Projection, ProjectionHandle};
pub use relay::Publish;
pub use service::{Deps, Host};
pub use traces::Step;
