//! The order service over its edges, on a real PostgreSQL: the product service and the orchestrator are played by the
//! tests.

mod catalogue;
mod ending;
mod fixture;
mod grpc;
mod placing;
mod reading;
mod repeating;
mod watching;
