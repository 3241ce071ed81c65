//! Mending sagas, alone or many at once: what is touched is shown first.

use super::list::Line;
use super::{filter, store};
use crate::args::{GlobalArgs, SagaActArgs};
use crate::exit::{Code, Failure};
use crate::mend::plural;
use crate::output::{self, Row};
use event_store::clock;
use orchestrator::inspect::{self, Found};
use orchestrator::operate::{self, Act};
use runtime::{Commands, Origin};
use serde::Serialize;
use std::collections::HashSet;
use uuid::Uuid;

pub(super) async fn act(global: &GlobalArgs, args: &SagaActArgs, act: Act) -> anyhow::Result<Code> {
    let reason = args.act.reason_needed(name(act))?;
    let store = store(global, &args.database).await?;
    let orders = (!args.ids.is_empty()).then(|| args.ids.clone());
    let wanted = inspect::Filter { orders, ..filter(&args.filter) };
    // One more tells whether these are all.
    let limit = usize::try_from(args.limit)?;
    let found = inspect::search(&store.pool, &wanted, limit + 1).await;
    let mut sagas = found.map_err(|error| store.failed(error))?;
    if sagas.len() > limit {
        sagas.truncate(limit);
        eprintln!("warning: more than {limit} sagas are meant: these are the newest of them, see --limit");
    }
    if let Some(missing) = missing(&args.ids, &sagas) {
        return Err(Failure::new(Code::Failed, format!("no such saga is meant: {missing}")).into());
    }
    if sagas.is_empty() {
        eprintln!("No saga is meant.");
        return Ok(Code::Done);
    }
    if args.act.dry_run || !args.act.yes {
        output::rows(global.output, &sagas.iter().map(Line::of).collect::<Vec<_>>())?;
    }
    if !args.act.agreed(&question(act, sagas.len()))? {
        return Ok(Code::Done);
    }
    let commands = Commands::new(store.events(), clock::system());
    let actor = args.act.actor();
    let mut done = Vec::new();
    for Found { saga, .. } in &sagas {
        let origin = Origin::request(commands.clock().new_id(), commands.clock().new_id(), actor.clone());
        let acted = operate::act(&commands, saga.order_id, act, Some(reason.clone()), &origin, |_| None).await;
        done.push(match acted {
            Ok(executed) => {
                let state = executed.state.state().as_str().to_owned();
                Done { order_id: saga.order_id, done: true, state, refused: None }
            }
            Err(runtime::commands::Error::NotRecorded(error)) => {
                // What was done until then is told: it is done.
                output::rows(global.output, &done)?;
                return Err(store.away(&error));
            }
            Err(error) => {
                let refused = Some(error.to_string());
                Done { order_id: saga.order_id, done: false, state: saga.state.clone(), refused }
            }
        });
    }
    output::rows(global.output, &done)?;
    Ok(if done.iter().all(|done| done.done) { Code::Done } else { Code::Failed })
}

fn question(act: Act, count: usize) -> String {
    let sagas = plural(count, "saga", "sagas");
    match act {
        Act::RestartFrom(step) => format!("Restart {sagas} from {step}?"),
        _ => format!("{} {sagas}?", capitalised(name(act))),
    }
}

/// A saga that was named and is not meant by the rest of what was said.
fn missing(ids: &[Uuid], sagas: &[Found]) -> Option<Uuid> {
    let meant: HashSet<Uuid> = sagas.iter().map(|found| found.saga.order_id).collect();
    ids.iter().copied().find(|id| !meant.contains(id))
}

fn name(act: Act) -> &'static str {
    match act {
        Act::Retry => "retry",
        Act::Skip => "skip",
        Act::Cancel => "cancel",
        Act::Pause => "pause",
        Act::Resume => "resume",
        Act::RestartFrom(_) => "restart-from",
    }
}

fn capitalised(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// What came of it for one saga.
#[derive(Serialize)]
struct Done {
    order_id: Uuid,
    done: bool,
    state: String,
    refused: Option<String>,
}

impl Row for Done {
    const COLUMNS: &'static [&'static str] = &["order", "done", "state", "why not"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.order_id.to_string(),
            if self.done { "yes" } else { "no" }.to_owned(),
            self.state.clone(),
            self.refused.clone().unwrap_or_default(),
        ]
    }
}
