//! The stores, each at its moment, and the work of reading them in parts that can be done at once.

use super::facts::Facts;
use super::findings::Findings;
use super::messages::Messages;
use super::personal;
use super::since::{From, Mark};
use super::snapshot::{Moment, Scope};
use super::spill::Spill;
use super::subjects::{Book, Notifications, Orders, Payments, Products, Sagas, Stocks, Users, Webhooks};
use super::walk::{Subject, orphans, walk};
use crate::ports::Role;
use crate::progress::Progress;
use cqrs_es::Aggregate;
use domain::notification::{Notification, Webhook};
use domain::order::Order;
use domain::payment::Payment;
use domain::product::Product;
use domain::stock::Stock;
use domain::user::User;
use event_store::Cursor;
use futures::FutureExt;
use futures::future::BoxFuture;
use kernel::{OrderId, PaymentId};
use orchestrator::saga::order_fulfilment::OrderFulfilment;
use runtime::Publish;
use runtime::relay::FOLLOWER;
use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use uuid::Uuid;

/// Streams that are named one by one are looked at so many at a time.
const STREAMS_AT_ONCE: usize = 500;

/// A store at one moment.
pub(super) struct Store {
    pub(super) moment: Moment,
    /// What came before is not looked at for its own sake.
    pub(super) since: Cursor,
    messages: Messages,
}

/// A part of a store's work, and whose it is.
pub(super) type Job = BoxFuture<'static, (Role, anyhow::Result<Findings>)>;

impl Store {
    pub(super) async fn open(moment: Moment, from: &From, partitions: u16, aside: Arc<Spill>) -> anyhow::Result<Self> {
        let mut snapshot = moment.look().await?;
        let since = from.cursor(moment.role, &mut snapshot).await?;
        let relay = snapshot.checkpoint(FOLLOWER).await?;
        snapshot.close().await;
        let publisher: Option<Arc<dyn Publish>> = match moment.role {
            Role::User => Some(Arc::new(user_service::Publisher)),
            Role::Product => Some(Arc::new(product_service::Publisher)),
            Role::Order => Some(Arc::new(order_service::Publisher)),
            Role::Payment => Some(Arc::new(payment_service::Publisher)),
            Role::Orchestrator => Some(Arc::new(orchestrator::Publisher)),
            // Nothing of it is published.
            Role::Notification => None,
        };
        let messages = Messages::new(moment.role, publisher, relay, since, partitions, aside);
        Ok(Self { moment, since, messages })
    }

    /// The kinds of streams that are walked through.
    fn kinds(&self) -> &'static [&'static str] {
        match self.moment.role {
            Role::User => &[User::TYPE],
            Role::Product => &[Product::TYPE, Stock::TYPE],
            Role::Order => &[Order::TYPE],
            Role::Payment => &[Payment::TYPE],
            Role::Notification => &[Notification::TYPE, Webhook::TYPE],
            Role::Orchestrator => &[OrderFulfilment::TYPE],
        }
    }

    /// How many events are to be looked at, nearly; when the first of them was recorded.
    pub(super) async fn outlook(&self, is_whole: bool) -> anyhow::Result<(f64, Option<chrono::DateTime<chrono::Utc>>)> {
        let mut snapshot = self.moment.look().await?;
        let events = if is_whole { snapshot.events_estimate().await? } else { 0.0 };
        let first = if is_whole { None } else { snapshot.recorded_after(self.since).await? };
        snapshot.close().await;
        Ok((events, first))
    }
}

/// Which streams are looked at, where it is not all of them.
pub(super) struct Touched {
    /// All that have to do with an order that something has happened to.
    pub(super) orders: Arc<HashSet<Uuid>>,
    products: Vec<String>,
}

/// Finds out what something has happened to since then.
pub(super) async fn touched(stores: &[Arc<Store>]) -> anyhow::Result<Touched> {
    let mut orders = HashSet::new();
    for (role, kind) in [(Role::Order, Order::TYPE), (Role::Orchestrator, OrderFulfilment::TYPE)] {
        let Some(store) = stores.iter().find(|store| store.moment.role == role) else { continue };
        let mut snapshot = store.moment.look().await?;
        let ids = snapshot.touched(kind, store.since).await?;
        orders.extend(ids.iter().filter_map(|id| Uuid::parse_str(id).ok()));
        snapshot.close().await;
    }
    let mut products = Vec::new();
    if let Some(store) = stores.iter().find(|store| store.moment.role == Role::Order) {
        let mut snapshot = store.moment.look().await?;
        let ids: Vec<Uuid> = orders.iter().copied().collect();
        products = sqlx::query_scalar(
            "SELECT DISTINCT line ->> 'product_id'
               FROM orders, jsonb_array_elements(lines::jsonb) AS line WHERE id = ANY($1)",
        )
        .bind(ids)
        .fetch_all(snapshot.connection())
        .await?;
        snapshot.close().await;
    }
    Ok(Touched { orders: Arc::new(orders), products })
}

/// What the jobs of all stores need.
#[derive(Clone)]
pub(super) struct Desk {
    pub(super) facts: Facts,
    pub(super) book: Arc<Book>,
    pub(super) with_key: Arc<HashSet<Uuid>>,
    pub(super) progress: Progress,
    pub(super) touched: Option<Arc<Touched>>,
    /// Where the last audit ended.
    pub(super) mark: Option<Arc<Mark>>,
}

