//! The payment service on a real PostgreSQL, driven as the orchestrator and customers drive it.

mod breaker;
mod chaos;
mod fixture;
mod http;
mod ordinary;
mod providers;
mod psp;
mod rest;
mod trouble;
mod webhooks;
