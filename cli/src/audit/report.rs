//! What an audit found.

use crate::exit::Code;
use crate::output::{self, Format, Row};
use serde::Serialize;
use std::io;

/// So many of those that violate a check are named; the count has them all.
const IDS_MAX: usize = 20;

/// What is to be said of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// All of it was checked, and it holds.
    Holds,
    /// It does not hold.
    Violated,
    /// Not all of it could be checked; nothing that was checked violates it.
    Unchecked,
}

impl Verdict {
    fn as_str(self) -> &'static str {
        match self {
            Self::Holds => "holds",
            Self::Violated => "VIOLATED",
            Self::Unchecked => "could not check",
        }
    }
}

/// One promise, checked.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    /// Which.
    pub name: &'static str,
    /// What is to be said of it.
    pub verdict: Verdict,
    /// How many things were looked at.
    pub checked: u64,
    /// How many of them violate it.
    pub violated: u64,
    /// The first of those that violate it, and how; at most 20.
    pub ids: Vec<String>,
    /// What else is worth knowing: what could not be checked, and why; what is on its way.
    pub note: String,
}

/// Everything that was checked.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Whether all of it was checked and all of it holds.
    pub ok: bool,
    /// The checks, always the same ones in the same order.
    pub checks: Vec<Check>,
}

impl Report {
    pub(super) fn new(checks: Vec<Check>) -> Self {
        Self { ok: checks.iter().all(|check| check.verdict == Verdict::Holds), checks }
    }

    /// The exit code: a violation outweighs what could not be checked.
    pub fn code(&self) -> Code {
        let any = |verdict| self.checks.iter().any(|check| check.verdict == verdict);
        match () {
            () if any(Verdict::Violated) => Code::Violated,
            () if any(Verdict::Unchecked) => Code::Unchecked,
            () => Code::Done,
        }
    }

    /// The check of this name, if there is one.
    pub fn check(&self, name: &str) -> Option<&Check> {
        self.checks.iter().find(|check| check.name == name)
    }

    /// Writes it to stdout: a table and what violates, or one JSON document.
    ///
    /// # Errors
    /// Those of stdout.
    pub fn print(&self, format: Format) -> io::Result<()> {
        match format {
            Format::Table | Format::Mermaid => {
                output::rows(format, &self.checks)?;
                let told = self.violations();
                if told.is_empty() { Ok(()) } else { output::text(&told) }
            }
            Format::Json => output::text(&serde_json::to_string_pretty(self)?),
            Format::Jsonl => output::text(&serde_json::to_string(self)?),
        }
    }

    fn violations(&self) -> String {
        let mut lines = Vec::new();
        for check in self.checks.iter().filter(|check| !check.ids.is_empty()) {
            lines.push(format!("\n{}:", check.name));
            lines.extend(check.ids.iter().map(|id| format!("  {id}")));
            let unnamed = check.violated.saturating_sub(check.ids.len() as u64);
            if unnamed > 0 {
                lines.push(format!("  … and {unnamed} more"));
            }
        }
        lines.join("\n")
    }
}

impl Row for Check {
    const COLUMNS: &'static [&'static str] = &["check", "verdict", "checked", "violated", "note"];

    fn cells(&self) -> Vec<String> {
        let (checked, violated) = (self.checked.to_string(), self.violated.to_string());
        vec![self.name.to_owned(), self.verdict.as_str().to_owned(), checked, violated, self.note.clone()]
    }
}

/// A check on its way.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    checked: u64,
    violated: u64,
    ids: Vec<String>,
    unchecked: Vec<String>,
    notes: Vec<String>,
}

impl Tally {
    /// One of which nothing could be checked.
    pub(super) fn unchecked(reason: impl Into<String>) -> Self {
        Self { unchecked: vec![reason.into()], ..Self::default() }
    }

    /// So many things more were looked at.
    pub(super) fn checked(&mut self, more: u64) {
        self.checked += more;
    }

    /// One of them violates the promise.
    pub(super) fn violated(&mut self, how: impl FnOnce() -> String) {
        self.violated += 1;
        if self.ids.len() < IDS_MAX {
            self.ids.push(how());
        }
    }

    /// So many violate it, of whom some are named.
    pub(super) fn violated_by(&mut self, count: u64, named: impl IntoIterator<Item = String>) {
        self.violated += count;
        let room = IDS_MAX.saturating_sub(self.ids.len());
        self.ids.extend(named.into_iter().take(room));
    }

    /// Part of it could not be checked.
    pub(super) fn could_not(&mut self, reason: impl Into<String>) {
        let reason = reason.into();
        if !self.unchecked.contains(&reason) {
            self.unchecked.push(reason);
        }
    }

    pub(super) fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    pub(super) fn merge(&mut self, other: Self) {
        self.checked += other.checked;
        self.violated_by(other.violated, other.ids);
        other.unchecked.into_iter().for_each(|reason| self.could_not(reason));
        self.notes.extend(other.notes);
    }

    pub(super) fn into_check(self, name: &'static str) -> Check {
        let verdict = match (self.violated, self.unchecked.is_empty()) {
            (0, true) => Verdict::Holds,
            (0, false) => Verdict::Unchecked,
            (..) => Verdict::Violated,
        };
        let unchecked = self.unchecked.into_iter().map(|reason| format!("could not check: {reason}"));
        let note = unchecked.chain(self.notes).collect::<Vec<_>>().join("; ");
        Check { name, verdict, checked: self.checked, violated: self.violated, ids: self.ids, note }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds() -> Tally {
        let mut tally = Tally::default();
        tally.checked(3);
        tally
    }

    fn code(tallies: Vec<Tally>) -> Code {
        Report::new(tallies.into_iter().map(|tally| tally.into_check("a")).collect()).code()
    }

    #[test]
    fn could_not_check_is_never_no_problems_and_a_violation_outweighs_it() {
        let mut violated = holds();
        violated.violated(|| "x".to_owned());
        let unchecked = || Tally::unchecked("away");
        assert_eq!(code(vec![holds(), holds()]), Code::Done);
        assert_eq!(code(vec![holds(), unchecked()]), Code::Unchecked);
        assert_eq!(code(vec![violated.clone(), unchecked()]), Code::Violated);
        let mut merged = holds();
        merged.merge(unchecked());
        assert_eq!(merged.clone().into_check("a").verdict, Verdict::Unchecked);
        merged.merge(violated);
        let check = merged.into_check("a");
        assert_eq!(
            (check.verdict, check.checked, check.note.as_str()),
            (Verdict::Violated, 6, "could not check: away")
        );
    }

    #[test]
    fn the_ids_are_bounded_and_the_count_is_not() {
        let mut tally = Tally::default();
        (0..30).for_each(|n| tally.violated(|| n.to_string()));
        tally.violated_by(70, (0..5).map(|n| n.to_string()));
        let check = tally.into_check("a");
        assert_eq!((check.violated, check.ids.len()), (100, IDS_MAX));
        assert!(Report::new(vec![check]).violations().ends_with("… and 80 more"));
    }
}
