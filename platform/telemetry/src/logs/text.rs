//! Lines for people.

use std::fmt::Write;
use std::io::IsTerminal;
use std::time::{SystemTime, UNIX_EPOCH};

use tracing::{Level, Metadata};

use super::{Said, Value};

/// Whether lines are coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Colours(pub(super) bool);

impl Colours {
    /// On a terminal only, and never against `NO_COLOR`.
    pub(super) fn of_terminal() -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self(std::io::stderr().is_terminal() && !refused)
    }

    fn paint(self, line: &mut String, code: &str, text: &str) {
        // Writing to a string does not fail.
        let _ = if self.0 { write!(line, "\x1b[{code}m{text}\x1b[0m") } else { write!(line, "{text}") };
    }
}

const DIM: &str = "2";
const ITALIC: &str = "3";

pub(super) fn line(colours: Colours, of: &Metadata<'_>, said: &Said) -> String {
    let mut line = String::with_capacity(256);
    colours.paint(&mut line, DIM, &timestamp(SystemTime::now()));
    let (code, level) = match *of.level() {
        Level::ERROR => ("31", "ERROR"),
        Level::WARN => ("33", " WARN"),
        Level::INFO => ("32", " INFO"),
        Level::DEBUG => ("34", "DEBUG"),
        Level::TRACE => ("35", "TRACE"),
    };
    line.push(' ');
    colours.paint(&mut line, code, level);
    line.push(' ');
    colours.paint(&mut line, DIM, of.target());
    colours.paint(&mut line, DIM, ":");
    if !said.message.is_empty() {
        line.push(' ');
        readable(&mut line, &said.message);
    }
    for (name, value) in &said.fields {
        field(colours, &mut line, name);
        match value {
            Value::Plain(value) => line.push_str(value),
            Value::Text(value) => quoted(&mut line, value),
        }
    }
    for (name, id) in said.ids() {
        field(colours, &mut line, name);
        line.push_str(&id);
    }
    line.push('\n');
    line
}

fn field(colours: Colours, line: &mut String, name: &str) {
    line.push(' ');
    colours.paint(line, ITALIC, name);
    colours.paint(line, DIM, "=");
}

/// Quoted where it would not be seen where it ends.
fn quoted(line: &mut String, text: &str) {
    if text.is_empty() || text.contains([' ', '"', '=', '\n']) {
        line.push('"');
        readable(line, text);
        line.push('"');
    } else {
        readable(line, text);
    }
}

/// Without what a terminal would obey, or what would look like another line.
fn readable(line: &mut String, text: &str) {
    for character in text.chars() {
        if character.is_control() {
            let _ = write!(line, "{}", character.escape_default());
        } else {
            line.push(character);
        }
    }
}

/// RFC 3339, UTC, to the microsecond.
pub(super) fn timestamp(at: SystemTime) -> String {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:06}Z", since.subsec_micros())
}

/// The date of a day since 1970, after Howard Hinnant's `civil_from_days`.
/// <https://howardhinnant.github.io/date_algorithms.html>
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn moments_are_written_as_the_standard_has_it() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (951_782_399, "2000-02-28T23:59:59.000000Z"),
            (951_782_400, "2000-02-29T00:00:00.000000Z"),
            (1_795_679_999, "2026-11-26T07:59:59.000000Z"),
            (4_102_444_800, "2100-01-01T00:00:00.000000Z"),
        ] {
            assert_eq!(timestamp(UNIX_EPOCH + Duration::from_secs(seconds)), expected);
        }
        assert_eq!(timestamp(UNIX_EPOCH + Duration::from_micros(1_500_000)), "1970-01-01T00:00:01.500000Z");
    }
}
