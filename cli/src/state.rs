//! `sagashop state`: the shop as of any moment, from its services' events.
//!
//! Each stream is folded by its own aggregate up to the moment, by the times at which the services' databases recorded
//! the events. One pass serves all moments that are asked for, and holds one aggregate at a time.

mod figures;
mod walk;

pub(crate) use figures::{Figure, Figures};

use crate::args::{GlobalArgs, StateArgs};
use crate::events::store::{self, Store};
use crate::exit::{Code, Failure};
use crate::output::{self, Format, Row};
use crate::ports::Role;
use chrono::{DateTime, SecondsFormat, Utc};
use event_store::clock;
use figures::Difference;
use serde_json::json;

/// Whose events tell it.
const ROLES: [Role; 3] = [Role::Order, Role::Product, Role::Payment];

/// Shows the shop at a moment, or what changed between two.
///
/// # Errors
/// When a store cannot be read, or an event in it.
pub async fn state(global: &GlobalArgs, args: &StateArgs) -> anyhow::Result<Code> {
    let now = clock::system().now();
    let times: Vec<DateTime<Utc>> = match (args.at, args.diff.as_slice()) {
        (Some(at), _) => vec![at.resolve(now)],
        (None, [from, to]) => vec![from.resolve(now), to.resolve(now)],
        _ => vec![now],
    };
    if !times.is_sorted() {
        return Err(Failure::new(Code::Usage, "the first time of --diff comes before the second").into());
    }
    let stores = store::open_roles(global, &args.database, &ROLES).await?;
    let figures = at(stores, &times).await?;
    match (figures.as_slice(), times.as_slice()) {
        ([before, after], [from, to]) => print_difference(global.output, &before.compared(after), *from, *to)?,
        ([figures, ..], [at, ..]) => print(global.output, &figures.lines(), *at)?,
        _ => {}
    }
    Ok(Code::Done)
}

/// The shop at each of these moments, which rise.
///
/// # Errors
/// When a store cannot be read, or an event in it.
pub(crate) async fn at(stores: Vec<Store>, times: &[DateTime<Utc>]) -> anyhow::Result<Vec<Figures>> {
    let walks = stores.into_iter().map(|mut store| async move {
        let figures = walk::store(&mut store, times).await?;
        store::close(vec![store]).await;
        anyhow::Ok(figures)
    });
    let mut all = vec![Figures::new(); times.len()];
    for figures in futures::future::try_join_all(walks).await? {
        for (all, figures) in all.iter_mut().zip(figures) {
            all.add(figures);
        }
    }
    Ok(all)
}

fn print(format: Format, figures: &[Figure], at: DateTime<Utc>) -> anyhow::Result<()> {
    if format == Format::Json {
        return Ok(output::text(&serde_json::to_string_pretty(&json!({ "at": time(at), "figures": figures }))?)?);
    }
    output::rows(format, figures)?;
    eprintln!("As of {}.", time(at));
    Ok(())
}

fn print_difference(
    format: Format,
    differences: &[Difference],
    from: DateTime<Utc>,
    to: DateTime<Utc>,
) -> anyhow::Result<()> {
    if format == Format::Json {
        let told = json!({ "from": time(from), "to": time(to), "figures": differences });
        return Ok(output::text(&serde_json::to_string_pretty(&told)?)?);
    }
    output::rows(format, differences)?;
    eprintln!("From {} to {}.", time(from), time(to));
    Ok(())
}

fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

impl Row for Figure {
    const COLUMNS: &'static [&'static str] = &["of", "what", "how many"];

    fn cells(&self) -> Vec<String> {
        vec![self.of.to_owned(), self.what.to_owned(), self.amount.to_string()]
    }
}

impl Row for Difference {
    const COLUMNS: &'static [&'static str] = &["of", "what", "before", "after", "change"];

    fn cells(&self) -> Vec<String> {
        let (of, what) = (self.of.to_owned(), self.what.to_owned());
        vec![of, what, self.before.to_string(), self.after.to_string(), self.change.to_string()]
    }
}
