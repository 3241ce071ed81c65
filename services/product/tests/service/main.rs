//! The service as its callers see it: over HTTP, gRPC and the broker, on a real PostgreSQL.

mod grpc;
mod instances;
mod keys;
mod messages;
mod original;
mod redis;
mod rest;
mod search;
mod shop;
mod stock_history;
mod transfer;
mod versions;
