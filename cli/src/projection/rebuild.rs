use super::shown::shown;
use super::{Named, failed, named, open, stopped_by_signal, verify};
use crate::args::{ActArgs, From, GlobalArgs, ProjectionDropOldArgs, ProjectionRebuildArgs};
use crate::exit::Code;
use crate::output::{self, Row};
use chrono::Utc;
use event_store::Cursor;
use runtime::projection::verify::Options as Comparison;
use runtime::projection::{
    Database, Description, Error, Options, Others, Pace, Progress, Report, describe, drop_old as drop_old_table,
    place_of, place_since, rebuild as rebuild_table, states,
};
use serde::Serialize;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// What would be done.
#[derive(Debug, Serialize)]
struct Plan {
    projection: &'static str,
    service: &'static str,
    events: u64,
    workers: u16,
    /// What it begins with.
    begins: &'static str,
    old_table: &'static str,
}

impl Row for Plan {
    const COLUMNS: &'static [&'static str] = &["projection", "service", "events", "workers", "begins", "old table"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.projection.to_owned(),
            self.service.to_owned(),
            format!("~{}", self.events),
            self.workers.to_string(),
            self.begins.to_owned(),
            self.old_table.to_owned(),
        ]
    }
}

impl Plan {
    fn of(named: &Named, args: &ProjectionRebuildArgs, found: &Description) -> Self {
        let begins = match (found.is_begun && !args.restart, args.from) {
            (true, _) => "where it was ended",
            (false, Some(_)) => "with the rows that serve",
            (false, None) => "with the first event",
        };
        let old_table = match (args.drop_old, found.has_old) {
            (true, _) => "dropped",
            (false, true) => "kept; the one before it is dropped",
            (false, false) => "kept",
        };
        let (projection, service) = (named.name(), named.role.name());
        Self { projection, service, events: found.events, workers: args.parallel, begins, old_table }
    }
}

/// What was done.
#[derive(Debug, Serialize)]
struct Made {
    projection: &'static str,
    events: u64,
    rows: u64,
    seconds: f64,
    events_per_s: f64,
    /// Events that came meanwhile.
    caught_up: u64,
    /// How long the table was held for the swap.
    swap_ms: f64,
    verified_rows: Option<u64>,
    /// Of all rows, the same by the fold and in the table.
    checksum: Option<String>,
    resumed: bool,
}

impl Row for Made {
    const COLUMNS: &'static [&'static str] =
        &["projection", "events", "rows", "seconds", "events/s", "caught up", "swap ms", "verified"];

    fn cells(&self) -> Vec<String> {
        let verified = self.verified_rows.zip(self.checksum.as_deref());
        vec![
            self.projection.to_owned(),
            self.events.to_string(),
            self.rows.to_string(),
            format!("{:.2}", self.seconds),
            // Of what an earlier run did it is not known how long that took.
            if self.resumed { "went on".to_owned() } else { format!("{:.0}", self.events_per_s) },
            self.caught_up.to_string(),
            format!("{:.1}", self.swap_ms),
            verified.map_or("no".to_owned(), |(rows, checksum)| format!("{rows} rows, checksum {checksum}")),
        ]
    }
}

impl Made {
    fn of(named: &Named, report: &Report) -> Self {
        let seconds = report.took.as_secs_f64();
        let verified = report.verified.as_ref();
        Self {
            projection: named.name(),
            events: report.events,
            rows: report.rows,
            seconds,
            events_per_s: report.events as f64 / seconds.max(f64::EPSILON),
            caught_up: report.caught_up,
            swap_ms: report.swap.as_secs_f64() * 1_000.0,
            verified_rows: verified.map(|verified| verified.rows),
            checksum: verified.map(|verified| verify::checksum(verified.checksum_fold)),
            resumed: report.is_resumed,
        }
    }
}

