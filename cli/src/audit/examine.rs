//! The audit itself: all stores at their moments, read in parts at once; then what they say of each other.

use super::facts::Facts;
use super::findings::{Checks, Findings, Standing};
use super::orders::{self, Books};
use super::report::{Report, Tally};
use super::since::{self, From, Mark};
use super::snapshot::Moment;
use super::spill::Spill;
use super::stores::{self, Desk, Store};
use super::subjects::Book;
use super::topics::{self, Bounds, Lying, Topics};
use super::{book, personal};
use crate::args::{ProviderArgs, ServerArgs};
use crate::ports::Role;
use crate::postgres::Server;
use crate::progress::Progress;
use chrono::{DateTime, Utc};
use event_store::Cursor;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// What an audit has to know.
pub(super) struct Examination<'a> {
    pub(super) server: &'a Server,
    pub(super) servers: &'a ServerArgs,
    pub(super) provider: &'a ProviderArgs,
    pub(super) from: From,
    /// Parts of the stores that are read at once.
    pub(super) parallel: usize,
    pub(super) progress: Progress,
}

/// What could not be read, and why.
#[derive(Default)]
struct Gathered {
    findings: Vec<(Role, Findings)>,
    unread: Vec<(Role, String)>,
}

impl Gathered {
    fn add(&mut self, role: Role, read: anyhow::Result<Findings>) {
        match read {
            Ok(findings) => self.findings.push((role, findings)),
            Err(error) => {
                let reason = format!("the {}'s database: {error:#}", role.title());
                // Once is enough: with the database everything of it is away.
                if !self.unread.iter().any(|(unread, _)| *unread == role) {
                    self.unread.push((role, reason));
                }
            }
        }
    }

    fn unread(&self) -> String {
        self.unread.iter().map(|(_, reason)| reason.as_str()).collect::<Vec<_>>().join("; ")
    }
}

