//! The payment service on a real PostgreSQL, driven as the orchestrator and customers drive it.

mod fixture;
mod ordinary;
mod providers;
mod rest;
mod trouble;
