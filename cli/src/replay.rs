//! `sagashop replay`: history read again, for a consumer that is new or through another decider. It has no effect on
//! anything that is: see [`kernel::Live`].

mod asked;
pub mod history;
mod nothing;
mod publish;
#[cfg(test)]
mod tests;
mod told;
pub mod what_if;

use crate::args::{GlobalArgs, ReplayArgs};
use crate::audit::recorded;
use crate::events::store::{self, COLUMNS, Store, failed};
use crate::exit::{Code, Failure};
use crate::mend::plural;
use crate::output::{self, Row};
use crate::ports::Role;
use crate::progress::Progress;
use event_store::RecordedEvent;
use futures::TryStreamExt;
use orchestrator::saga::order_fulfilment::Definition;
use serde_json::Value;
use what_if::{Difference, Outcome, Would};

/// So many of what was left out are named.
const LEFT_OUT_MAX: usize = 10;

/// Runs it.
///
/// # Errors
/// What was asked for is not to be had, a store or file cannot be read, or the broker is away.
pub async fn replay(global: &GlobalArgs, args: &ReplayArgs) -> anyhow::Result<Code> {
    match args.to {
        Some(to) => publish::publish(global, args, to).await,
        None => what_if(global, args).await,
    }
}

impl Row for Difference {
    const COLUMNS: &'static [&'static str] = &["stream", "#", "asked", "happened", "would"];

    fn cells(&self) -> Vec<String> {
        let would = match &self.would {
            Would::Record(events) => names(events),
            Would::Nothing => "nothing".to_owned(),
            Would::Refuse(why) => format!("refuse: {why}"),
        };
        let (happened, would) = match &self.would {
            // The same events, and something in them is otherwise.
            Would::Record(events) if !events.is_empty() && names(events) == names(&self.happened) => {
                differing(&self.happened, events)
            }
            _ if self.happened.is_empty() => ("nothing".to_owned(), would),
            _ => (names(&self.happened), would),
        };
        vec![self.stream.clone(), self.sequence.to_string(), self.command.clone(), happened, would]
    }
}

fn names(events: &[Value]) -> String {
    let name = |event: &Value| event.as_object().and_then(|tagged| tagged.keys().next().cloned()).unwrap_or_default();
    events.iter().map(name).collect::<Vec<_>>().join(", ")
}

/// Where events of the same names differ.
fn differing(happened: &[Value], would: &[Value]) -> (String, String) {
    let changes = crate::stream::changes(&Value::from(happened.to_vec()), &Value::from(would.to_vec()));
    let side = |value: &Option<Value>| value.as_ref().map_or("nothing".to_owned(), Value::to_string);
    let before = changes.iter().map(|change| format!("{} {}", change.path, side(&change.before))).collect::<Vec<_>>();
    let after = changes.iter().map(|change| format!("{} {}", change.path, side(&change.after))).collect::<Vec<_>>();
    (before.join("\n"), after.join("\n"))
}

async fn what_if(global: &GlobalArgs, args: &ReplayArgs) -> anyhow::Result<Code> {
    if let Some(version) = args.definition
        && Definition::of_version(version).is_none()
    {
        let known: Vec<String> = Definition::all().iter().map(|definition| definition.version.to_string()).collect();
        let message = format!("there is no definition {version} of the saga: there is {}", known.join(", "));
        return Err(Failure::new(Code::Usage, message).into());
    }
    let outcome = if args.history.is_empty() { of_stores(global, args).await? } else { of_files(args)? };
    output::rows(global.output, &outcome.differences)?;
    tell(&outcome);
    if outcome.decisions == 0 {
        return Err(Failure::new(Code::Unchecked, "there was no decision to make again").into());
    }
    Ok(match (outcome.difference_count, outcome.left_out_count) {
        (0, 0) => Code::Done,
        // What was not looked at may differ.
        (0, _) => Code::Unchecked,
        _ => Code::Violated,
    })
}