impl Examination<'_> {
    /// Checks everything that the shop promises, and where the next audit may begin. A shop that runs is not disturbed.
    pub(super) async fn examine(self) -> (Report, Option<Mark>) {
        let topics = Topics::new(self.server, self.servers);
        let before = topics.bounds().await;
        let (expected, found) = (Arc::new(Spill::new()), Spill::new());
        let mut gathered = Gathered::default();
        let stores = self.stores(&expected, &mut gathered).await;
        let after = topics.bounds().await;
        let at = stores.iter().find(|store| store.moment.role == Role::Orchestrator).map(|store| store.moment.at);
        let ends = ends(&stores).await;

        let desk = self.desk(&stores, &mut gathered).await;
        let facts = desk.facts.clone();
        let (lying, personal) = self.read(&stores, desk, &mut gathered, (&topics, &before, &after), &found).await;
        for store in &stores {
            store.moment.close().await;
        }

        self.progress.say("comparing");
        let read: Vec<Role> =
            Role::ALL.into_iter().filter(|role| !gathered.unread.iter().any(|(unread, _)| unread == role)).collect();
        let unread = gathered.unread();
        let crossed = orders::compare(self.server, &Books { at, facts: &facts, read: &read, unread: &unread }).await;
        let standings: Vec<(Role, Standing)> = gathered
            .findings
            .iter()
            .flat_map(|(role, findings)| findings.standing.iter().map(|standing| (*role, standing.clone())))
            .collect();
        let mut checks = checks(gathered, &after);
        checks.personal.merge(personal);
        let published = match lying {
            Ok(mut lying) if unread.is_empty() => {
                checks.personal.merge(std::mem::take(&mut lying.personal));
                topics::compare(&expected, &found, &lying, self.from.is_everything())
                    .unwrap_or_else(|error| Tally::unchecked(format!("{error:#}")))
            }
            Ok(lying) => {
                checks.personal.merge(lying.personal);
                Tally::unchecked(unread)
            }
            Err(reason) => {
                checks.personal.merge(topics.personal_unread(&reason));
                Tally::unchecked(reason)
            }
        };
        checks.money.merge(crossed.money);
        checks.charged_once.merge(crossed.charged_once);
        let report = Report::new(vec![
            checks.acknowledged.into_check("acknowledged = stored"),
            checks.contiguous.into_check("contiguous streams"),
            checks.readable.into_check("readable events"),
            published.into_check("store = broker"),
            crossed.ends.into_check("orders end"),
            checks.money.into_check("money"),
            checks.charged_once.into_check("charged once"),
            checks.stock.into_check("stock adds up"),
            crossed.stock.into_check("stock of orders"),
            checks.projections.into_check("projection = fold"),
            checks.snapshots.into_check("snapshot = fold"),
            checks.notified_once.into_check("notified once"),
            checks.commands.into_check("one effect a command"),
            checks.offsets.into_check("offsets in bounds"),
            checks.dead_letters.into_check("no dead letters"),
            checks.personal.into_check("personal data sealed"),
        ]);
        self.progress.finish();
        let mark = match (at, ends, before) {
            (Some(at), Some(ends), Ok(before)) if report.ok => Some(Mark::new(at, &ends, &before, &standings)),
            _ => None,
        };
        (report, mark)
    }

    /// The stores that can be read, each at its moment: the sagas' first, see [`orders`].
    async fn stores(&self, aside: &Arc<Spill>, gathered: &mut Gathered) -> Vec<Arc<Store>> {
        let open = async |role: Role| {
            let opened = async {
                let moment = Moment::take(self.server, role).await?;
                Store::open(moment, &self.from, self.servers.partitions, Arc::clone(aside)).await
            };
            (role, opened.await)
        };
        let mut opened = vec![open(Role::Orchestrator).await];
        let others = Role::ALL.into_iter().filter(|role| *role != Role::Orchestrator);
        opened.extend(others.map(&open).collect::<FuturesUnordered<_>>().collect::<Vec<_>>().await);
        let mut stores = Vec::new();
        for (role, opened) in opened {
            match opened {
                Ok(store) => stores.push(Arc::new(store)),
                Err(error) => gathered.add(role, Err(error)),
            }
        }
        stores
    }

    /// What the work on the stores needs beside them.
    async fn desk(&self, stores: &[Arc<Store>], gathered: &mut Gathered) -> Desk {
        let of = |role| stores.iter().find(|store| store.moment.role == role);
        let mut touched = None;
        if !self.from.is_everything() {
            match stores::touched(stores).await {
                Ok(found) => touched = Some(Arc::new(found)),
                Err(error) => gathered.add(Role::Order, Err(error)),
            }
        }
        let mut operations = Vec::new();
        let mut at = DateTime::<Utc>::MIN_UTC;
        if let Some(payments) = of(Role::Payment) {
            at = payments.moment.at;
            // After the snapshot: whatever that has recorded is in the book.
            match book::read(self.provider).await {
                Ok(read) => operations = read,
                Err(error) => gathered.add(Role::Payment, Err(error)),
            }
        }
        let mut with_key = Default::default();
        if let Some(users) = of(Role::User) {
            match stores::with_key(users).await {
                Ok(found) => with_key = Arc::new(found),
                Err(error) => gathered.add(Role::User, Err(error)),
            }
        }
        Desk {
            facts: Facts::new(touched.as_ref().map(|touched| Arc::clone(&touched.orders))),
            book: Arc::new(Book::new(operations, at)),
            with_key,
            progress: self.progress.clone(),
            touched,
            mark: if let From::Mark(mark) = &self.from { Some(Arc::new(mark.clone())) } else { None },
        }
    }

    /// Reads the stores and the topics, all at once.
    async fn read(
        &self,
        stores: &[Arc<Store>],
        desk: Desk,
        gathered: &mut Gathered,
        (topics, before, after): (&Topics, &Result<Bounds, String>, &Result<Bounds, String>),
        found: &Spill,
    ) -> (Result<Lying, String>, Tally) {
        let (mut events, mut earliest) = (0.0, None);
        for store in stores {
            match store.outlook(self.from.is_everything()).await {
                Ok((more, first)) => {
                    events += more;
                    earliest = earliest.into_iter().chain(first).min();
                }
                Err(error) => gathered.add(store.moment.role, Err(error)),
            }
        }
        let lying = async {
            let (before, after) = (before.as_ref().map_err(Clone::clone)?, after.as_ref().map_err(Clone::clone)?);
            let from = self.from.offsets(topics, after, earliest).await?;
            let records =
                after.iter().map(|(place, (first, end))| end - from.get(place).map_or(*first, |at| *at.max(first)));
            if self.from.is_everything() {
                self.progress.of(events as u64 + u64::try_from(records.sum::<i64>()).unwrap_or(0));
            }
            let lying = topics.put_aside(&from, before, after, found, &self.progress).await;
            lying.map_err(|error| error.to_string())
        };
        let (lying, personal, ()) = tokio::join!(
            lying,
            personal::search(self.server, stores, (!self.from.is_everything()).then_some(earliest)),
            self.work(stores, desk, gathered)
        );
        (lying, personal)
    }

    /// Does all jobs of all stores.
    async fn work(&self, stores: &[Arc<Store>], desk: Desk, gathered: &mut Gathered) {
        let places = Arc::new(Semaphore::new(self.parallel.max(1)));
        let mut working = FuturesUnordered::new();
        for store in stores {
            let role = store.moment.role;
            match desk.jobs(store).await {
                Ok(jobs) => {
                    for job in jobs {
                        let places = Arc::clone(&places);
                        working.push(tokio::spawn(async move {
                            let _place = places.acquire_owned().await;
                            job.await
                        }));
                    }
                }
                Err(error) => gathered.add(role, Err(error)),
            }
        }
        while let Some(done) = working.next().await {
            match done {
                Ok((role, read)) => gathered.add(role, read),
                // A defect: it belongs to nobody, and nothing is certain.
                Err(error) => {
                    Role::ALL.into_iter().for_each(|role| gathered.add(role, Err(anyhow::anyhow!("{error}"))))
                }
            }
        }
        if let Some(payments) = stores.iter().find(|store| store.moment.role == Role::Payment) {
            gathered.add(Role::Payment, stores::unasked(payments, &desk.book).await);
        }
    }
}

/// Where each store ends, for the next audit; none, where that cannot be said of all.
async fn ends(stores: &[Arc<Store>]) -> Option<Vec<(Role, Cursor)>> {
    let mut ends = Vec::new();
    for store in stores {
        ends.push((store.moment.role, since::end(&store.moment).await.ok()?));
    }
    (ends.len() == Role::ALL.len()).then_some(ends)
}

/// The checks that stores answer by themselves.
fn checks(gathered: Gathered, after: &Result<Bounds, String>) -> Checks {
    let mut checks = Checks::default();
    for (role, mut findings) in gathered.findings {
        findings.within(role, after);
        checks.merge(findings.checks);
    }
    for (role, reason) in gathered.unread {
        checks.merge(Checks::unchecked(role, &reason));
    }
    checks
}
