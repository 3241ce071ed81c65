//! The cache that instances share: `product:<id>` is the product's JSON, `product:<generation>:<id>` once the list of
//! products has been made anew. Whatever was put there of rows before that is out of everybody's sight.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use anyhow::Context;
use deadpool_redis::redis::io::tcp::TcpSettings;
use deadpool_redis::redis::{FromRedisValue, IntoConnectionInfo, Pipeline, pipe};
use deadpool_redis::{Manager, Pool};
use recloser::{AsyncRecloser, Recloser};
use telemetry::metrics::{Circuit, IntCounter, IntGauge};
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::entry::Shown;
use crate::measures;

mod owed;

use owed::Owed;

/// One call may take so long.
pub(super) const CALL_TIMEOUT: Duration = Duration::from_millis(50);
/// How long a product stays.
pub(super) const LIFETIME: Duration = Duration::from_secs(300);
/// How long nobody caches a product that has changed: longer than any read that began before the change.
pub(super) const TOMBSTONE_LIFETIME: Duration = Duration::from_secs(5);
const TOMBSTONE: &str = "";
const CONNECTIONS_MAX: usize = 8;
/// Products on their way there; more are left out.
const FILLS_MAX: usize = 64;
/// So many calls in a row that fail open the breaker.
const FAILURES_MAX: usize = 3;
/// So long nobody calls then; the next call decides.
const OPEN_FOR: Duration = Duration::from_secs(5);
/// The least share of failures among the last [`FAILURES_MAX`] calls: all of them.
const FAILURE_RATE: f32 = 0.99;

/// Which making of the rows: 0 until the list was made anew, then when that was.
pub(super) type Generation = i64;
/// It is not known, so nothing there is believed.
const UNKNOWN: Generation = -1;

/// What a look brought.
pub(super) enum Found {
    Product(Arc<Shown>),
    /// It is not there; it may be put there, of this generation.
    Nothing(Generation),
    /// It has just changed, or nobody knows.
    Unknown,
}

pub(super) struct Redis {
    pool: Pool,
    breaker: AsyncRecloser,
    /// Tombstones that could not be set: until they are, nothing there is believed.
    owed: Owed,
    generation: AtomicI64,
    fills: Arc<Semaphore>,
    left_out: IntCounter,
    open: IntGauge,
    circuit: Circuit,
}

impl Redis {
    pub fn new(url: &str) -> anyhow::Result<Self> {
        let tcp = TcpSettings::default().set_nodelay(true);
        let info = url.into_connection_info().context("not a Redis URL")?.set_tcp_settings(tcp);
        let pool = Pool::builder(Manager::new(info)?).max_size(CONNECTIONS_MAX).build()?;
        let breaker = Recloser::custom()
            .closed_len(FAILURES_MAX)
            .error_rate(FAILURE_RATE)
            .half_open_len(1)
            .open_wait(OPEN_FOR)
            .build();
        measures::REDIS_FAILURES.init(&[]);
        let (left_out, open) = (measures::REDIS_LEFT_OUT.with(&[]), measures::REDIS_OPEN.with(&[]));
        let circuit = Circuit::new("product", "redis");
        let (breaker, owed, fills) = (breaker.into(), Owed::default(), Arc::new(Semaphore::new(FILLS_MAX)));
        let generation = AtomicI64::new(UNKNOWN);
        Ok(Self { pool, breaker, owed, generation, fills, left_out, open, circuit })
    }

    /// The rows are of this generation; of one that is not known, if it is none.
    pub fn is_of(&self, generation: Option<Generation>) {
        self.generation.store(generation.unwrap_or(UNKNOWN), Ordering::SeqCst);
    }

    fn generation(&self) -> Option<Generation> {
        Some(self.generation.load(Ordering::SeqCst)).filter(|generation| *generation != UNKNOWN)
    }

    /// Tells in the metrics how the connections are used.
    pub fn look(&self) {
        measures::pool(&self.pool.status());
    }

    pub async fn get(&self, id: Uuid) -> Found {
        if self.owed.any() {
            return Found::Unknown;
        }
        let Some(generation) = self.generation() else { return Found::Unknown };
        let Some((text,)) = self.call::<(Option<String>,)>("get", pipe().get(key(generation, id))).await else {
            return Found::Unknown;
        };
        match text {
            None => Found::Nothing(generation),
            Some(text) => match Shown::read(text) {
                Some(shown) if shown.entry.id == id => Found::Product(Arc::new(shown)),
                // A tombstone, or something of another's.
                _ => Found::Unknown,
            },
        }
    }

    /// Puts a product there that was read just now, unless it has changed or is there already. Nobody waits for it.
    pub fn fill(self: &Arc<Self>, generation: Generation, shown: &Arc<Shown>) {
        let Ok(permit) = Arc::clone(&self.fills).try_acquire_owned() else { return };
        if self.owed.any() {
            return;
        }
        let (redis, shown) = (Arc::clone(self), Arc::clone(shown));
        tokio::spawn(async move {
            let mut set = pipe();
            let key = key(generation, shown.entry.id);
            set.cmd("SET").arg(key).arg(&shown.json[..]).arg("NX").arg("PX").arg(millis(LIFETIME));
            redis.call::<()>("fill", set.ignore()).await;
            drop(permit);
        });
    }

    /// Covers products that change. Where that fails it is owed, and tried again until it is done.
    pub async fn bury(self: &Arc<Self>, ids: &[Uuid]) {
        if !ids.is_empty() && !self.try_bury(ids).await && self.owed.add(ids) {
            tokio::spawn(owed::pay(Arc::downgrade(self)));
        }
    }

    async fn try_bury(&self, ids: &[Uuid]) -> bool {
        // Until it is known where they lie, it is owed.
        let Some(generation) = self.generation() else { return false };
        let mut set = pipe();
        for id in ids {
            set.cmd("SET").arg(key(generation, *id)).arg(TOMBSTONE).arg("PX").arg(millis(TOMBSTONE_LIFETIME)).ignore();
        }
        self.call::<()>("bury", &set).await.is_some()
    }

    /// The answer; none if the call failed, or was not tried because those before it did.
    async fn call<T: FromRedisValue>(&self, name: &str, pipeline: &Pipeline) -> Option<T> {
        let call = async {
            let mut connection = self.pool.get().await?;
            anyhow::Ok(pipeline.query_async::<T>(&mut connection).await?)
        };
        let bounded = async {
            let late = |_| anyhow::anyhow!("no answer within {} ms", CALL_TIMEOUT.as_millis());
            tokio::time::timeout(CALL_TIMEOUT, call).await.map_err(late)?
        };
        match self.breaker.call(bounded).await {
            Ok(answer) => {
                self.open.set(0);
                self.circuit.answered();
                Some(answer)
            }
            Err(recloser::Error::Rejected) => {
                self.open.set(1);
                self.circuit.rejected();
                self.left_out.inc();
                None
            }
            Err(recloser::Error::Inner(error)) => {
                measures::REDIS_FAILURES.with(&[name]).inc();
                self.circuit.failed();
                tracing::warn!(redis.call = name, error = format!("{error:#}"), "Redis failed");
                None
            }
        }
    }
}

fn key(generation: Generation, id: Uuid) -> String {
    match generation {
        0 => format!("product:{id}"),
        made => format!("product:{made}:{id}"),
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
