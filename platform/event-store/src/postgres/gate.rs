//! The xmin gate of one server: when does what is hidden become visible?
//!
//! Nobody announces that a transaction ended, least of all one of another database. So somebody has
//! to look; but one looks for all followers of the process, at one cheap value, and only while
//! somebody waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use sqlx::PgPool;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_micros(500);

/// Watches the oldest transaction in flight of one server. Stores on databases of the same server
/// may share one: transaction ids are the server's.
#[derive(Debug)]
pub struct Gate {
    shared: Arc<Shared>,
    looking: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    oldest: watch::Sender<u64>,
    waiting: AtomicUsize,
    somebody_waits: Notify,
}

impl Gate {
    /// A gate of the pool's server. Made inside the async runtime.
    pub fn new(pool: PgPool) -> Arc<Self> {
        let shared = Arc::new(Shared {
            oldest: watch::channel(0).0,
            waiting: AtomicUsize::new(0),
            somebody_waits: Notify::new(),
        });
        let looking = tokio::spawn(look(pool, Arc::clone(&shared)));
        Arc::new(Self { shared, looking })
    }

    /// Waits until no transaction up to this one is in flight any more.
    pub(super) async fn passed(&self, transaction_id: u64) {
        let mut oldest = self.shared.oldest.subscribe();
        let _waiting = Waiting::new(&self.shared);
        // The sender lives as long as we do.
        let _ = oldest.wait_for(|oldest| *oldest > transaction_id).await;
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.looking.abort();
    }
}

/// Counts who waits, also when they go away.
struct Waiting<'a>(&'a Shared);

impl<'a> Waiting<'a> {
    fn new(shared: &'a Shared) -> Self {
        shared.waiting.fetch_add(1, Ordering::AcqRel);
        shared.somebody_waits.notify_one();
        Self(shared)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

async fn look(pool: PgPool, shared: Arc<Shared>) {
    loop {
        if shared.waiting.load(Ordering::Acquire) == 0 {
            shared.somebody_waits.notified().await;
        }
        let oldest = sqlx::query_scalar::<_, String>("SELECT pg_snapshot_xmin(pg_current_snapshot())::text")
            .fetch_one(&pool)
            .await;
        match oldest {
            Ok(oldest) => {
                let oldest = oldest.parse().unwrap_or(0);
                shared.oldest.send_if_modified(|known| {
                    let moved = *known < oldest;
                    *known = oldest.max(*known);
                    moved
                });
                tokio::time::sleep(LOOK_EVERY).await;
            }
            // Those who wait look for themselves now and then; the server is away for them too.
            Err(_) => tokio::time::sleep(LOOK_EVERY * 200).await,
        }
    }
}
