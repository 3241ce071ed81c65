//! Wiring: what every service runs beside its edges.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use broker::Broker;
use event_store::clock::Clock;
use event_store::{EventStore, Gate, HashChain, PgStore, StoreOptions};
use kernel::Live;
use sqlx::PgPool;
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::consumer::{self, Consumer, Handler};
use crate::measures::Observer;
use crate::projection::{self, Projection, ProjectionHandle};
use crate::relay::{self, Publish, Relay};
use crate::timers::Timers;
use crate::{Commands, Precedence, answers, failpoint, foreign, migrations, unfinished};

/// A service that runs has effects.
const LIVE: Live = Live::because("a service runs");

/// What a service is given to run on.
#[derive(Clone)]
pub struct Deps {
    /// Its own database, migrated.
    pub pool: PgPool,
    /// The gate of its database's server, where several services of a process share one.
    pub gate: Option<Arc<Gate>>,
    /// The broker.
    pub broker: Arc<dyn Broker>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Partitions of each topic.
    pub partitions: i32,
    /// How long a dead instance's partitions wait for another.
    pub lease: Duration,
    /// Whether its events are chained to those before.
    pub hash_chain: HashChain,
    /// Ends everything.
    pub shutdown: CancellationToken,
}

/// One service's store and the tasks that move its events.
pub struct Host {
    name: &'static str,
    deps: Deps,
    store: Arc<PgStore>,
    owner: Uuid,
    precedence: Arc<Precedence>,
    tasks: JoinSet<&'static str>,
    observer: Observer,
}

impl Host {
    /// A host for the service of this name, which is the source of what it publishes.
    pub fn new(name: &'static str, deps: Deps) -> Self {
        // Arms the failpoint before anything runs.
        failpoint::pass("start");
        let gate = deps.gate.clone().unwrap_or_else(|| Gate::new(deps.pool.clone()));
        let options = StoreOptions { service: name, hash_chain: deps.hash_chain, ..StoreOptions::default() };
        let store = PgStore::with_gate(deps.pool.clone(), options, gate, LIVE);
        let owner = deps.clock.new_id();
        let observer = Observer::new(name, deps.pool.clone());
        Self { name, deps, store, owner, precedence: Arc::default(), tasks: JoinSet::new(), observer }
    }

    /// The service's event store.
    pub fn store(&self) -> Arc<PgStore> {
        Arc::clone(&self.store)
    }

    /// What allows the service to have effects: to call providers, to send to customers.
    pub fn live(&self) -> Live {
        LIVE
    }

    /// What it runs on.
    pub fn deps(&self) -> &Deps {
        &self.deps
    }

    /// Commands on its aggregates.
    pub fn commands(&self) -> Commands {
        Commands::new(self.dyn_store(), Arc::clone(&self.deps.clock))
    }

    /// Requests that are entered here go before its relay and its read models.
    pub fn precedence(&self) -> Arc<Precedence> {
        Arc::clone(&self.precedence)
    }

    fn dyn_store(&self) -> Arc<dyn EventStore> {
        Arc::clone(&self.store) as Arc<dyn EventStore>
    }

    /// Publishes its events.
    pub fn relay(&mut self, publish: impl Publish) {
        let options = relay::Options { lease: self.deps.lease, ..relay::Options::new(self.name, self.deps.partitions) };
        let broker = Arc::clone(&self.deps.broker);
        let relay = Relay::new(self.dyn_store(), broker, Arc::new(publish), options, self.owner, LIVE);
        let relay = relay.after(self.precedence());
        self.observer.relay();
        self.spawn("relay", relay.run(self.deps.shutdown.clone()));
    }

