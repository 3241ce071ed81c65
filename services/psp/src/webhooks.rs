//! Tells of what was booked, again and again until it is taken or given up. The book is the outbox: whatever is entered
//! is due to be told, also after a crash.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use chrono::{DateTime, Utc};
use event_store::clock::Clock;
use futures::{StreamExt, stream};
use psp::bank::Bank;
use psp::protocol::Event;
use reqwest::header::CONTENT_TYPE;
use reqwest::redirect::Policy;
use sqlx::PgPool;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use web::{SIGNATURE, WebhookKey};

use crate::{Config, measures};

/// A delivery is answered within this.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// Deliveries at once.
const CONCURRENCY_MAX: usize = 16;
/// Taken up at a time.
const BATCH_MAX: i64 = 64;
/// While nothing is due, and where the book does not answer.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Delivers webhooks.
pub(crate) struct Webhooks {
    pool: PgPool,
    bank: Arc<Bank>,
    clock: Arc<dyn Clock>,
    http: reqwest::Client,
    key: WebhookKey,
    url: String,
    pauses: Vec<Duration>,
    booked: Arc<Notify>,
}

/// A delivery that is due.
#[derive(sqlx::FromRow)]
struct Due {
    key: String,
    webhook_attempts: i32,
}

impl Webhooks {
    pub(crate) fn new(
        pool: PgPool,
        bank: Arc<Bank>,
        clock: Arc<dyn Clock>,
        config: &Config,
        url: &str,
    ) -> anyhow::Result<Self> {
        reqwest::Url::parse(url).with_context(|| format!("{url} is no URL for webhooks"))?;
        let http = web::http_client()
            .timeout(ANSWER_MAX)
            .connect_timeout(ANSWER_MAX)
            .redirect(Policy::none())
            .pool_max_idle_per_host(CONCURRENCY_MAX)
            .build()?;
        let (key, pauses) = (config.key.clone(), config.webhook_pauses.clone());
        Ok(Self { pool, bank, clock, http, key, url: url.to_owned(), pauses, booked: Arc::default() })
    }

    /// What to notify when something was booked.
    pub(crate) fn booked(&self) -> Arc<Notify> {
        Arc::clone(&self.booked)
    }

    /// Delivers until shutdown.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        let work = async {
            loop {
                match self.due().await {
                    Ok(due) if due.is_empty() => {
                        let _ = tokio::time::timeout(LOOK_EVERY, self.booked.notified()).await;
                    }
                    Ok(due) => stream::iter(due).for_each_concurrent(CONCURRENCY_MAX, |due| self.deliver(due)).await,
                    Err(error) => {
                        tracing::warn!(%error, "due webhooks could not be looked for");
                        tokio::time::sleep(LOOK_EVERY).await;
                    }
                }
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = work => {}
        }
    }

    /// Takes up what is due. It is due again after its pause, unless it is taken: also if this process dies first.
    async fn due(&self) -> Result<Vec<Due>, sqlx::Error> {
        let pauses: Vec<f64> = self.pauses.iter().map(Duration::as_secs_f64).collect();
        sqlx::query_as(
            "UPDATE provider_ledger
                SET webhook_attempts = webhook_attempts + 1,
                    webhook_next_at = clock_timestamp() + make_interval(secs => ($1::float8[])[webhook_attempts + 1])
              WHERE key IN (SELECT key FROM provider_ledger WHERE webhook_next_at <= clock_timestamp()
                             ORDER BY webhook_next_at LIMIT $2 FOR UPDATE SKIP LOCKED)
             RETURNING key, webhook_attempts",
        )
        .bind(pauses)
        .bind(BATCH_MAX)
        .fetch_all(&self.pool)
        .await
    }

    async fn deliver(&self, Due { key, webhook_attempts }: Due) {
        let taken = match self.try_deliver(&key, webhook_attempts.unsigned_abs()).await {
            Ok(()) => self.taken(&key).await,
            Err(error) => Err(error),
        };
        match taken {
            Ok(()) => measures::delivered("taken"),
            Err(error) if webhook_attempts.unsigned_abs() as usize > self.pauses.len() => {
                measures::delivered("given_up");
                tracing::error!(provider.key = key, error = format!("{error:#}"), "a webhook was given up");
            }
            Err(error) => {
                measures::delivered("refused");
                tracing::warn!(provider.key = key, error = format!("{error:#}"), "a webhook was not taken");
            }
        }
    }

    async fn try_deliver(&self, key: &str, attempt: u32) -> anyhow::Result<()> {
        let operation = self.bank.entry(key).await?.context("there is no such entry")?;
        let body = serde_json::to_vec(&Event::about(operation, attempt))?;
        let sent = self.send(body.clone(), self.clock.now());
        if self.bank.answers_twice(key) {
            let (first, second) = tokio::join!(sent, self.send(body, self.clock.now()));
            first.or(second)
        } else {
            sent.await
        }
    }

    async fn send(&self, body: Vec<u8>, now: DateTime<Utc>) -> anyhow::Result<()> {
        let signature = self.key.sign(now, &body);
        let post = self.http.post(&self.url).header(CONTENT_TYPE, "application/json").header(SIGNATURE, signature);
        post.body(body).send().await?.error_for_status()?;
        Ok(())
    }

    async fn taken(&self, key: &str) -> anyhow::Result<()> {
        sqlx::query(
            "UPDATE provider_ledger SET webhook_next_at = NULL, webhook_taken_at = clock_timestamp() WHERE key = $1",
        )
        .bind(key)
        .execute(&self.pool)
        .await?;
        Ok(())
    }
}
