//! Named points at which a test makes the process die, as a power cut would.
//!
//! `SAGASHOP_FAILPOINT=relay.after_publish=3` aborts at the third passing. Unset (the default) a
//! point costs one load of a static.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, Ordering};

struct Armed {
    point: String,
    passings_left: AtomicI64,
}

static ARMED: OnceLock<Option<Armed>> = OnceLock::new();

/// Passes the point; aborts the process if it is the armed one and its count has come.
pub fn pass(point: &str) {
    let armed = ARMED.get_or_init(|| {
        let setting = std::env::var("SAGASHOP_FAILPOINT").ok()?;
        let (point, count) = setting.split_once('=').unwrap_or((&setting, "1"));
        Some(Armed { point: point.to_owned(), passings_left: AtomicI64::new(count.parse().unwrap_or(1)) })
    });
    if let Some(armed) = armed
        && armed.point == point
        && armed.passings_left.fetch_sub(1, Ordering::Relaxed) == 1
    {
        tracing::error!(failpoint = point, "aborting at the armed failpoint");
        std::process::abort();
    }
}
