//! `sagashop audit`: every promise, checked from outside against the databases and the broker as they are.
//!
//! Each database is read as it was at one moment ([`snapshot`]), in parts at once, each stream folded anew and compared
//! with whatever was made of it ([`walk`]). What concerns several services is put aside ([`spill`]) and compared
//! afterwards ([`orders`], [`topics`]); a running shop may go on meanwhile. Nothing is written. What cannot be read is
//! reported as not checked, never as in order. Which promise is proven by what stands in docs/audit.md.

mod answers;
mod book;
pub mod chain;
mod examine;
mod facts;
mod findings;
mod messages;
mod orders;
mod personal;
mod report;
pub mod schedule;
mod since;
mod snapshot;
mod spill;
mod stores;
mod subjects;
mod topics;
mod walk;

pub use report::{Check, Report, Verdict};
pub use since::{Mark, Since};
pub(crate) use snapshot::{connect, recorded};
pub(crate) use topics::{Bounds, Topics};

use crate::args::{AuditArgs, GlobalArgs, ProviderArgs, ServerArgs};
use crate::exit::{Code, Failure};
use crate::postgres::Server;
use crate::progress::Progress;
use chrono::Utc;
use examine::Examination;
use since::From;
use std::time::Instant;

/// More parts at once than this gain nothing.
const PARALLEL_MAX: usize = 16;

/// Audits the shop whose databases run here and prints the report.
///
/// # Errors
/// When there is nothing to look at: that is [`Code::Unchecked`].
pub async fn audit(global: &GlobalArgs, args: &AuditArgs) -> anyhow::Result<Code> {
    let server = attach(global, args).await?;
    if args.chain {
        return chain::verify(global.output, &server, args).await;
    }
    let began = Instant::now();
    let from = match (&args.since, &args.mark) {
        (Some(since), _) => From::Since(*since, Utc::now()),
        (None, Some(file)) => Mark::read(file)?.map_or(From::Everything, From::Mark),
        (None, None) => From::Everything,
    };
    let since = match &from {
        From::Mark(mark) => format!(" since {}", mark.at.to_rfc3339()),
        From::Since(..) => " since then".to_owned(),
        From::Everything => String::new(),
    };
    let examination = Examination {
        server: &server,
        servers: &args.servers,
        provider: &args.provider,
        from,
        parallel: parallel(args),
        progress: Progress::new("Auditing", "events and messages", None),
    };
    let (report, mark) = examination.examine().await;
    report.print(global.output)?;
    eprintln!("Audited {}{since} in {:.1} s.", server.describe(), began.elapsed().as_secs_f64());
    if let (Some(file), Some(mark)) = (&args.mark, mark) {
        mark.write(file)?;
    }
    Ok(report.code())
}

/// The server whose databases are looked at.
async fn attach(global: &GlobalArgs, args: &AuditArgs) -> anyhow::Result<Server> {
    let unchecked = |reason: &str| Failure::new(Code::Unchecked, format!("nothing was checked: {reason}"));
    let server = match args.database.options(global) {
        Ok(options) => Server::attach(&options).await,
        Err(error) => Err(error),
    };
    let none = "no shop runs here: start one with `sagashop up`, or name its database with DATABASE_URL";
    Ok(server.map_err(|error| unchecked(&error.to_string()))?.ok_or_else(|| unchecked(none))?)
}

fn parallel(args: &AuditArgs) -> usize {
    let usual = || std::thread::available_parallelism().map_or(2, |n| 2 * n.get()).min(PARALLEL_MAX);
    args.parallel.map_or_else(usual, usize::from)
}

/// Checks everything that the shop on this server promises. A shop that runs is not disturbed.
pub async fn examine(server: &Server, servers: &ServerArgs, provider: &ProviderArgs) -> Report {
    let examination =
        Examination { server, servers, provider, from: From::Everything, parallel: 4, progress: Progress::none() };
    examination.examine().await.0
}
