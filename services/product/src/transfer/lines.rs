//! A file as lines of texts, nothing judged yet.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::{COLUMNS, Format};

/// The values of one line; what is empty or null is not given.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Line {
    /// From 1, as an editor counts.
    pub number: u64,
    pub values: HashMap<&'static str, String>,
}

impl Line {
    pub fn get(&self, column: &str) -> Option<&str> {
        self.values.get(column).map(String::as_str)
    }
}

/// What is wrong with a line, and in which of its fields, if it is one's fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub line: u64,
    pub field: Option<String>,
    pub reason: String,
}

impl Fault {
    pub fn new(line: u64, field: Option<&str>, reason: impl ToString) -> Self {
        Self { line, field: field.map(str::to_owned), reason: reason.to_string() }
    }
}

/// The lines of a file, each as it is or with its faults. A header that cannot be used is the whole file's fault.
pub(super) fn read(format: Format, file: &str) -> Result<Vec<Result<Line, Vec<Fault>>>, Fault> {
    // As some spreadsheets begin their files.
    let file = file.trim_start_matches('\u{feff}');
    match format {
        Format::Csv => of_csv(file),
        Format::JsonLines => Ok(of_json_lines(file)),
    }
}

fn of_csv(file: &str) -> Result<Vec<Result<Line, Vec<Fault>>>, Fault> {
    let mut reader = csv::ReaderBuilder::new().flexible(true).trim(csv::Trim::All).from_reader(file.as_bytes());
    let header = reader.headers().map_err(|error| Fault::new(1, None, error))?.clone();
    let mut columns = Vec::with_capacity(header.len());
    for name in &header {
        let column = column(name).ok_or_else(|| Fault::new(1, Some(name), known_columns()))?;
        if columns.contains(&column) {
            return Err(Fault::new(1, Some(name), "stands there twice"));
        }
        columns.push(column);
    }
    if columns.is_empty() {
        return Err(Fault::new(1, None, "the first line has to name the columns"));
    }
    let (mut lines, mut counter) = (Vec::new(), Counter { file, at: 0, number: 1 });
    for record in reader.records() {
        lines.push(match record {
            Ok(record) => of_record(counter.line_of(record.position()), &columns, &record),
            Err(error) => Err(vec![Fault::new(counter.line_of(error.position()), None, "is no line of CSV")]),
        });
    }
    Ok(lines)
}

/// Counts lines: the reader's own count of a record is that of the first empty line before it.
struct Counter<'a> {
    file: &'a str,
    at: usize,
    number: u64,
}

impl Counter<'_> {
    fn line_of(&mut self, position: Option<&csv::Position>) -> u64 {
        let bytes = self.file.as_bytes();
        let mut to = position.map_or(self.at, |position| usize::try_from(position.byte()).unwrap_or(self.at));
        while bytes.get(to).is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
            to += 1;
        }
        let passed = bytes.get(self.at..to).unwrap_or_default();
        self.number += passed.iter().filter(|byte| **byte == b'\n').count() as u64;
        self.at = self.at.max(to);
        self.number
    }
}

fn of_record(number: u64, columns: &[&'static str], record: &csv::StringRecord) -> Result<Line, Vec<Fault>> {
    if record.len() != columns.len() {
        let reason = format!("has {} fields where the header has {}", record.len(), columns.len());
        return Err(vec![Fault::new(number, None, reason)]);
    }
    let given = columns.iter().zip(record).filter(|(_, value)| !value.is_empty());
    Ok(Line { number, values: given.map(|(column, value)| (*column, value.to_owned())).collect() })
}

fn of_json_lines(file: &str) -> Vec<Result<Line, Vec<Fault>>> {
    let lines = (1..).zip(file.lines()).filter(|(_, text)| !text.trim().is_empty());
    lines.map(|(number, text)| of_json(number, text)).collect()
}

fn of_json(number: u64, text: &str) -> Result<Line, Vec<Fault>> {
    let object: Map<String, Value> =
        serde_json::from_str(text).map_err(|_| vec![Fault::new(number, None, "is no JSON object")])?;
    let (mut values, mut faults) = (HashMap::new(), Vec::new());
    for (name, value) in object {
        let Some(column) = column(&name) else {
            faults.push(Fault::new(number, Some(&name), known_columns()));
            continue;
        };
        match value {
            Value::Null => {}
            Value::String(text) => drop(values.insert(column, text)),
            Value::Number(digits) if matches!(column, "price" | "stock") => {
                values.insert(column, digits.to_string());
            }
            _ => faults.push(Fault::new(number, Some(column), "has to be a string, or a number where it counts")),
        }
    }
    if faults.is_empty() { Ok(Line { number, values }) } else { Err(faults) }
}

fn column(name: &str) -> Option<&'static str> {
    COLUMNS.into_iter().find(|column| *column == name)
}

fn known_columns() -> String {
    format!("is not one of {}", COLUMNS.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(line: &Result<Line, Vec<Fault>>) -> Vec<(&str, &str)> {
        let line = line.as_ref().unwrap();
        COLUMNS.into_iter().filter_map(|column| Some((column, line.get(column)?))).collect()
    }

    #[test]
    fn csv_is_read_with_its_line_numbers() {
        let file = "\u{feff}name,price,stock\n\"Two\nlines, quoted\",1.50,\n\n Mouse , 2 ,7\nshort\n";
        let lines = read(Format::Csv, file).unwrap();
        assert_eq!(texts(&lines[0]), [("name", "Two\nlines, quoted"), ("price", "1.50")]);
        assert_eq!(texts(&lines[1]), [("name", "Mouse"), ("price", "2"), ("stock", "7")]);
        assert_eq!(lines[1].as_ref().unwrap().number, 5);
        assert_eq!(lines[2], Err(vec![Fault::new(6, None, "has 1 fields where the header has 3")]));
        assert_eq!(lines.len(), 3);
    }

    #[test]
    fn a_header_has_known_columns_once() {
        for (file, field) in [("name,colour\n", Some("colour")), ("name,name\n", Some("name")), ("", None)] {
            let fault = read(Format::Csv, file).unwrap_err();
            assert_eq!((fault.line, fault.field.as_deref()), (1, field), "{file}");
        }
    }

    #[test]
    fn json_lines_are_read_exactly() {
        let file =
            "{\"name\":\"A\",\"price\":90071992547409931.23,\"stock\":null}\n\n[]\n{\"colour\":1,\"stock\":[]}\n{";
        let lines = read(Format::JsonLines, file).unwrap();
        assert_eq!(texts(&lines[0]), [("name", "A"), ("price", "90071992547409931.23")]);
        assert_eq!(lines[1], Err(vec![Fault::new(3, None, "is no JSON object")]));
        let faults = lines[2].as_ref().unwrap_err();
        assert_eq!(
            faults.iter().map(|fault| fault.field.as_deref()).collect::<Vec<_>>(),
            [Some("colour"), Some("stock")]
        );
        assert_eq!(lines[3], Err(vec![Fault::new(5, None, "is no JSON object")]));
    }
}
