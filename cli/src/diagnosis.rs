//! What was found when a deployment was looked at, and what is to be done about it.

use crate::exit::Code;
use crate::output::{self, Format, Row};
use serde::Serialize;
use std::io;

/// What is to be said of one thing that was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// It works; somebody should have a look.
    Warn,
    /// It does not work, or promises are at risk.
    Fail,
    /// It could not be looked at.
    Unchecked,
}

impl Verdict {
    fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "FAIL",
            Self::Unchecked => "could not check",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at: `fsync`, `relay`.
    pub check: &'static str,
    /// Whose: a server, a role, a topic.
    pub of: String,
    /// What is to be said of it.
    pub verdict: Verdict,
    /// How it is.
    pub found: String,
    /// What is to be done; empty where nothing is.
    pub advice: String,
}

impl Row for Finding {
    const COLUMNS: &'static [&'static str] = &["check", "of", "verdict", "found", "what to do"];

    fn cells(&self) -> Vec<String> {
        let verdict = self.verdict.as_str().to_owned();
        vec![self.check.to_owned(), self.of.clone(), verdict, self.found.clone(), self.advice.clone()]
    }
}

/// Everything that was looked at.
#[derive(Clone, Debug, Default)]
pub struct Diagnosis {
    findings: Vec<Finding>,
}

/// Its form as one JSON document.
#[derive(Serialize)]
struct Document<'a> {
    ok: bool,
    findings: &'a [Finding],
}

impl Diagnosis {
    /// It is as it should be.
    pub(crate) fn ok(&mut self, check: &'static str, of: impl Into<String>, found: impl Into<String>) {
        self.add(Verdict::Ok, check, of, found, "");
    }

    /// It has this verdict, and this is to be done about it.
    pub(crate) fn add(
        &mut self,
        verdict: Verdict,
        check: &'static str,
        of: impl Into<String>,
        found: impl Into<String>,
        advice: impl Into<String>,
    ) {
        let (of, found, advice) = (of.into(), found.into(), advice.into());
        self.findings.push(Finding { check, of, verdict, found, advice });
    }

    /// It could not be looked at, for this reason.
    pub(crate) fn unchecked(&mut self, check: &'static str, of: impl Into<String>, reason: impl std::fmt::Display) {
        self.add(Verdict::Unchecked, check, of, reason.to_string(), "");
    }

    /// All of it, in the order in which it was looked at.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// How many have this verdict.
    pub fn count(&self, verdict: Verdict) -> usize {
        self.findings.iter().filter(|finding| finding.verdict == verdict).count()
    }

    /// The exit code: what fails outweighs what could not be checked; warnings are no failures.
    pub fn code(&self) -> Code {
        match () {
            () if self.count(Verdict::Fail) > 0 => Code::Violated,
            () if self.count(Verdict::Unchecked) > 0 => Code::Unchecked,
            () => Code::Done,
        }
    }

    /// Writes it to stdout: a table, one JSON document, or a finding a line.
    ///
    /// # Errors
    /// Those of stdout.
    pub fn print(&self, format: Format) -> io::Result<()> {
        match format {
            Format::Table | Format::Mermaid | Format::Jsonl => output::rows(format, &self.findings),
            Format::Json => {
                let document = Document { ok: self.code() == Code::Done, findings: &self.findings };
                output::text(&serde_json::to_string_pretty(&document)?)
            }
        }
    }

    /// `12 ok, 1 warning, 2 failures`.
    pub fn summary(&self) -> String {
        let told = [
            (Verdict::Ok, "ok", "ok"),
            (Verdict::Warn, "warning", "warnings"),
            (Verdict::Fail, "failure", "failures"),
            (Verdict::Unchecked, "not checked", "not checked"),
        ];
        let counted = told.map(|(verdict, one, several)| (self.count(verdict), one, several));
        let told = counted.into_iter().filter(|(count, ..)| *count > 0);
        let told = told.map(|(count, one, several)| format!("{count} {}", if count == 1 { one } else { several }));
        told.collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_outweighs_what_could_not_be_checked_and_a_warning_is_none() {
        let mut diagnosis = Diagnosis::default();
        diagnosis.ok("fsync", "PostgreSQL", "on");
        diagnosis.add(Verdict::Warn, "redis", "", "away", "start it");
        assert_eq!(diagnosis.code(), Code::Done);
        diagnosis.unchecked("relay", "order", "no rights");
        assert_eq!(diagnosis.code(), Code::Unchecked);
        diagnosis.add(Verdict::Fail, "schema", "order", "behind", "sagashop migrate");
        assert_eq!(diagnosis.code(), Code::Violated);
        assert_eq!(diagnosis.summary(), "1 ok, 1 warning, 1 failure, 1 not checked");
    }
}
