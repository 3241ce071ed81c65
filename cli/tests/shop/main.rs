//! The shop end to end, through HTTP, by the real binary: embedded, and as a process for each role.
//!
//! Where `KAFKA_BROKER` is set, so that a Kafka can be had, the tests that need one start their
//! own by `compose/local/kafka`: the shop's topics have fixed names. Elsewhere they are skipped,
//! and said to be.

mod audited;
mod broker_away;
mod config;
mod crashes;
mod database_roles;
mod doctor;
mod failpoints;
mod feel;
mod fleet;
mod flood;
mod folder;
mod forged;
mod forgotten;
mod gateway;
mod generated;
mod http;
mod input;
mod issuer;
mod kafka;
mod limits;
mod looked;
mod manners;
mod matrix;
mod measured;
mod mended;
mod operators;
mod orders;
mod overload;
mod privacy;
mod process;
mod psp;
mod races;
mod rebuilt;
mod reflection;
mod replayed;
mod restored;
mod rpc;
mod taken;
mod traces;
mod traffic;
mod up;

use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};

/// How long anything may take that only has to happen in the end.
const PATIENCE: Duration = Duration::from_secs(120);

/// Two small shops at once are enough for two cores, and one that is a process for each role.
static ROOM: Semaphore = Semaphore::const_new(2);

async fn room_for_a_small_shop() -> SemaphorePermit<'static> {
    ROOM.acquire().await.expect("never closed")
}

async fn room_for_a_large_shop() -> SemaphorePermit<'static> {
    ROOM.acquire_many(2).await.expect("never closed")
}
