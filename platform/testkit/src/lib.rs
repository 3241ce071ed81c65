//! Real servers for tests, and the patience to wait for what they do.
//!
//! [`postgres`] gives each test a database of its own on a real PostgreSQL, [`kafka`] names the
//! broker to test against and [`jaeger`] the Jaeger, [`eventually`] polls instead of sleeping.

mod cluster;
mod eventually;
mod jaeger;
pub mod kafka;
pub mod postgres;

pub use eventually::{Outcome, eventually};
pub use jaeger::{Jaeger, jaeger};
