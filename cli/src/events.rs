//! `sagashop events`: what stands in the services' event stores, found, counted, followed, and taken elsewhere.
//!
//! A store that is looked into is read by its own connection, which could not write. One store has a commit order;
//! several have none in common, and are merged by the times at which their databases recorded the events.

mod cloud;
mod copy;
mod export;
pub(crate) mod filter;
mod import;
pub(crate) mod kinds;
mod line;
mod list;
mod names;
pub mod predicate;
mod rows;
pub(crate) mod store;
mod tail;

pub(crate) use cloud::recorded_line;
pub(crate) use line::masked;

use crate::args::{By, EventsCommand, EventsCountArgs, EventsListArgs, EventsShowArgs, EventsTailArgs, GlobalArgs};
use crate::exit::{Code, Failure};
use crate::output::{self, Row};
use event_store::clock;
use filter::Filter;
use line::Line;
use list::{End, Found};
use serde::Serialize;
use std::collections::BTreeMap;
use store::Store;

/// Runs one of the commands.
///
/// # Errors
/// When a store cannot be read or written, or something unknown was asked for.
pub async fn run(global: &GlobalArgs, command: &EventsCommand) -> anyhow::Result<Code> {
    match command {
        EventsCommand::List(args) => list(global, args).await,
        EventsCommand::Show(args) => show(global, args).await,
        EventsCommand::Tail(args) => tail(global, args).await,
        EventsCommand::Count(args) => count(global, args).await,
        EventsCommand::Export(args) => export::export(global, args).await,
        EventsCommand::Import(args) => import::import(global, args).await,
        EventsCommand::Copy(args) => copy::copy(global, args).await,
    }
}

async fn list(global: &GlobalArgs, args: &EventsListArgs) -> anyhow::Result<Code> {
    let filter = Filter::new(&args.filter, &args.stores, clock::system().now())?;
    let mut stores = store::open(global, &args.stores).await?;
    let end = if args.earliest { End::Earliest } else { End::Latest };
    let found = list::find(&mut stores, &filter, end, args.limit).await?;
    store::close(stores).await;
    output::rows(global.output, &found.iter().map(Line::of).collect::<Vec<_>>())?;
    if found.len() == args.limit as usize {
        eprintln!("There may be more: --limit shows more of them.");
    }
    Ok(Code::Done)
}

async fn show(global: &GlobalArgs, args: &EventsShowArgs) -> anyhow::Result<Code> {
    let which = list::Which::parse(&args.event, &args.stores)?;
    let mut stores = store::open(global, &args.stores).await?;
    let mut found = Vec::new();
    for store in &mut stores {
        found.extend(list::one(store, &which).await?);
    }
    store::close(stores).await;
    let Some(found) = found.first() else {
        return Err(Failure::new(Code::Failed, format!("there is no event {}", args.event)).into());
    };
    let line = Line::of(found);
    if global.output == output::Format::Table {
        output::one(global.output, &line.whole())?;
        output::text(&format!("\n{}", serde_json::to_string_pretty(&line.payload)?))?;
    } else {
        output::one(global.output, &line)?;
    }
    Ok(Code::Done)
}

async fn tail(global: &GlobalArgs, args: &EventsTailArgs) -> anyhow::Result<Code> {
    let filter = Filter::new(&args.filter, &args.stores, clock::system().now())?;
    let mut stores = store::open(global, &args.stores).await?;
    if !args.follow {
        let found = list::find(&mut stores, &filter, End::Latest, args.lines).await?;
        store::close(stores).await;
        output::rows(global.output, &found.iter().map(Line::of).collect::<Vec<_>>())?;
        return Ok(Code::Done);
    }
    tail::follow(stores, filter, args.lines, global.output).await
}

/// So many events have this in common.
#[derive(Serialize)]
struct Counted {
    /// What.
    name: String,
    events: i64,
}

impl Row for Counted {
    const COLUMNS: &'static [&'static str] = &["", "events"];

    fn cells(&self) -> Vec<String> {
        vec![self.name.clone(), self.events.to_string()]
    }
}

async fn count(global: &GlobalArgs, args: &EventsCountArgs) -> anyhow::Result<Code> {
    let filter = Filter::new(&args.filter, &args.stores, clock::system().now())?;
    let mut stores = store::open(global, &args.stores).await?;
    let mut counted: BTreeMap<String, i64> = BTreeMap::new();
    for store in &mut stores {
        for (name, events) in list::count(store, &filter, args.by).await? {
            *counted.entry(name).or_default() += events;
        }
    }
    store::close(stores).await;
    let mut lines: Vec<Counted> = counted.into_iter().map(|(name, events)| Counted { name, events }).collect();
    // Times stay in their order; of all else there is most to see at the top.
    if !matches!(args.by, Some(By::Hour | By::Day)) {
        lines.sort_by_key(|line| std::cmp::Reverse(line.events));
    }
    match args.by {
        Some(_) => output::rows(global.output, &lines)?,
        None => output::one(global.output, &Total { events: lines.iter().map(|line| line.events).sum() })?,
    }
    Ok(Code::Done)
}

/// All of them.
#[derive(Serialize)]
struct Total {
    events: i64,
}

impl Row for Total {
    const COLUMNS: &'static [&'static str] = &["events"];

    fn cells(&self) -> Vec<String> {
        vec![self.events.to_string()]
    }
}

/// Merges what several stores have, by the time at which it was recorded; what one store has stays in its order.
pub(crate) fn merge(of_stores: Vec<Vec<Found>>) -> Vec<Found> {
    let mut queues: Vec<_> = of_stores.into_iter().map(|events| events.into_iter().peekable()).collect();
    let mut merged = Vec::new();
    loop {
        let heads = queues.iter_mut().enumerate();
        let heads = heads.filter_map(|(n, queue)| queue.peek().map(|found| (found.event.recorded_at, n)));
        let Some((_, n)) = heads.min() else { return merged };
        merged.extend(queues[n].next());
    }
}

pub(crate) use list::Found as StoredEvent;

/// That something of this name is not known, and what was perhaps meant.
pub(crate) fn unknown<'a>(what: &str, name: &str, known: impl Iterator<Item = &'a str>) -> anyhow::Error {
    let meant = crate::config::nearest(name, known);
    let meant = meant.map(|meant| format!(": did you mean {meant}?")).unwrap_or_default();
    Failure::new(Code::Usage, format!("there is no {what} {name}{meant}")).into()
}

/// The store of this role among some.
pub(crate) fn of_role(stores: &mut [Store], role: crate::ports::Role) -> Option<&mut Store> {
    stores.iter_mut().find(|store| store.role == role)
}
