//! Results on stdout: a table for people, JSON for programs. Nothing else is ever written there.

use comfy_table::{Attribute, Cell, CellAlignment, ColumnConstraint, ContentArrangement, Table, Width, presets};
use serde::Serialize;
use std::io::{self, IsTerminal, Write};

/// The form of a command's results.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Aligned columns, for people.
    #[default]
    Table,
    /// One JSON document.
    Json,
    /// One JSON document a line.
    Jsonl,
    /// A diagram, of what is one.
    #[value(hide = true)]
    Mermaid,
}

/// A result that can be one line of a table. Its JSON form is its `Serialize`.
pub trait Row: Serialize {
    /// The column titles.
    const COLUMNS: &'static [&'static str];

    /// Columns that a terminal which is too narrow is spared, the first one first. What then still has longer words than
    /// there is room for is written as records, a line a column: an id that is broken in two cannot be copied.
    const DISPENSABLE: &'static [usize] = &[];

    /// The cells, as many as there are columns.
    fn cells(&self) -> Vec<String>;
}

/// Writes results to stdout: a table with a title line, a JSON array, or a JSON document a line.
///
/// # Errors
/// Those of stdout; a reader that went away is a `BrokenPipe`.
pub fn rows<R: Row>(format: Format, rows: &[R]) -> io::Result<()> {
    let stdout = io::stdout().lock();
    let style = Style::of(&stdout);
    write_rows(stdout, style, format, rows)
}

/// Writes one result to stdout: as a JSON document, or as a table of its names and values.
///
/// # Errors
/// Those of stdout; a reader that went away is a `BrokenPipe`.
pub fn one<R: Row>(format: Format, row: &R) -> io::Result<()> {
    let stdout = io::stdout().lock();
    let style = Style::of(&stdout);
    write_one(stdout, style, format, row)
}

/// Writes text that is a result as it stands (a diagram, an OpenAPI document), with a line end.
///
/// # Errors
/// Those of stdout; a reader that went away is a `BrokenPipe`.
pub fn text(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{}", text.trim_end_matches('\n'))?;
    stdout.flush()
}

/// Writes what is a text by its nature (a diagram, a script, a page): as it stands, or by its name in a JSON document.
///
/// # Errors
/// Those of stdout; a reader that went away is a `BrokenPipe`.
pub fn page(format: Format, name: &str, page: &str) -> io::Result<()> {
    let document = || serde_json::Map::from_iter([(name.to_owned(), page.into())]);
    match format {
        Format::Table | Format::Mermaid => text(page),
        Format::Json => text(&serde_json::to_string_pretty(&document())?),
        Format::Jsonl => text(&serde_json::to_string(&document())?),
    }
}

/// Whether escape sequences belong on stderr: it is a terminal and `NO_COLOR` is not set.
pub fn stderr_is_coloured() -> bool {
    io::stderr().is_terminal() && !no_color()
}

/// <https://no-color.org>: set and not empty.
fn no_color() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}

/// What the reader of a table can show.
#[derive(Clone, Copy, Debug)]
struct Style {
    /// Of the terminal; none where there is none.
    width: Option<u16>,
    is_coloured: bool,
}

impl Style {
    fn of(stream: &impl IsTerminal) -> Self {
        let is_terminal = stream.is_terminal();
        let width = Table::new().width().filter(|_| is_terminal);
        Self { width, is_coloured: is_terminal && !no_color() }
    }

    fn table(self) -> Table {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        match self.width {
            // Every cell is padded by one space on both sides, and the outermost are not written.
            Some(width) => {
                table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width.saturating_add(2))
            }
            None => table.force_no_tty(),
        };
        table
    }

    fn title(self, text: &str) -> Cell {
        let cell = Cell::new(text);
        if self.is_coloured { cell.add_attribute(Attribute::Bold) } else { cell }
    }
}

