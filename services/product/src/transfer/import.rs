//! A file of products comes in: good lines take effect, of bad ones it is told what is wrong.

use std::collections::HashMap;

use domain::product::Product;
use futures::{StreamExt, stream};
use kernel::Currency;
use poem_openapi::Object;
use poem_openapi::types::Example;
use runtime::Origin;
use uuid::Uuid;
use web::{Problem, Ticket};

use super::Format;
use super::lines::{self, Fault};
use super::wish::{Act, Wish};
use crate::commands::Commands;

/// A file has at most so many lines.
pub(crate) const LINES_MAX: usize = 20_000;
/// So many faults are told; all are counted.
const FAULTS_MAX: usize = 1_000;
/// Lines that take effect at once. Few: the catalogue is not to fill the shop's connections.
const AT_ONCE: usize = 4;

/// What became of a file.
#[derive(Debug, Clone, Default, Object)]
#[oai(rename = "Imported", example)]
pub(crate) struct Report {
    /// Whether it was only tried, and nothing has changed.
    pub dry_run: bool,
    /// How many lines there were, without the header and empty ones.
    pub lines: usize,
    /// Products that are new.
    pub created: usize,
    /// Products that are different now.
    pub updated: usize,
    /// Products that were so already.
    pub unchanged: usize,
    /// Lines that had no effect because something is wrong with them.
    pub failed: usize,
    /// What is wrong, line by line; of very many faults the first thousand.
    pub errors: Vec<LineFault>,
}

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq, Object)]
pub(crate) struct LineFault {
    /// The line, from 1, as an editor counts; a CSV file's header is the first.
    pub line: u64,
    /// The field that is wrong, if it is one's fault.
    pub field: Option<String>,
    /// What is wrong with it.
    pub reason: String,
}

impl From<Fault> for LineFault {
    fn from(Fault { line, field, reason }: Fault) -> Self {
        Self { line, field, reason }
    }
}

impl Example for Report {
    fn example() -> Self {
        let fault = Fault::new(4, Some("price"), "a price is more than 0 and at most 99999999.99 EUR, not 0.00");
        Self { lines: 3, created: 1, unchanged: 1, failed: 1, errors: vec![fault.into()], ..Self::default() }
    }
}

/// What came of one line.
enum Outcome {
    Created,
    Updated,
    Unchanged,
    Failed(Vec<Fault>),
}

/// How a file is taken in.
#[derive(Clone, Copy)]
pub(crate) struct Import<'a> {
    pub commands: &'a Commands,
    pub origin: &'a Origin,
    pub currency: Currency,
    /// The request's: what it makes without a number of its own gets the same id when the request comes again.
    pub ticket: &'a Ticket,
    /// Whether it is only tried.
    pub dry_run: bool,
}

impl Import<'_> {
    /// Takes a file in, or only tries to.
    ///
    /// # Errors
    /// The file as a whole cannot be read, or the store is away: then some lines may have taken effect.
    pub async fn run(self, format: Format, file: &str) -> Result<Report, Problem> {
        let lines = lines::read(format, file).map_err(of_file)?;
        if lines.len() > LINES_MAX {
            return Err(Problem::unprocessable(format!(
                "A file has at most {LINES_MAX} lines, this one {}",
                lines.len()
            )));
        }
        let mut first = HashMap::new();
        let wishes = lines.into_iter().map(|line| {
            let wish = Wish::of(&line?, self.currency)?;
            match once(&mut first, &wish) {
                Some(line) => Err(vec![wish.fault("id", format!("line {line} is about the same product"))]),
                None => Ok(wish),
            }
        });
        // Judged before anything takes effect: what is asked of one product twice is told of both lines in any order.
        let wishes: Vec<Result<Wish, Vec<Fault>>> = wishes.collect();
        let outcomes = stream::iter(wishes).map(|wish| async {
            match wish {
                Ok(wish) => self.carry_out(wish).await,
                Err(faults) => Ok(Outcome::Failed(faults)),
            }
        });
        let mut outcomes = std::pin::pin!(outcomes.buffered(AT_ONCE));
        let mut report = Report { dry_run: self.dry_run, ..Report::default() };
        while let Some(outcome) = outcomes.next().await {
            report.count(outcome?);
        }
        Ok(report)
    }

    async fn carry_out(self, wish: Wish) -> Result<Outcome, Problem> {
        let Self { commands, origin, ticket, dry_run, .. } = self;
        // A line without id or SKU makes a product, and the same one when the request comes again.
        let made = if wish.id.is_none() { ticket.id(wish.line) } else { None };
        let act = match wish.id.or(made) {
            Some(id) => {
                let (product, stock) = commands.load(id).await?;
                if made.is_some() && product != Product::Unknown {
                    return Ok(Outcome::Created);
                }
                wish.act(&product, &stock)
            }
            None => wish.creation().map(Act::Create),
        };
        let id = wish.id.or(made).unwrap_or_else(|| commands.new_id());
        let done = match act {
            Err(fault) => return Ok(Outcome::Failed(vec![fault])),
            Ok(Act::Nothing) => return Ok(Outcome::Unchanged),
            Ok(Act::Create(_)) if dry_run => return Ok(Outcome::Created),
            Ok(Act::Update(_)) if dry_run => return Ok(Outcome::Updated),
            Ok(Act::Create(new)) => commands.enter(origin, id, new).await.map(|_| Outcome::Created),
            Ok(Act::Update(changes)) => commands.revise(origin, id, changes).await.map(|after| match after.changed() {
                true => Outcome::Updated,
                false => Outcome::Unchanged,
            }),
        };
        match done {
            // Somebody changed the product between our look and our command.
            Err(problem) if problem.status_code().is_client_error() => {
                Ok(Outcome::Failed(vec![Fault::new(wish.line, None, problem.detail())]))
            }
            done => done,
        }
    }
}

/// The line that is about the same product already, if there is one.
fn once(first: &mut HashMap<Uuid, u64>, wish: &Wish) -> Option<u64> {
    let earlier = *first.entry(wish.id?).or_insert(wish.line);
    (earlier != wish.line).then_some(earlier)
}

impl Report {
    fn count(&mut self, outcome: Outcome) {
        self.lines += 1;
        match outcome {
            Outcome::Created => self.created += 1,
            Outcome::Updated => self.updated += 1,
            Outcome::Unchanged => self.unchanged += 1,
            Outcome::Failed(faults) => {
                self.failed += 1;
                let room = FAULTS_MAX - self.errors.len();
                self.errors.extend(faults.into_iter().take(room).map(LineFault::from));
            }
        }
    }
}

fn of_file(Fault { field, reason, .. }: Fault) -> Problem {
    match field {
        Some(field) => {
            Problem::bad_request(format!("The header cannot be used: {field} {reason}")).field(field, reason)
        }
        None => Problem::bad_request(format!("The file cannot be read: {reason}")),
    }
}
