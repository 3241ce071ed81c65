//! The command line of Sagashop: every role of the shop, its demonstration, its audit and its
//! benchmarks, in one binary.
//!
//! Data goes to stdout, everything else to stderr ([`output`]); the exit code says what kind of
//! end it was ([`exit`]).

pub mod args;
pub mod audit;
pub mod bench;
pub mod canary;
pub mod client;
pub mod config;
pub mod demo;
pub mod diagnosis;
pub mod doctor;
pub mod events;
pub mod exit;
pub mod gateway;
pub mod health;
pub mod keys;
pub mod manual;
pub mod mend;
pub mod metrics;
pub mod migrate;
pub mod openapi;
pub mod output;
pub mod ports;
pub mod postgres;
pub mod progress;
pub mod projection;
pub mod replay;
pub mod restore;
pub mod run;
pub mod running;
pub mod saga;
pub mod schemas;
pub mod shop;
pub mod state;
pub mod stream;
pub mod trace;
pub mod users;