pub(super) async fn rebuild(global: &GlobalArgs, args: &ProjectionRebuildArgs) -> anyhow::Result<Code> {
    let all = open(global, &args.database, named(&args.names)).await?;
    let mut plans = Vec::new();
    for (named, database) in &all {
        let found = describe(database, named.model.table()).await.map_err(|error| failed(named, error))?;
        plans.push(Plan::of(named, args, &found));
    }
    if args.dry_run {
        output::rows(global.output, &plans)?;
    } else {
        for plan in &plans {
            let Plan { projection, events, begins, old_table, .. } = plan;
            eprintln!(
                "{projection}: about {events} events; begins {begins}; the table that serves now is {old_table}."
            );
        }
    }
    if !agreed(args.yes, args.dry_run, &format!("Make {} anew?", args.names.join(", ")))? {
        return Ok(Code::Done);
    }
    let (stop, listening) = stopped_by_signal();
    let mut made = Vec::new();
    let mut ended = Ok(Code::Done);
    for (named, database) in &all {
        match one(named, database, args, &stop).await {
            Ok(Some(report)) => made.push(Made::of(named, &report)),
            Ok(None) => {
                eprintln!("{}: stopped. The table that serves is as it was; the same command goes on.", named.name());
                ended = Ok(Code::Interrupted);
                break;
            }
            Err(error) => {
                ended = Err(error);
                break;
            }
        }
    }
    listening.abort();
    if !made.is_empty() || ended.is_ok() {
        output::rows(global.output, &made)?;
    }
    ended
}

/// Makes one anew; none when it was stopped.
async fn one(
    named: &Named,
    database: &Database,
    args: &ProjectionRebuildArgs,
    stop: &CancellationToken,
) -> anyhow::Result<Option<Report>> {
    let since = since(database, args).await.map_err(|error| failed(named, error))?;
    let parallel = usize::from(args.parallel);
    let others = (!args.hurry && args.rate.is_none()).then(|| Others::watch(database));
    let pace = Pace { events_per_s_max: args.rate, others, ..Pace::default() };
    let comparison = Comparison { parallel, sample: args.sample, pace: pace.clone(), ..Comparison::default() };
    let options = Options {
        parallel,
        since,
        restart: args.restart,
        verify: args.verify.then_some(comparison),
        drop_old: args.drop_old,
        pace,
    };
    let progress = Arc::<Progress>::default();
    let work = rebuild_table(database, &named.model, &options, &progress, stop);
    match shown(named.name(), &progress, work).await {
        Err(Error::Differs(verified)) => {
            verify::print_differences(named, &verified);
            Err(failed(named, Error::Differs(verified)))
        }
        made => made.map_err(|error| failed(named, error)),
    }
}

/// Where an unfinished run began, if it is to go on; else the place of `--from`.
async fn since(database: &Database, args: &ProjectionRebuildArgs) -> Result<Option<Cursor>, Error> {
    match args.from {
        None => Ok(None),
        Some(From::Position(position)) => place_of(database, position).await.map(Some),
        Some(From::Time(moment)) => place_since(database, moment.resolve(Utc::now())).await.map(Some),
    }
}

/// A table that was dropped, or would be.
#[derive(Debug, Serialize)]
struct Dropped {
    projection: &'static str,
    bytes: i64,
    dropped: bool,
}

impl Row for Dropped {
    const COLUMNS: &'static [&'static str] = &["projection", "kB", "dropped"];

    fn cells(&self) -> Vec<String> {
        let dropped = if self.dropped { "yes" } else { "no" };
        vec![self.projection.to_owned(), (self.bytes / 1_024).to_string(), dropped.to_owned()]
    }
}

pub(super) async fn drop_old(global: &GlobalArgs, args: &ProjectionDropOldArgs) -> anyhow::Result<Code> {
    let mut tables = Vec::new();
    for (named, database) in open(global, &args.database, named(&args.names)).await? {
        let state = states(&database, &[named.model.table()]).await.map_err(|error| failed(&named, error))?;
        match state.into_iter().next().and_then(|state| state.old_bytes) {
            Some(bytes) => {
                let dropped = Dropped { projection: named.name(), bytes, dropped: false };
                tables.push((named, database, dropped));
            }
            None => eprintln!("{}: no table of before is kept.", named.name()),
        }
    }
    let names = tables.iter().map(|(named, ..)| named.name()).collect::<Vec<_>>().join(", ");
    if !tables.is_empty() && agreed(args.yes, args.dry_run, &format!("Drop what {names} had before?"))? {
        for (named, database, dropped) in &mut tables {
            let done = drop_old_table(database, named.model.table()).await;
            dropped.dropped = done.map_err(|error| failed(named, error))?;
        }
    }
    output::rows(global.output, &tables.into_iter().map(|(.., dropped)| dropped).collect::<Vec<_>>())?;
    Ok(Code::Done)
}

fn agreed(yes: bool, dry_run: bool, question: &str) -> anyhow::Result<bool> {
    ActArgs { yes, dry_run, ..ActArgs::default() }.agreed(question)
}