fn tell(outcome: &Outcome) {
    for (what, why) in outcome.left_out.iter().take(LEFT_OUT_MAX) {
        eprintln!("left out: {what}: {why}");
    }
    if outcome.left_out_count > LEFT_OUT_MAX {
        eprintln!("left out: {} more", outcome.left_out_count - LEFT_OUT_MAX);
    }
    let Outcome { streams, decisions, of_nothing, unproven, differences, difference_count, .. } = outcome;
    eprintln!("Made {decisions} decisions of {streams} streams again: {difference_count} would be others.");
    if *of_nothing > 0 {
        eprintln!("{of_nothing} of them had led to nothing.");
    }
    if *unproven > 0 {
        let messages = plural(*unproven, "message has", "messages have");
        eprintln!("{messages} led to nothing so far, and may not have been handled yet: nobody was asked again.");
    }
    if *difference_count > differences.len() {
        eprintln!("The first {} of them are shown.", differences.len());
    }
}

fn of_files(args: &ReplayArgs) -> anyhow::Result<Outcome> {
    let mut outcome = Outcome::default();
    for path in &args.history {
        for file in history::files(path)? {
            let mut streams = history::read(&file)?;
            streams.retain(|(kind, _), _| is_wanted(kind, &args.service));
            outcome.add(history::of_streams(&streams, args.definition));
        }
    }
    Ok(outcome)
}

fn is_wanted(kind: &str, services: &[Role]) -> bool {
    services.is_empty() || crate::events::kinds::Kind::named(kind).is_some_and(|kind| services.contains(&kind.role))
}

async fn of_stores(global: &GlobalArgs, args: &ReplayArgs) -> anyhow::Result<Outcome> {
    let roles: Vec<Role> = history::KINDS
        .iter()
        .filter_map(|kind| crate::events::kinds::Kind::named(kind))
        .map(|kind| kind.role)
        .filter(|role| args.service.is_empty() || args.service.contains(role))
        .collect::<std::collections::BTreeSet<_>>()
        .into_iter()
        .collect();
    if roles.is_empty() {
        let message =
            "the decisions of these services are not made again: there are order, product, payment, orchestrator";
        return Err(Failure::new(Code::Usage, message).into());
    }
    let mut outcome = Outcome::default();
    let progress = Progress::new("Replaying", "decisions", None);
    let mut stores = store::open_roles(global, &args.database, &roles).await?;
    for store in &mut stores {
        for kind in history::KINDS {
            let role = crate::events::kinds::Kind::named(kind).map(|kind| kind.role);
            if role == Some(store.role) {
                of_kind(store, kind, args.definition, &mut outcome, &progress).await?;
            }
        }
    }
    if told::ROLES.iter().all(|role| roles.contains(role)) {
        told::of_stores(&mut stores, args.definition, &mut outcome, &progress).await?;
    } else {
        eprintln!("Messages that led to nothing are looked at when all services are: leave --service out.");
    }
    store::close(stores).await;
    progress.finish();
    Ok(outcome)
}

/// Replays all streams of a kind, one after the other: one is held at a time.
async fn of_kind(
    store: &mut Store,
    kind: &'static str,
    definition: Option<u32>,
    outcome: &mut Outcome,
    progress: &Progress,
) -> anyhow::Result<()> {
    let role = store.role;
    let query = format!(
        "SELECT {COLUMNS} FROM events AS e WHERE e.aggregate_type = $1
          ORDER BY e.aggregate_type, e.aggregate_id, e.sequence"
    );
    let mut rows = sqlx::query(&query).bind(kind).fetch(&mut store.connection);
    let mut stream: Vec<RecordedEvent> = Vec::new();
    while let Some(row) = rows.try_next().await.map_err(|error| failed(role, error))? {
        let event = recorded(&row)?;
        if stream.first().is_some_and(|first| first.aggregate_id != event.aggregate_id) {
            outcome.add(history::replay(kind, &stream, definition).unwrap_or_default());
            progress.at(outcome.decisions as u64);
            stream.clear();
        }
        stream.push(event);
    }
    outcome.add(history::replay(kind, &stream, definition).unwrap_or_default());
    Ok(())
}
