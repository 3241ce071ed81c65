//! Answers kept under idempotency keys are kept for a day.

use std::sync::Arc;
use std::time::Duration;

use event_store::EventStore;
use tokio_util::sync::CancellationToken;

/// A key is good for so long at least.
const KEPT: Duration = Duration::from_secs(24 * 60 * 60);
/// How often the old ones are looked for.
const LOOK_EVERY: Duration = Duration::from_secs(5 * 60);
/// At most so many in one transaction.
const BATCH_MAX: usize = 1_000;
/// Between two batches: nobody waits for this.
const PAUSE: Duration = Duration::from_millis(100);

/// Deletes answers that are older than a day, until shutdown.
pub(crate) async fn forget_old(store: Arc<dyn EventStore>, shutdown: CancellationToken) {
    while !shutdown.is_cancelled() {
        let wait = match store.forget_answers(KEPT, BATCH_MAX).await {
            Ok(BATCH_MAX) => PAUSE,
            Ok(_) => LOOK_EVERY,
            Err(error) => {
                tracing::warn!(%error, "old answers were not deleted");
                LOOK_EVERY
            }
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = shutdown.cancelled() => {}
        }
    }
}
