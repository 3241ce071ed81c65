//! The service as its callers see it: over HTTP, gRPC and the broker, on a real PostgreSQL.

mod grpc;
mod messages;
mod rest;
mod shop;