    /// Follows topics with a handler.
    pub fn consumer<H: Handler>(&mut self, name: &'static str, topics: &[&'static str], handler: Arc<H>) {
        let options =
            consumer::Options { lease: self.deps.lease, ..consumer::Options::new(name, topics, self.deps.partitions) };
        let options = consumer::Options { service: self.name, ..options };
        let (broker, clock) = (Arc::clone(&self.deps.broker), Arc::clone(&self.deps.clock));
        let consumer = Consumer::new(self.dyn_store(), broker, clock, handler, options, self.owner);
        self.observer.consumer(name);
        self.spawn(name, consumer.run(self.deps.shutdown.clone()));
    }

    /// Fires the timers of the handler's aggregate.
    pub fn timers<H: Handler>(&mut self, handler: Arc<H>) {
        let timers = Timers::new(self.name, self.dyn_store(), Arc::clone(&self.deps.clock), handler);
        self.observer.timers(<H::Aggregate as cqrs_es::Aggregate>::TYPE);
        self.spawn("timers", timers.run(self.deps.shutdown.clone()));
    }

    /// Keeps a read model.
    pub fn projection(&mut self, projection: Arc<dyn Projection>) -> ProjectionHandle {
        let name = projection.name();
        if let Some(model) = projection.model() {
            let (pool, precedence) = (self.deps.pool.clone(), self.precedence());
            let keeper = projection::Keeper { service: self.name, pool, model, precedence };
            self.spawn("read model's version", keeper.run(self.deps.shutdown.clone()));
        }
        let (handle, follower) = projection::follow(self.name, self.dyn_store(), self.deps.pool.clone(), projection);
        self.observer.projection(name);
        self.spawn(name, follower.after(self.precedence()).run(self.deps.shutdown.clone()));
        handle
    }

    /// Has something more looked at every few seconds, on the service's own database, for metrics that only it knows. What
    /// takes longer than a moment is given up until the next time.
    pub fn observe<F, Fut>(&mut self, look: F)
    where
        F: Fn(PgPool) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        self.observer.probe(Box::new(move |pool| Box::pin(look(pool))));
    }

    /// Runs something of the service's own until shutdown.
    pub fn spawn(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(async move {
            task.await;
            name
        });
    }

    /// Runs until shutdown and then until all tasks have ended. A task that ends before, or
    /// panics, stops the service with an error: half a service is none.
    pub async fn run_until_stopped(mut self) -> anyhow::Result<()> {
        let shutdown = self.deps.shutdown.clone();
        let none = Observer::new(self.name, self.deps.pool.clone());
        let observer = std::mem::replace(&mut self.observer, none);
        self.spawn("observer", observer.run(shutdown.clone()));
        self.spawn("answers", answers::forget_old(self.dyn_store(), shutdown.clone()));
        while let Some(ended) = self.tasks.join_next().await {
            let name = ended.with_context(|| format!("a task of the {} service died", self.name));
            if !shutdown.is_cancelled() {
                shutdown.cancel();
                anyhow::bail!("the {} service's {} ended by itself", self.name, name?);
            }
            name?;
        }
        Ok(())
    }
}

/// A pool whose sessions cannot hold the cluster's readers up for long: one long transaction
/// anywhere stalls every reader behind the xmin gate.
pub fn pool(options: PgConnectOptions, name: &str, connections_max: u32) -> PgPool {
    let options = options.application_name(&format!("sagashop-{name}")).options([
        ("statement_timeout", "15s"),
        ("lock_timeout", "5s"),
        ("idle_in_transaction_session_timeout", "10s"),
        ("client_connection_check_interval", "2s"),
        // Every statement is short and prepared; compiling never pays.
        ("jit", "off"),
    ]);
    PgPoolOptions::new()
        .max_connections(connections_max)
        .acquire_timeout(Duration::from_secs(5))
        // A test before each use would double the round trips; a connection that has died costs one
        // failure that everything here tries again.
        .test_before_acquire(false)
        .connect_lazy_with(options)
}

/// Brings a service's database up to date: the event store's tables and its own read models. Where they are, nothing is
/// done, so that a service can run as a database role that may change no table.
///
/// # Errors
/// If the database is away, a migration fails, it was restored from another server's dump ([`foreign`]), or it is being
/// filled from an export ([`unfinished`]).
pub async fn migrate(pool: &PgPool, own: &Migrator) -> anyhow::Result<()> {
    migrations::apply(pool, own).await?;
    unfinished::refuse(pool).await?;
    foreign::refuse(pool).await
}
