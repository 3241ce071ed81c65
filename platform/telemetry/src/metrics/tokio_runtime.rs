//! The async runtime that renders, by what it tells of itself.

use tokio::runtime::Handle;

use super::{FloatCounters, Gauges};

pub(super) static WORKERS: Gauges = Gauges::new("tokio_workers", "Threads that run tasks.", &[]);
pub(super) static ALIVE_TASKS: Gauges = Gauges::new("tokio_alive_tasks", "Tasks that have not ended.", &[]);
pub(super) static GLOBAL_QUEUE_DEPTH: Gauges =
    Gauges::new("tokio_global_queue_depth", "Tasks that are ready and wait in the queue that all workers share.", &[]);
pub(super) static BUSY_SECONDS: FloatCounters = FloatCounters::new(
    "tokio_workers_busy_seconds_total",
    "Time in which workers ran tasks, of all workers together: as many seconds a second as there are workers at most.",
    &[],
);

pub(super) fn look() {
    let Ok(handle) = Handle::try_current() else { return };
    let metrics = handle.metrics();
    let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    WORKERS.with(&[]).set(count(metrics.num_workers()));
    ALIVE_TASKS.with(&[]).set(count(metrics.num_alive_tasks()));
    GLOBAL_QUEUE_DEPTH.with(&[]).set(count(metrics.global_queue_depth()));
    #[cfg(target_has_atomic = "64")]
    {
        let busy = (0..metrics.num_workers()).map(|worker| metrics.worker_total_busy_duration(worker).as_secs_f64());
        super::family::raise(&BUSY_SECONDS.with(&[]), busy.sum());
    }
}
