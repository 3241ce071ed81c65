//! Whether the service lives, and whether it can work.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, join_all};
use poem::Response;
use poem::http::StatusCode;
use serde_json::json;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// The version of this build: the workspace's, or what the build was told, such as `0.1.0+4f2a91c`.
pub const VERSION: &str = match option_env!("SAGASHOP_VERSION") {
    Some(version) => version,
    None => env!("CARGO_PKG_VERSION"),
};

/// A check that takes longer has failed.
const CHECK_TIMEOUT: Duration = Duration::from_secs(1);
/// A check that only took too long is forgiven for so long after it last passed: busy is not broken.
const BUSY_GRACE: Duration = Duration::from_secs(5);
/// What was found is good for so long: asking often costs nothing.
const FRESH: Duration = Duration::from_millis(250);

type Run = Box<dyn Fn() -> BoxFuture<'static, anyhow::Result<()>> + Send + Sync>;

struct Check {
    name: &'static str,
    run: Run,
    passed: Mutex<Option<Instant>>,
}

/// What a service needs to work, by name.
#[derive(Clone)]
pub(crate) struct Health {
    service: &'static str,
    checks: Vec<Arc<Check>>,
    found: Arc<Mutex<Option<Found>>>,
    draining: Arc<AtomicBool>,
}

struct Found {
    at: Instant,
    failing: Vec<&'static str>,
}

impl Health {
    pub fn new(service: &'static str) -> Self {
        Self { service, checks: Vec::new(), found: Arc::default(), draining: Arc::default() }
    }

    pub fn add<F, Fut>(&mut self, name: &'static str, check: F)
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let run: Run = Box::new(move || check().boxed());
        self.checks.push(Arc::new(Check { name, run, passed: Mutex::new(None) }));
    }

    /// From here on the service is not ready: it takes no new work while it ends.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// The process answers.
    pub fn live(&self) -> Response {
        self.answer(&[])
    }

    /// All checks, at once: 200, or 503 with the names of those that failed. Who asks while they run shares the answer.
    pub async fn ready(&self) -> Response {
        if self.draining.load(Ordering::Relaxed) {
            return self.answer(&["shutdown"]);
        }
        let mut found = self.found.lock().await;
        let failing = match found.as_ref().filter(|found| found.at.elapsed() < FRESH) {
            Some(found) => found.failing.clone(),
            None => {
                let checked = join_all(self.checks.iter().map(|check| check.failed(self.service))).await;
                let failing = checked.into_iter().flatten().collect::<Vec<_>>();
                *found = Some(Found { at: Instant::now(), failing: failing.clone() });
                failing
            }
        };
        self.answer(&failing)
    }

    fn answer(&self, failing: &[&str]) -> Response {
        let (status, body) = match failing {
            [] => (StatusCode::OK, json!({ "status": "healthy", "service": self.service, "version": VERSION })),
            _ => {
                let detail = format!("failing: {}", failing.join(", "));
                let body = json!({
                    "status": "unhealthy", "service": self.service, "version": VERSION, "failing": failing, "error": detail,
                });
                (StatusCode::SERVICE_UNAVAILABLE, body)
            }
        };
        Response::builder().status(status).content_type("application/json").body(body.to_string())
    }
}

impl Check {
    /// Its name, if it failed.
    async fn failed(&self, service: &str) -> Option<&'static str> {
        let mut passed = self.passed.lock().await;
        match tokio::time::timeout(CHECK_TIMEOUT, (self.run)()).await {
            Ok(Ok(())) => {
                *passed = Some(Instant::now());
                return None;
            }
            // Why goes to the log; an answer to anybody only says what.
            Ok(Err(error)) => {
                tracing::warn!(service, check = self.name, error = format!("{error:#}"), "not ready");
            }
            Err(_) if passed.is_some_and(|at| at.elapsed() < BUSY_GRACE) => return None,
            Err(_) => tracing::warn!(service, check = self.name, "not ready: no answer in time"),
        }
        Some(self.name)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_check_that_is_only_slow_is_forgiven_for_a_while() {
        let runs = Arc::new(AtomicUsize::new(0));
        let mut health = Health::new("test");
        health.add("database", {
            let runs = Arc::clone(&runs);
            move || {
                let first = runs.fetch_add(1, Ordering::Relaxed) == 0;
                async move { if first { Ok(()) } else { std::future::pending().await } }
            }
        });
        assert_eq!(health.ready().await.status(), StatusCode::OK);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(health.ready().await.status(), StatusCode::OK);
        tokio::time::advance(BUSY_GRACE).await;
        assert_eq!(health.ready().await.status(), StatusCode::SERVICE_UNAVAILABLE);
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_often_is_answered_from_what_was_found() {
        let runs = Arc::new(AtomicUsize::new(0));
        let mut health = Health::new("test");
        health.add("database", {
            let runs = Arc::clone(&runs);
            move || {
                runs.fetch_add(1, Ordering::Relaxed);
                async { anyhow::bail!("away") }
            }
        });
        for _ in 0..10 {
            assert_eq!(health.ready().await.status(), StatusCode::SERVICE_UNAVAILABLE);
        }
        assert_eq!(runs.load(Ordering::Relaxed), 1);
        assert_eq!(health.live().status(), StatusCode::OK);
    }
}