fn write_rows<R: Row>(mut out: impl Write, style: Style, format: Format, rows: &[R]) -> io::Result<()> {
    match format {
        Format::Table | Format::Mermaid => {
            let rows: Vec<Vec<String>> = rows.iter().map(Row::cells).collect();
            let columns = match style.width {
                Some(width) => fitting(R::COLUMNS, R::DISPENSABLE, &rows, width.into()),
                None => (0..R::COLUMNS.len()).collect(),
            };
            let least: Vec<u16> = columns.iter().map(|n| widest(*n, R::COLUMNS, &rows, longest_word)).collect();
            let needed: usize = least.iter().map(|least| usize::from(*least)).sum();
            match style.width {
                Some(width) if needed > usize::from(width) + 2 => write_records(&mut out, style, R::COLUMNS, &rows)?,
                _ => write_table(&mut out, &table(style, R::COLUMNS, &columns, &least, &rows))?,
            }
        }
        Format::Json => {
            serde_json::to_writer_pretty(&mut out, rows)?;
            writeln!(out)?;
        }
        Format::Jsonl => {
            for row in rows {
                serde_json::to_writer(&mut out, row)?;
                writeln!(out)?;
            }
        }
    }
    out.flush()
}

/// These columns, none narrower than it must be.
fn table(style: Style, titles: &[&str], columns: &[usize], least: &[u16], rows: &[Vec<String>]) -> Table {
    let mut table = style.table();
    table.set_header(columns.iter().map(|n| style.title(titles[*n])).collect::<Vec<_>>());
    for row in rows {
        table.add_row(columns.iter().map(|n| value(&row[*n])).collect::<Vec<_>>());
    }
    if style.width.is_some() {
        for (column, least) in table.column_iter_mut().zip(least) {
            column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(*least)));
        }
    }
    table
}

/// A line a column, as psql has it by `\x auto`; without what there is not.
fn write_records(out: &mut impl Write, style: Style, titles: &[&str], rows: &[Vec<String>]) -> io::Result<()> {
    // Those of all records stand below one another.
    let names = titles.iter().map(|title| title.chars().count()).max().unwrap_or(0) + 2;
    let names = Width::Fixed(u16::try_from(names).unwrap_or(u16::MAX));
    for (n, row) in rows.iter().enumerate() {
        if n > 0 {
            writeln!(out)?;
        }
        let mut record = style.table();
        for (title, cell) in titles.iter().zip(row).filter(|(_, cell)| !cell.is_empty()) {
            record.add_row(vec![style.title(title), Cell::new(cell)]);
        }
        if let Some(column) = record.column_mut(0) {
            column.set_constraint(ColumnConstraint::Absolute(names));
        }
        write_table(out, &record)?;
    }
    Ok(())
}

fn write_one<R: Row>(mut out: impl Write, style: Style, format: Format, row: &R) -> io::Result<()> {
    match format {
        Format::Table | Format::Mermaid => {
            let mut table = style.table();
            for (title, cell) in R::COLUMNS.iter().zip(row.cells()) {
                table.add_row(vec![style.title(title), Cell::new(cell)]);
            }
            write_table(&mut out, &table)?;
        }
        Format::Json => {
            serde_json::to_writer_pretty(&mut out, row)?;
            writeln!(out)?;
        }
        Format::Jsonl => {
            serde_json::to_writer(&mut out, row)?;
            writeln!(out)?;
        }
    }
    out.flush()
}

/// The columns that fit, less those that can be spared. If still too many are left, their cells are wrapped.
fn fitting(titles: &[&str], dispensable: &[usize], rows: &[Vec<String>], width: usize) -> Vec<usize> {
    let mut columns: Vec<usize> = (0..titles.len()).collect();
    for spared in dispensable {
        if columns.iter().map(|n| usize::from(widest(*n, titles, rows, longest_line))).sum::<usize>() <= width + 2 {
            break;
        }
        columns.retain(|n| n != spared);
    }
    columns
}

/// How wide a column is by its widest cell, its padding with it.
fn widest(n: usize, titles: &[&str], rows: &[Vec<String>], of_cell: impl Fn(&str) -> usize) -> u16 {
    let cells = rows.iter().filter_map(|row| row.get(n)).map(|cell| of_cell(cell));
    let widest = cells.chain([of_cell(titles[n])]).max().unwrap_or(0) + 2;
    u16::try_from(widest).unwrap_or(u16::MAX)
}

fn longest_line(text: &str) -> usize {
    text.lines().map(|line| line.chars().count()).max().unwrap_or(0)
}

fn longest_word(text: &str) -> usize {
    text.split_whitespace().map(|word| word.chars().count()).max().unwrap_or(0)
}

/// Numbers stand at the right of their column, so that they can be compared at a glance.
fn value(text: &str) -> Cell {
    let is_number = text.starts_with(|first: char| first.is_ascii_digit())
        && text.chars().all(|letter| letter.is_ascii_digit() || ",.".contains(letter));
    let cell = Cell::new(text);
    if is_number { cell.set_alignment(CellAlignment::Right) } else { cell }
}