impl Desk {
    /// All that is to be done for a store.
    pub(super) async fn jobs(&self, store: &Arc<Store>) -> anyhow::Result<Vec<Job>> {
        let mut jobs = Vec::new();
        let (facts, book, keys) = (&self.facts, &self.book, &self.with_key);
        match store.moment.role {
            Role::User => self.walks(store, &mut jobs, || Users::with_keys_of(Arc::clone(keys))).await?,
            Role::Product => {
                self.walks(store, &mut jobs, || Products).await?;
                self.walks(store, &mut jobs, || Stocks::new(facts.clone())).await?;
            }
            Role::Order => self.walks(store, &mut jobs, || Orders::new(facts.clone())).await?,
            Role::Payment => {
                self.walks(store, &mut jobs, || Payments::new(facts.clone(), Arc::clone(book))).await?;
            }
            Role::Notification => {
                self.walks(store, &mut jobs, Notifications::default).await?;
                self.walks(store, &mut jobs, || Webhooks).await?;
            }
            Role::Orchestrator => self.walks(store, &mut jobs, || Sagas::new(facts.clone())).await?,
        }
        jobs.push(looks(Arc::clone(store), self.mark.clone()));
        Ok(jobs)
    }

    async fn walks<S: Subject + 'static>(
        &self,
        store: &Arc<Store>,
        jobs: &mut Vec<Job>,
        subject: impl Fn() -> S,
    ) -> anyhow::Result<()> {
        for scope in self.scopes(store, S::Aggregate::TYPE).await? {
            jobs.push(one_walk(Arc::clone(store), scope, subject(), self.progress.clone()));
        }
        Ok(())
    }

    async fn scopes(&self, store: &Store, kind: &str) -> anyhow::Result<Vec<Scope>> {
        let mut snapshot = store.moment.look().await?;
        let scopes = match &self.touched {
            None => snapshot.ranges(kind).await?,
            Some(touched) => {
                let mut ids: BTreeSet<String> = snapshot.touched(kind, store.since).await?.into_iter().collect();
                match store.moment.role {
                    Role::Order | Role::Orchestrator => ids.extend(touched.orders.iter().map(Uuid::to_string)),
                    Role::Payment => {
                        ids.extend(touched.orders.iter().map(|order| PaymentId::of_order(OrderId(*order)).to_string()));
                    }
                    Role::Product if kind == Stock::TYPE => ids.extend(touched.products.iter().cloned()),
                    _ => {}
                }
                let ids: Vec<String> = ids.into_iter().collect();
                ids.chunks(STREAMS_AT_ONCE).map(|ids| Scope::Streams(ids.to_vec())).collect()
            }
        };
        snapshot.close().await;
        Ok(scopes)
    }
}

fn one_walk<S: Subject + 'static>(store: Arc<Store>, scope: Scope, subject: S, progress: Progress) -> Job {
    async move {
        let mut findings = Findings::new(store.messages.clone());
        let walked = async {
            let mut snapshot = store.moment.look().await?;
            walk(&mut snapshot, &mut findings, subject, &scope, &progress).await?;
            snapshot.close().await;
            anyhow::Ok(())
        };
        let walked = walked.await;
        (store.moment.role, walked.map(|()| findings))
    }
    .boxed()
}

/// What needs no walk.
fn looks(store: Arc<Store>, mark: Option<Arc<Mark>>) -> Job {
    async move {
        let role = store.moment.role;
        let mut findings = Findings::new(store.messages.clone());
        let looked = async {
            let mut snapshot = store.moment.look().await?;
            findings.look(&mut snapshot, role, store.kinds()).await?;
            if let Some(mark) = mark {
                findings.only_forward(&mut snapshot, role, &mark, store.since).await?;
            }
            match role {
                Role::User => orphans::<Users>(&mut snapshot, &mut findings).await?,
                Role::Product => orphans::<Products>(&mut snapshot, &mut findings).await?,
                Role::Order => orphans::<Orders>(&mut snapshot, &mut findings).await?,
                Role::Payment => orphans::<Payments>(&mut snapshot, &mut findings).await?,
                Role::Notification => {
                    orphans::<Notifications>(&mut snapshot, &mut findings).await?;
                    orphans::<Webhooks>(&mut snapshot, &mut findings).await?;
                }
                Role::Orchestrator => orphans::<Sagas>(&mut snapshot, &mut findings).await?,
            }
            snapshot.close().await;
            anyhow::Ok(())
        };
        let looked = looked.await;
        (role, looked.map(|()| findings))
    }
    .boxed()
}

/// What the provider has that nobody asked for: once all payments were walked through.
pub(super) async fn unasked(store: &Store, book: &Book) -> anyhow::Result<Findings> {
    let mut findings = Findings::new(store.messages.clone());
    let mut snapshot = store.moment.look().await?;
    book.unasked(&mut snapshot, &mut findings).await?;
    snapshot.close().await;
    Ok(findings)
}

/// Whose personal data has a key.
pub(super) async fn with_key(store: &Store) -> anyhow::Result<HashSet<Uuid>> {
    let mut snapshot = store.moment.look().await?;
    let with_key = personal::with_key(&mut snapshot).await?;
    snapshot.close().await;
    Ok(with_key.into_iter().collect())
}
