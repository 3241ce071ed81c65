//! Connections that are kept from one statement to the next.
//!
//! A pool asks the server after each use whether the connection is still good: a round trip of its own, which costs as
//! much as a short statement does. Who has just had its answer on a connection knows that it is.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sqlx::pool::PoolConnection;
use sqlx::{PgConnection, PgPool, Postgres};
use tokio::runtime::Handle;

/// Then a connection goes back to the pool, which closes what is too old.
const KEPT_MAX: Duration = Duration::from_secs(10);

/// A few of a pool's connections, for statements that follow one another.
pub struct Kept {
    pool: PgPool,
    idle: Mutex<Vec<Held>>,
    idle_max: usize,
}

struct Held {
    connection: PoolConnection<Postgres>,
    /// When the pool gave it.
    since: Instant,
}

/// A connection in use. Dropped it goes back to the pool, which tests it: its statement may have been given up midway.
#[must_use]
pub struct Lent<'a> {
    held: Held,
    kept: &'a Kept,
}

impl Kept {
    /// At most so many are kept unused, and always fewer than half of the pool's.
    pub fn new(pool: &PgPool, idle_max: usize) -> Self {
        let half = pool.options().get_max_connections() as usize / 2;
        let idle_max = idle_max.min(half.saturating_sub(1));
        Self { pool: pool.clone(), idle: Mutex::default(), idle_max }
    }

    /// The pool whose connections they are.
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// One that is kept, or else one of the pool's.
    ///
    /// # Errors
    /// Those of the pool.
    pub async fn lend(&self) -> Result<Lent<'_>, sqlx::Error> {
        let held = self.idle.lock().pop();
        let held = match held {
            Some(held) => held,
            None => Held { connection: self.pool.acquire().await?, since: Instant::now() },
        };
        Ok(Lent { held, kept: self })
    }
}

impl Lent<'_> {
    /// Keeps it, if its statement has succeeded and nothing else is under way on it.
    pub fn done<T, E>(self, outcome: Result<T, E>) -> Result<T, E> {
        let Self { held, kept } = self;
        if outcome.is_ok() && held.since.elapsed() < KEPT_MAX && !kept.pool.is_closed() {
            let mut idle = kept.idle.lock();
            if idle.len() < kept.idle_max {
                idle.push(held);
            }
        }
        outcome
    }
}

impl std::ops::Deref for Lent<'_> {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.held.connection
    }
}

impl std::ops::DerefMut for Lent<'_> {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.held.connection
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        // The way back to the pool needs a runtime.
        if Handle::try_current().is_err() {
            self.idle.get_mut().drain(..).for_each(|held| drop(held.connection.leak()));
        }
    }
}
