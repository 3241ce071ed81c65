//! The product service: the catalogue and its stock, over REST and gRPC.
//!
//! A product is two aggregates of one id: what the catalogue says, and its stock. Stock is held, sold
//! and given back by the commands of the orchestrator, which come over the broker.

mod cache;
mod commands;
mod config;
mod consumer;
mod entry;
mod grpc;
mod history;
mod listing;
pub mod measures;
mod preconditions;
mod projection;
mod publish;
mod queries;
mod read_model;
mod refusal;
mod rest;
mod search;
mod seed;
mod service;
mod transfer;

pub use config::Config;
pub use consumer::{FOLLOWS, StockCommands};
pub use publish::Publisher;
pub use read_model::Catalogue;
pub use rest::openapi;
pub use search::folded;
pub use seed::{Seeded, seed};
pub use service::{Listeners, Service};

/// The read model's tables.
pub static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!("./migrations");
