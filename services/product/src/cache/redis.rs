//! The cache that instances share: `product:<id>` is the product's JSON.

use std::time::{Duration, Instant};

use anyhow::Context;
use deadpool_redis::redis::io::tcp::TcpSettings;
use deadpool_redis::redis::{FromRedisValue, IntoConnectionInfo, Pipeline, pipe};
use deadpool_redis::{Manager, Pool};
use parking_lot::Mutex;
use poem_openapi::types::{ParseFromJSON, ToJSON};
use telemetry::metrics::{self, IntCounterVec, IntGaugeVec};
use uuid::Uuid;

use super::breaker::Breaker;
use crate::queries::Entry;

/// One call may take so long.
pub(super) const CALL_TIMEOUT: Duration = Duration::from_millis(50);
/// How long a product stays.
const LIFETIME: Duration = Duration::from_secs(300);
/// How long nobody caches a product that has changed: longer than any read that began before the change.
pub(super) const TOMBSTONE_LIFETIME: Duration = Duration::from_secs(5);
const TOMBSTONE: &str = "";
const CONNECTIONS_MAX: usize = 8;

/// What a look brought.
pub(super) enum Found {
    Entry(Box<Entry>),
    /// It is not there; it may be put there.
    Nothing,
    /// It has just changed, or nobody knows.
    Unknown,
}

pub(super) struct Redis {
    pool: Pool,
    breaker: Breaker,
    /// Something there may be stale until then.
    distrusted_until: Mutex<Option<Instant>>,
    failures: IntCounterVec,
    open: IntGaugeVec,
}

impl Redis {
    pub fn new(url: &str) -> anyhow::Result<Self> {
        let tcp = TcpSettings::default().set_nodelay(true);
        let info = url.into_connection_info().context("not a Redis URL")?.set_tcp_settings(tcp);
        let pool = Pool::builder(Manager::new(info)?).max_size(CONNECTIONS_MAX).build()?;
        let failures =
            metrics::counter_vec("product_cache_redis_failures_total", "Calls to Redis that failed.", &["call"]);
        let open = metrics::gauge_vec("product_cache_redis_open", "1 while calls to Redis are left out.", &[]);
        Ok(Self { pool, breaker: Breaker::default(), distrusted_until: Mutex::default(), failures, open })
    }

    pub async fn get(&self, id: Uuid) -> Found {
        if !self.trusted() {
            return Found::Unknown;
        }
        let Some((text,)) = self.call::<(Option<String>,)>("get", pipe().get(key(id))).await else {
            return Found::Unknown;
        };
        match text {
            None => Found::Nothing,
            Some(text) => match Entry::parse_from_json_string(&text) {
                Ok(entry) if entry.id == id => Found::Entry(Box::new(entry)),
                // A tombstone, or something of another's.
                _ => Found::Unknown,
            },
        }
    }

    /// Puts a product there that was read just now, unless it has changed or is there already.
    pub async fn fill(&self, entry: &Entry) {
        if self.trusted() {
            let (key, text) = (key(entry.id), entry.to_json_string());
            let mut set = pipe();
            set.cmd("SET").arg(key).arg(text).arg("NX").arg("PX").arg(millis(LIFETIME)).ignore();
            self.call::<()>("fill", &set).await;
        }
    }

    /// Covers products that change.
    pub async fn bury(&self, ids: &[Uuid]) {
        if ids.is_empty() {
            return;
        }
        let mut set = pipe();
        for id in ids {
            set.cmd("SET").arg(key(*id)).arg(TOMBSTONE).arg("PX").arg(millis(TOMBSTONE_LIFETIME)).ignore();
        }
        if self.call::<()>("bury", &set).await.is_none() {
            *self.distrusted_until.lock() = Some(Instant::now() + LIFETIME);
        }
    }

    fn trusted(&self) -> bool {
        self.distrusted_until.lock().is_none_or(|until| until <= Instant::now())
    }

    /// The answer; none if the call failed, or was not tried because those before it did.
    async fn call<T: FromRedisValue>(&self, name: &str, pipeline: &Pipeline) -> Option<T> {
        if !self.breaker.allows(Instant::now()) {
            return None;
        }
        let call = async {
            let mut connection = self.pool.get().await?;
            anyhow::Ok(pipeline.query_async::<T>(&mut connection).await?)
        };
        let error = match tokio::time::timeout(CALL_TIMEOUT, call).await {
            Ok(Ok(answer)) => {
                self.breaker.succeeded();
                self.open.with_label_values::<&str>(&[]).set(0);
                return Some(answer);
            }
            Ok(Err(error)) => error,
            Err(_) => anyhow::anyhow!("no answer within {} ms", CALL_TIMEOUT.as_millis()),
        };
        self.failures.with_label_values(&[name]).inc();
        let opened = self.breaker.failed(Instant::now());
        if opened {
            self.open.with_label_values::<&str>(&[]).set(1);
        }
        tracing::warn!(redis.call = name, redis.left_out = opened, error = format!("{error:#}"), "Redis failed");
        None
    }
}

fn key(id: Uuid) -> String {
    format!("product:{id}")
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
