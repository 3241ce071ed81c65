//! Whether the service lives, and whether it can work.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, join_all};
use poem::Response;
use poem::http::StatusCode;
use serde_json::json;

/// A check that takes longer has failed.
const CHECK_TIMEOUT: Duration = Duration::from_secs(1);

type Check = Arc<dyn Fn() -> BoxFuture<'static, anyhow::Result<()>> + Send + Sync>;

/// What a service needs to work, by name.
#[derive(Clone)]
pub(crate) struct Health {
    service: &'static str,
    checks: Vec<(&'static str, Check)>,
}

impl Health {
    pub fn new(service: &'static str) -> Self {
        Self { service, checks: Vec::new() }
    }

    pub fn add<F, Fut>(&mut self, name: &'static str, check: F)
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        self.checks.push((name, Arc::new(move || check().boxed())));
    }

    /// The process answers.
    pub fn live(&self) -> Response {
        self.answer(&[])
    }

    /// All checks, at once: 200, or 503 with the names of those that failed.
    pub async fn ready(&self) -> Response {
        let checks = self.checks.iter().map(|(name, check)| async move {
            match tokio::time::timeout(CHECK_TIMEOUT, check()).await {
                Ok(Ok(())) => return None,
                // Why goes to the log; an answer to anybody only says what.
                Ok(Err(error)) => {
                    tracing::warn!(service = self.service, check = name, error = format!("{error:#}"), "not ready");
                }
                Err(_) => tracing::warn!(service = self.service, check = name, "not ready: no answer in time"),
            }
            Some(*name)
        });
        let failing = join_all(checks).await.into_iter().flatten().collect::<Vec<_>>();
        self.answer(&failing)
    }

    fn answer(&self, failing: &[&str]) -> Response {
        let (status, body) = match failing {
            [] => (StatusCode::OK, json!({ "status": "healthy", "service": self.service })),
            _ => {
                let detail = format!("failing: {}", failing.join(", "));
                let body = json!({
                    "status": "unhealthy", "service": self.service, "failing": failing, "error": detail,
                });
                (StatusCode::SERVICE_UNAVAILABLE, body)
            }
        };
        Response::builder().status(status).content_type("application/json").body(body.to_string())
    }
}
