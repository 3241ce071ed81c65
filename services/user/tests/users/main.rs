//! The user service over its edges and the broker, on a real PostgreSQL.

mod contacts;
mod fixture;
mod registering;
mod sessions;
mod starting;
