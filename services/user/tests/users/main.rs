//! The user service over its edges and the broker, on a real PostgreSQL.

mod addresses;
mod administering;
mod contacts;
mod fixture;
mod forgetting;
mod guessing;
mod keys;
mod refreshing;
mod registering;
mod repeating;
mod sessions;
mod starting;
