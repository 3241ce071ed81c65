//! Time as a parameter: production reads the system's clock, the simulation a paused one.

use std::sync::Arc;

use chrono::{DateTime, SubsecRound, Utc};
use uuid::Uuid;

/// Where the present moment, and ids that contain it, come from.
pub trait Clock: Send + Sync + 'static {
    /// The present moment.
    fn now(&self) -> DateTime<Utc>;

    /// A new UUIDv7. The simulation overrides it with a seeded source.
    fn new_id(&self) -> Uuid {
        Uuid::now_v7()
    }
}

/// The machine's own clock, as exact as PostgreSQL keeps a time: what is folded from events and what is read from a row
/// tell the same moment.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> DateTime<Utc> {
        DateTime::<Utc>::from(std::time::SystemTime::now()).trunc_subsecs(6)
    }
}

/// The machine's clock behind the trait object that the runtime takes.
pub fn system() -> Arc<dyn Clock> {
    Arc::new(SystemClock)
}

/// A clock that follows tokio's timer from a fixed start: it stands still and jumps with
/// `tokio::time::pause` and `advance`, as the simulation needs.
#[derive(Debug, Clone, Copy)]
pub struct TokioClock {
    start: DateTime<Utc>,
    origin: tokio::time::Instant,
}

impl TokioClock {
    /// A clock that shows `start` now and goes on with tokio's time.
    pub fn starting_at(start: DateTime<Utc>) -> Self {
        Self { start, origin: tokio::time::Instant::now() }
    }
}

impl Clock for TokioClock {
    fn now(&self) -> DateTime<Utc> {
        self.start + self.origin.elapsed()
    }
}
