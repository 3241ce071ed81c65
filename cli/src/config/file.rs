//! The file: `sagashop.toml`.

use super::known::{Known, nearest};
use crate::ports::Part;
use clap::Command;
use std::path::Path;
use toml::{Table, Value};

/// What the file says of one setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// For which command alone, as its words; none for all.
    pub scope: Vec<String>,
    /// The setting's name.
    pub name: String,
    /// What it is to be.
    pub values: Vec<String>,
}

/// Reads the file; every fault in it is told.
pub(super) fn read(path: &Path, command: &Command, known: &Known) -> Result<Vec<Entry>, Vec<String>> {
    let text = std::fs::read_to_string(path).map_err(|error| vec![format!("{}: {error}", path.display())])?;
    let named = |fault: String| format!("{}: {fault}", path.display());
    parse(&text, command, known).map_err(|faults| faults.into_iter().map(named).collect())
}

fn parse(text: &str, command: &Command, known: &Known) -> Result<Vec<Entry>, Vec<String>> {
    let table: Table = text.parse().map_err(|error: toml::de::Error| vec![syntax(text, &error)])?;
    let mut reader = Reader { command, known, entries: Vec::new(), faults: Vec::new() };
    reader.table(&table, &[], &[]);
    if reader.faults.is_empty() { Ok(reader.entries) } else { Err(reader.faults) }
}

/// Where the file is no TOML, and why; never the line itself, which may be a secret's.
fn syntax(text: &str, error: &toml::de::Error) -> String {
    let line = error.span().map(|span| text[..span.start.min(text.len())].lines().count().max(1));
    let line = line.map(|line| format!("line {line}: ")).unwrap_or_default();
    format!("{line}{}", error.message())
}

struct Reader<'a> {
    command: &'a Command,
    known: &'a Known,
    entries: Vec<Entry>,
    faults: Vec<String>,
}

impl Reader<'_> {
    /// A table below these commands, whose names begin so.
    fn table(&mut self, table: &Table, scope: &[String], prefix: &[String]) {
        for (key, value) in table {
            let key = key.replace('-', "_").to_ascii_lowercase();
            match value {
                Value::Table(below) if prefix.is_empty() && self.is_scope(scope, &key) => {
                    self.table(below, &joined(scope, &key), &[]);
                }
                Value::Table(below) => self.table(below, scope, &joined(prefix, &key)),
                value => self.entry(scope, &joined(prefix, &key), value),
            }
        }
    }

    fn entry(&mut self, scope: &[String], path: &[String], value: &Value) {
        let name = path.join("_");
        let written = [scope, path].concat().join(".");
        let Some((name, setting)) = self.known.find(&name) else {
            let nearest = self.known.nearest(&name).map(|nearest| format!(": did you mean {nearest}?"));
            let nearest = nearest.or_else(|| self.nearest_command(path));
            self.faults.push(format!("{written} is unknown{}", nearest.unwrap_or_default()));
            return;
        };
        // A part of `serve` is no command of its own.
        let command = if scope.first().is_some_and(|first| first == "serve") { &scope[..1] } else { scope };
        if !command.is_empty() && !setting.is_of(command) {
            self.faults.push(format!("{written}: `{}` has no such setting", command.join(" ")));
            return;
        }
        let checked = texts(value).and_then(|values| setting.check(&values).map(|()| values));
        match checked {
            Ok(values) => self.entries.push(Entry { scope: scope.to_vec(), name: name.to_owned(), values }),
            Err(reason) => self.faults.push(format!("{written}: {reason}")),
        }
    }

    /// Whether a table's name is that of a command, or of a part that `serve` runs.
    fn is_scope(&self, scope: &[String], key: &str) -> bool {
        if matches!(scope, [serve] if serve == "serve") {
            return Part::ALL.iter().any(|part| part.name() == key);
        }
        let at = scope.iter().try_fold(self.command, |command, name| command.find_subcommand(name));
        at.is_some_and(|command| command.find_subcommand(key.replace('_', "-")).is_some())
    }

    fn nearest_command(&self, path: &[String]) -> Option<String> {
        let (first, rest) = path.split_first()?;
        let commands = self.command.get_subcommands().map(Command::get_name);
        let nearest = nearest(first, commands).filter(|_| self.known.find(&rest.join("_")).is_some())?;
        Some(format!(": did you mean [{nearest}]?"))
    }
}

fn joined(path: &[String], key: &str) -> Vec<String> {
    path.iter().cloned().chain([key.to_owned()]).collect()
}

/// The values as the command line would have them.
fn texts(value: &Value) -> Result<Vec<String>, String> {
    let one = |value: &Value| match value {
        Value::String(text) => Ok(text.clone()),
        Value::Integer(number) => Ok(number.to_string()),
        Value::Float(number) => Ok(number.to_string()),
        Value::Boolean(switch) => Ok(switch.to_string()),
        Value::Array(_) | Value::Table(_) | Value::Datetime(_) => {
            Err(format!("expected a text, a number or a switch, not {}", value.type_str()))
        }
    };
    match value {
        Value::Array(values) => values.iter().map(one).collect(),
        value => one(value).map(|text| vec![text]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn read(text: &str) -> Result<Vec<Entry>, Vec<String>> {
        let command = crate::args::Args::command();
        parse(text, &command, &Known::of(&command))
    }

    fn entry(scope: &[&str], name: &str, value: &str) -> Entry {
        let scope = scope.iter().map(|word| (*word).to_owned()).collect();
        Entry { scope, name: name.to_owned(), values: vec![value.to_owned()] }
    }

    #[test]
    fn a_table_is_the_beginning_of_a_name_or_a_command() {
        let text = "
            log-format = 'json'
            kafka_broker = 'a:9092'
            [payment]
            success_rate = 0.5
            [serve]
            seed = true
            [serve.order]
            http_port = 9082
            db.name = 'orders'
        ";
        let mut entries = read(text).expect("no fault");
        entries.sort_by(|a, b| (&a.scope, &a.name).cmp(&(&b.scope, &b.name)));
        assert_eq!(
            entries,
            [
                entry(&[], "kafka_broker", "a:9092"),
                entry(&[], "log_format", "json"),
                entry(&[], "payment_success_rate", "0.5"),
                entry(&["serve"], "seed", "true"),
                entry(&["serve", "order"], "db_name", "orders"),
                entry(&["serve", "order"], "http_port", "9082"),
            ]
        );
    }

    #[test]
    fn every_fault_is_told_with_what_was_perhaps_meant() {
        let text = "
            moon_phase_zzz = 'full'
            [kafka]
            brokr = 'a:9092'
            [db]
            port = 'many'
            [up]
            http_port = 1
            [serev]
            seed = true
        ";
        let faults = read(text).expect_err("faults");
        assert_eq!(faults.len(), 5, "{faults:?}");
        let told = faults.join("\n");
        for expected in [
            "moon_phase_zzz is unknown",
            "kafka.brokr is unknown: did you mean kafka_broker?",
            "db.port: invalid value 'many'",
            "up.http_port: `up` has no such setting",
            "serev.seed is unknown: did you mean [serve]?",
        ] {
            assert!(told.contains(expected), "{expected} in\n{told}");
        }
    }

    #[test]
    fn no_fault_repeats_a_secret() {
        for text in [
            "internal_token = 'hunter2 and\n",
            "[internal]\ntoken = ['hunter2', 'hunter3']",
            "db.password = 1979-05-27",
        ] {
            let faults = read(text).expect_err("a fault").join("\n");
            assert!(!faults.contains("hunter") && !faults.contains("1979"), "{faults}");
        }
    }
}
