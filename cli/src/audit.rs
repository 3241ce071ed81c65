//! `sagashop audit`: every promise, checked from outside against the databases and the broker as they are.
//!
//! Each database is read as it was at one moment ([`snapshot`]), each stream folded anew and compared with whatever was
//! made of it ([`walk`]). What concerns several services is compared afterwards ([`orders`], [`topics`]); a running
//! shop may go on meanwhile. Nothing is written. What cannot be read is reported as not checked, never as in order.

mod book;
mod findings;
mod messages;
mod orders;
mod personal;
mod report;
mod snapshot;
mod stores;
mod subjects;
mod topics;
mod walk;

pub use report::{Check, Report, Verdict};
pub(crate) use snapshot::{connect, recorded};
pub(crate) use topics::{Bounds, Topics};

use crate::args::{AuditArgs, GlobalArgs, ProviderArgs, ServerArgs};
use crate::exit::{Code, Failure};
use crate::ports::Role;
use crate::postgres::Server;
use findings::{Checks, Findings};
use orders::Books;
use snapshot::Snapshot;
use std::time::Instant;
use stores::Read;
use tokio::task::JoinHandle;

/// Audits the shop whose databases run here and prints the report.
///
/// # Errors
/// When there is nothing to look at: that is [`Code::Unchecked`].
pub async fn audit(global: &GlobalArgs, args: &AuditArgs) -> anyhow::Result<Code> {
    let unchecked = |reason: &str| Failure::new(Code::Unchecked, format!("nothing was checked: {reason}"));
    let server = match args.database.options(global) {
        Ok(options) => Server::attach(&options).await,
        Err(error) => Err(error),
    };
    let Some(server) = server.map_err(|error| unchecked(&error.to_string()))? else {
        let none = "no shop runs here: start one with `sagashop up`, or name its database with DATABASE_URL";
        return Err(unchecked(none).into());
    };
    let began = Instant::now();
    let report = examine(&server, &args.servers, &args.provider).await;
    report.print(global.output)?;
    eprintln!("Audited {} in {:.1} s.", server.describe(), began.elapsed().as_secs_f64());
    Ok(report.code())
}

/// Checks everything that the shop on this server promises. A shop that runs is not disturbed.
pub async fn examine(server: &Server, servers: &ServerArgs, provider: &ProviderArgs) -> Report {
    let topics = Topics::new(server, servers);
    let before = topics.bounds().await;
    // The sagas first: see `orders`.
    let take = |role: Role| Snapshot::take(server, role.database());
    let sagas = take(Role::Orchestrator).await;
    let (users, products, orders, payments, notifications) = tokio::join!(
        take(Role::User),
        take(Role::Product),
        take(Role::Order),
        take(Role::Payment),
        take(Role::Notification),
    );
    let after = topics.bounds().await;
    let at = sagas.as_ref().ok().map(|snapshot| snapshot.at);

    let partitions = servers.partitions;
    let sagas = tokio::spawn(stores::sagas(sagas, partitions));
    let orders = tokio::spawn(stores::orders(orders, partitions));
    let payments = tokio::spawn(stores::payments(payments, partitions, provider.clone()));
    let products = tokio::spawn(stores::products(products, partitions));
    let users = tokio::spawn(stores::users(users, partitions));
    let notifications = tokio::spawn(stores::notifications(notifications, partitions));

    let mut all = Gathered::default();
    let sagas = all.add(Role::Orchestrator, sagas).await;
    let orders = all.add(Role::Order, orders).await;
    let payments = all.add(Role::Payment, payments).await;
    let shares = all.add(Role::Product, products).await;
    all.add(Role::User, users).await;
    all.add(Role::Notification, notifications).await;

    let unread = all.unread.join("; ");
    let books = Books { at, sagas, orders, payments, shares };
    let crossed = orders::compare(server, &books, &unread).await;
    for (role, findings) in &mut all.findings {
        findings.within(*role, &after);
    }
    let mut services = Vec::new();
    let mut checks = Checks::default();
    for (_, findings) in all.findings {
        checks.merge(findings.checks);
        services.push(findings.messages);
    }
    let published = match (before, after) {
        (Ok(before), Ok(after)) if unread.is_empty() => topics.compare(&before, &after, &mut services).await,
        (Ok(_), Ok(_)) => topics.unread(unread),
        (Err(reason), _) | (_, Err(reason)) => topics.unread(reason),
    };
    checks.money.merge(crossed.money);
    checks.personal.merge(personal::search(server).await);
    checks.personal.merge(published.personal);
    Report::new(vec![
        checks.contiguous.into_check("contiguous streams"),
        checks.readable.into_check("readable events"),
        published.published.into_check("store = broker"),
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
    ])
}

/// What has been read so far.
#[derive(Default)]
struct Gathered {
    findings: Vec<(Role, Findings)>,
    /// Why what could not be read could not.
    unread: Vec<String>,
}

impl Gathered {
    async fn add<T>(&mut self, role: Role, reading: JoinHandle<Read<T>>) -> Option<T> {
        let read = reading.await.unwrap_or_else(|error| Err(error.into()));
        match read {
            Ok((findings, facts)) => {
                self.findings.push((role, findings));
                Some(facts)
            }
            Err(error) => {
                let reason = format!("the {}'s database: {error:#}", role.title());
                self.findings.push((role, Findings::unreadable(role, &reason)));
                self.unread.push(reason);
                None
            }
        }
    }
}
