//! Real servers for tests, and the patience to wait for what they do.
//!
//! [`postgres`] gives each test a database of its own on a real PostgreSQL, [`kafka`] names the
//! broker to test against, [`eventually`] polls instead of sleeping.

mod cluster;
mod eventually;
pub mod kafka;
pub mod postgres;

pub use eventually::{Outcome, eventually};
