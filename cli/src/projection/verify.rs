use super::shown::shown;
use super::{Named, failed, named, open, stopped_by_signal};
use crate::args::{GlobalArgs, ProjectionVerifyArgs};
use crate::exit::Code;
use crate::output::{self, Format, Row};
use runtime::projection::Progress;
use runtime::projection::verify::{Difference, Options, Place, Verified, compare};
use serde::Serialize;
use std::sync::Arc;

/// A cell that is longer is cut in a table.
const CELL_CHARS_MAX: usize = 60;

/// What was found of one read model.
#[derive(Debug, Serialize)]
struct Verdict {
    projection: &'static str,
    ok: bool,
    rows: u64,
    events: u64,
    different_rows: u64,
    seconds: f64,
    rows_per_s: f64,
    /// Of all rows, whatever their order.
    checksum_events: String,
    checksum_table: String,
    differences: Vec<Line>,
}

impl Row for Verdict {
    const COLUMNS: &'static [&'static str] =
        &["projection", "rows", "events", "seconds", "rows/s", "checksum", "different rows"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.projection.to_owned(),
            self.rows.to_string(),
            self.events.to_string(),
            format!("{:.2}", self.seconds),
            format!("{:.0}", self.rows_per_s),
            self.checksum_table.clone(),
            self.different_rows.to_string(),
        ]
    }
}

impl Verdict {
    fn of(named: &Named, verified: &Verified) -> Self {
        let seconds = verified.took.as_secs_f64();
        Self {
            projection: named.name(),
            ok: verified.found == 0,
            rows: verified.rows,
            events: verified.events,
            different_rows: verified.found,
            seconds,
            rows_per_s: verified.rows as f64 / seconds.max(f64::EPSILON),
            checksum_events: checksum(verified.checksum_fold),
            checksum_table: checksum(verified.checksum_table),
            differences: lines(named, verified),
        }
    }
}

/// A difference.
#[derive(Clone, Debug, Serialize)]
struct Line {
    projection: &'static str,
    key: String,
    /// None: the whole row.
    column: Option<&'static str>,
    /// What the table has; none: no row.
    table: Option<String>,
    /// What the events say; none: no row.
    events: Option<String>,
}

impl Row for Line {
    const COLUMNS: &'static [&'static str] = &["projection", "key", "column", "the table has", "the events say"];

    fn cells(&self) -> Vec<String> {
        let told = |value: &Option<String>| value.as_deref().map_or("no row".to_owned(), cut);
        vec![
            self.projection.to_owned(),
            self.key.clone(),
            self.column.unwrap_or("(the row)").to_owned(),
            told(&self.table),
            told(&self.events),
        ]
    }
}

fn cut(text: &str) -> String {
    if text.chars().count() <= CELL_CHARS_MAX {
        return text.to_owned();
    }
    text.chars().take(CELL_CHARS_MAX).chain(['…']).collect()
}

/// A checksum as it is shown.
pub(super) fn checksum(sum: u64) -> String {
    format!("{sum:016x}")
}

fn lines(named: &Named, verified: &Verified) -> Vec<Line> {
    let line = |difference: &Difference| {
        let Difference { key, column, table, events } = difference.clone();
        Line { projection: named.name(), key, column, table, events }
    };
    verified.differences.iter().map(line).collect()
}

/// What keeps a new table from serving, on stderr: nothing was made.
pub(super) fn print_differences(named: &Named, verified: &Verified) {
    for line in lines(named, verified) {
        eprintln!("{}", line.cells().join("  "));
    }
}

pub(super) async fn verify(global: &GlobalArgs, args: &ProjectionVerifyArgs) -> anyhow::Result<Code> {
    let (stop, listening) = stopped_by_signal();
    let options = Options {
        parallel: usize::from(args.parallel),
        sample: args.sample,
        told_max: args.limit as usize,
        ..Options::default()
    };
    let mut verdicts = Vec::new();
    for (named, database) in open(global, &args.database, named(&args.names)).await? {
        let progress = Arc::<Progress>::default();
        let work = compare(&database, &named.model, Place::Serving, &options, &progress, &stop);
        match shown(named.name(), &progress, work).await.map_err(|error| failed(&named, error))? {
            Some(verified) => verdicts.push(Verdict::of(&named, &verified)),
            None => return Ok(Code::Interrupted),
        }
    }
    listening.abort();
    output::rows(global.output, &verdicts)?;
    let differences: Vec<Line> = verdicts.iter().flat_map(|verdict| verdict.differences.clone()).collect();
    if global.output == Format::Table && !differences.is_empty() {
        output::text("")?;
        output::rows(global.output, &differences)?;
    }
    Ok(if verdicts.iter().all(|verdict| verdict.ok) { Code::Done } else { Code::Violated })
}