fn write_table(out: &mut impl Write, table: &Table) -> io::Result<()> {
    for line in table.lines() {
        // Every cell is padded by one space on both sides, the outermost too.
        writeln!(out, "{}", line.strip_prefix(' ').unwrap_or(&line).trim_end())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Port {
        service: &'static str,
        port: u16,
    }

    impl Row for Port {
        const COLUMNS: &'static [&'static str] = &["service", "port"];

        fn cells(&self) -> Vec<String> {
            vec![self.service.to_owned(), self.port.to_string()]
        }
    }

    const PLAIN: Style = Style { width: None, is_coloured: false };
    const PORTS: [Port; 2] = [Port { service: "order", port: 8082 }, Port { service: "user", port: 80 }];

    fn written(format: Format) -> String {
        let mut out = Vec::new();
        write_rows(&mut out, PLAIN, format, &PORTS).expect("memory can be written to");
        String::from_utf8(out).expect("output is UTF-8")
    }

    #[test]
    fn a_table_aligns_its_columns_and_holds_no_escape_sequence() {
        insta::assert_snapshot!(written(Format::Table), @r"
        service  port
        order    8082
        user       80
        ");
    }

    #[test]
    fn a_narrow_terminal_is_spared_what_can_be() {
        let rows = vec![vec!["1234".to_owned(), "abcdef".to_owned(), "xy".to_owned()]];
        let fitting = |width| fitting(&["n", "name", "by"], &[2, 0], &rows, width);
        assert_eq!(fitting(16), [0, 1, 2]);
        assert_eq!(fitting(15), [0, 1]);
        assert_eq!((fitting(11), fitting(1)), (vec![1], vec![1]));
    }

    #[derive(Serialize)]
    struct Act {
        id: &'static str,
        why: &'static str,
        note: &'static str,
    }

    impl Row for Act {
        const COLUMNS: &'static [&'static str] = &["id", "why", "note"];
        const DISPENSABLE: &'static [usize] = &[2];

        fn cells(&self) -> Vec<String> {
            vec![self.id.to_owned(), self.why.to_owned(), self.note.to_owned()]
        }
    }

    fn at_width(width: u16) -> String {
        let acts = [
            Act { id: "0198c5d0-6a6e-7cc0", why: "the provider is back", note: "sent" },
            Act { id: "0198c5d0-6a6e-7cc1", why: "", note: "" },
        ];
        let mut out = Vec::new();
        let style = Style { width: Some(width), is_coloured: false };
        write_rows(&mut out, style, Format::Table, &acts).expect("memory can be written to");
        let text = String::from_utf8(out).expect("output is UTF-8");
        assert!(text.lines().all(|line| line.chars().count() <= width.into()), "wider than {width}:\n{text}");
        text
    }

    #[test]
    fn words_are_never_broken() {
        insta::assert_snapshot!(at_width(80), @r"
        id                  why                   note
        0198c5d0-6a6e-7cc0  the provider is back  sent
        0198c5d0-6a6e-7cc1
        ");
        insta::assert_snapshot!(at_width(41), @r"
        id                  why
        0198c5d0-6a6e-7cc0  the provider is back
        0198c5d0-6a6e-7cc1
        ");
        insta::assert_snapshot!(at_width(30), @r"
        id                  why
        0198c5d0-6a6e-7cc0  the
                            provider
                            is back
        0198c5d0-6a6e-7cc1
        ");
        insta::assert_snapshot!(at_width(27), @r"
        id    0198c5d0-6a6e-7cc0
        why   the provider is back
        note  sent

        id    0198c5d0-6a6e-7cc1
        ");
    }

    #[test]
    fn json_is_one_document_and_jsonl_one_a_line() {
        let json: serde_json::Value = serde_json::from_str(&written(Format::Json)).expect("one document");
        assert_eq!(json.as_array().map(Vec::len), Some(2));
        assert_eq!(written(Format::Jsonl).lines().next(), Some(r#"{"service":"order","port":8082}"#));
    }

    #[test]
    fn one_result_is_a_list_of_names_and_values() {
        let mut out = Vec::new();
        write_one(&mut out, PLAIN, Format::Table, &PORTS[0]).expect("memory can be written to");
        let text = String::from_utf8(out).expect("output is UTF-8");
        assert_eq!(text.lines().map(str::trim).collect::<Vec<_>>(), ["service  order", "port     8082"]);
    }
}
