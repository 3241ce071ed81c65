//! Mending sagas, alone or many at once: what is touched is shown first.

use super::{Line, filter};
use crate::args::{GlobalArgs, SagaActArgs};
use crate::exit::{Code, Failure};
use crate::mend::{Store, attach, plural};
use crate::output::{self, Row};
use crate::ports::Role;
use event_store::clock;
use orchestrator::inspect::{self, Saga};
use orchestrator::operate::{self, Act};
use runtime::Commands;
use serde::Serialize;
use uuid::Uuid;

pub(super) async fn act(global: &GlobalArgs, args: &SagaActArgs, act: Act) -> anyhow::Result<Code> {
    let reason = args.act.reason_needed(name(act))?;
    let server = attach(global, &args.database).await?;
    let store = Store::open(&server, Role::Orchestrator);
    let orders = (!args.ids.is_empty()).then(|| args.ids.clone());
    let wanted = inspect::Filter { orders, ..filter(&args.filter) };
    // One more tells whether these are all.
    let limit = usize::try_from(args.limit).unwrap_or(usize::MAX);
    let found = inspect::search(&store.pool, &wanted, i64::from(args.limit) + 1).await;
    let mut sagas = found.map_err(|error| store.away(&error))?;
    if sagas.len() > limit {
        sagas.truncate(limit);
        eprintln!("warning: more than {limit} sagas are meant: these are the newest of them, see --limit");
    }
    if let Some(missing) = missing(&args.ids, &sagas) {
        return Err(Failure::new(Code::Failed, format!("no such saga is meant: {missing}")).into());
    }
    if args.act.dry_run || !args.act.yes {
        output::rows(global.output, &sagas.iter().map(Line::of).collect::<Vec<_>>())?;
    }
    let question = format!("{} {}?", capitalised(name(act)), plural(sagas.len(), "saga", "sagas"));
    if sagas.is_empty() || !args.act.agreed(&question)? {
        return Ok(Code::Done);
    }
    let commands = Commands::new(store.events(), clock::system());
    let actor = args.act.actor();
    let mut done = Vec::new();
    for saga in &sagas {
        done.push(match operate::act(&commands, saga.order_id, act, &actor, &reason).await {
            Ok(state) => Done { order_id: saga.order_id, done: true, state: state.to_owned(), refused: None },
            Err(runtime::commands::Error::NotRecorded(error)) => return Err(store.away(&error)),
            Err(error) => {
                let refused = Some(error.to_string());
                Done { order_id: saga.order_id, done: false, state: saga.state.clone(), refused }
            }
        });
    }
    output::rows(global.output, &done)?;
    Ok(if done.iter().all(|done| done.done) { Code::Done } else { Code::Failed })
}

/// A saga that was named and is not meant by the rest of what was said.
fn missing(ids: &[Uuid], sagas: &[Saga]) -> Option<Uuid> {
    ids.iter().copied().find(|id| sagas.iter().all(|saga| saga.order_id != *id))
}

fn name(act: Act) -> &'static str {
    match act {
        Act::Retry => "retry",
        Act::Skip => "skip",
        Act::Cancel => "cancel",
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
