//! PostgreSQL's binary form of rows (`COPY … (FORMAT binary)`): the fastest way in and out, and one whose cells can be
//! compared byte by byte.

use anyhow::{Context, ensure};
use bytes::{Buf, Bytes, BytesMut};
use chrono::{DateTime, TimeDelta, Utc};
use futures::StreamExt;
use futures::stream::BoxStream;
use sqlx::PgConnection;
use uuid::Uuid;

/// What every copy begins with: signature, flags, and no extension of the header.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
const TRAILER: &[u8] = &(-1_i16).to_be_bytes();
/// No cell may be larger; a row of a read model is a few hundred bytes.
const CELL_BYTES_MAX: usize = 64 << 20;

/// A row that is being put together, cell by cell.
pub struct Row<'a> {
    out: &'a mut Vec<u8>,
    cells: usize,
}

impl Row<'_> {
    /// The next cell.
    pub fn put(&mut self, cell: impl Cell) -> &mut Self {
        self.cells += 1;
        let at = self.out.len();
        self.out.extend_from_slice(&(-1_i32).to_be_bytes());
        if cell.write(self.out) {
            let length = i32::try_from(self.out.len() - at - 4).unwrap_or(i32::MAX);
            self.out[at..at + 4].copy_from_slice(&length.to_be_bytes());
        }
        self
    }
}

/// What can stand in a cell.
pub trait Cell {
    /// Appends its bytes; false for NULL.
    fn write(&self, out: &mut Vec<u8>) -> bool;
}

/// A document in a column of type `jsonb`.
#[derive(Debug)]
pub struct Jsonb<'a>(pub &'a str);

/// PostgreSQL's epoch, in microseconds after the other one.
pub(super) const EPOCH_MICROS: i64 = 946_684_800_000_000;

macro_rules! cells {
    ($($type:ty: |$value:ident, $out:ident| $write:expr;)*) => {
        $(impl Cell for $type {
            fn write(&self, $out: &mut Vec<u8>) -> bool {
                let $value = self;
                $write;
                true
            }
        })*
    };
}

cells! {
    Uuid: |value, out| out.extend_from_slice(value.as_bytes());
    i64: |value, out| out.extend_from_slice(&value.to_be_bytes());
    i32: |value, out| out.extend_from_slice(&value.to_be_bytes());
    bool: |value, out| out.push(u8::from(*value));
    // Also for columns of type json, whose text is kept as it is.
    &str: |value, out| out.extend_from_slice(value.as_bytes());
    // Floored, as the driver does it for parameters.
    DateTime<Utc>: |value, out| out.extend_from_slice(&(value.timestamp_micros() - EPOCH_MICROS).to_be_bytes());
    Jsonb<'_>: |value, out| { out.push(1); out.extend_from_slice(value.0.as_bytes()) };
    &[&str]: |value, out| texts(value, out);
}

impl<C: Cell> Cell for Option<C> {
    fn write(&self, out: &mut Vec<u8>) -> bool {
        self.as_ref().is_some_and(|cell| cell.write(out))
    }
}

/// `text[]`.
fn texts(values: &[&str], out: &mut Vec<u8>) {
    const TEXT: i32 = 25;
    let length = |length: usize| i32::try_from(length).unwrap_or(i32::MAX).to_be_bytes();
    let dimensions = i32::from(!values.is_empty());
    for number in [dimensions, 0, TEXT] {
        out.extend_from_slice(&number.to_be_bytes());
    }
    if !values.is_empty() {
        out.extend_from_slice(&length(values.len()));
        out.extend_from_slice(&1_i32.to_be_bytes());
    }
    for value in values {
        out.extend_from_slice(&length(value.len()));
        out.extend_from_slice(value.as_bytes());
    }
}

/// Rows on their way into a table, and the ids of their streams.
#[derive(Debug, Default)]
pub(super) struct Rows {
    bytes: Vec<u8>,
    starts: Vec<usize>,
}

impl Rows {
    /// Adds a row of so many cells, or none if `fill` puts none. Whether it did.
    pub(super) fn add(
        &mut self,
        cells: usize,
        fill: impl FnOnce(&mut Row<'_>) -> anyhow::Result<()>,
    ) -> anyhow::Result<bool> {
        if self.bytes.is_empty() {
            self.bytes.extend_from_slice(HEADER);
        }
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&i16::try_from(cells)?.to_be_bytes());
        let mut row = Row { out: &mut self.bytes, cells: 0 };
        fill(&mut row)?;
        match row.cells {
            0 => self.bytes.truncate(start),
            put if put == cells => self.starts.push(start),
            put => anyhow::bail!("the row has {put} cells and the table {cells} columns"),
        }
        Ok(self.bytes.len() > start)
    }

    pub(super) fn len(&self) -> usize {
        self.starts.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    pub(super) fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Each row's bytes, as [`Tuples::next`] gives them.
    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let ends = self.starts.iter().skip(1).copied().chain([self.bytes.len()]);
        self.starts.iter().zip(ends).map(|(start, end)| &self.bytes[*start..end])
    }

    /// Writes all of them by this statement (`COPY … FROM STDIN (FORMAT binary)`).
    pub(super) async fn copy_in(&mut self, connection: &mut PgConnection, statement: &str) -> anyhow::Result<()> {
        if self.is_empty() {
            return Ok(());
        }
        let rows = self.starts.len() as u64;
        self.bytes.extend_from_slice(TRAILER);
        let mut copy = connection.copy_in_raw(statement).await?;
        copy.send(self.bytes.as_slice()).await?;
        let written = copy.finish().await?;
        ensure!(written == rows, "{rows} rows were sent and {written} were written");
        Ok(())
    }
}

/// The cells of a row's bytes; `None` is NULL.
pub(super) fn cells(tuple: &[u8]) -> impl Iterator<Item = Option<&[u8]>> {
    let mut at = 2;
    std::iter::from_fn(move || {
        let length = i32::from_be_bytes(tuple.get(at..at + 4)?.try_into().ok()?);
        at += 4;
        let Ok(length) = usize::try_from(length) else { return Some(None) };
        let cell = tuple.get(at..at + length)?;
        at += length;
        Some(Some(cell))
    })
}

/// Rows as they come out of a database.
pub(super) struct Tuples<'c> {
    stream: BoxStream<'c, sqlx::Result<Bytes>>,
    buffer: BytesMut,
    /// What was given last.
    given: usize,
    has_begun: bool,
}

impl<'c> Tuples<'c> {
    /// By this statement (`COPY … TO STDOUT (FORMAT binary)`).
    pub(super) async fn begin(connection: &'c mut PgConnection, statement: &str) -> sqlx::Result<Self> {
        let stream = connection.copy_out_raw(statement).await?;
        Ok(Self { stream, buffer: BytesMut::new(), given: 0, has_begun: false })
    }

    /// The next one, whole.
    pub(super) async fn next(&mut self) -> anyhow::Result<Option<&[u8]>> {
        self.buffer.advance(self.given);
        self.given = 0;
        loop {
            if !self.has_begun && self.buffer.len() >= HEADER.len() {
                ensure!(self.buffer.starts_with(HEADER), "the database copies in a form that is not known");
                self.buffer.advance(HEADER.len());
                self.has_begun = true;
            }
            if self.has_begun {
                match extent(&self.buffer)? {
                    Extent::Whole(length) => {
                        self.given = length;
                        return Ok(Some(&self.buffer[..length]));
                    }
                    Extent::End => {
                        // The server's last words: whether it went well.
                        while let Some(rest) = self.stream.next().await {
                            rest?;
                        }
                        return Ok(None);
                    }
                    Extent::Part => {}
                }
            }
            let chunk = self.stream.next().await.context("the database stopped copying in the middle of a row")??;
            self.buffer.extend_from_slice(&chunk);
        }
    }
}

enum Extent {
    Whole(usize),
    Part,
    End,
}

/// How much of this is one row.
fn extent(bytes: &[u8]) -> anyhow::Result<Extent> {
    let Some(count) = bytes.get(..2) else { return Ok(Extent::Part) };
    let count = i16::from_be_bytes([count[0], count[1]]);
    if count < 0 {
        return Ok(Extent::End);
    }
    let mut at = 2;
    for _ in 0..count {
        let Some(length) = bytes.get(at..at + 4) else { return Ok(Extent::Part) };
        let length = i32::from_be_bytes([length[0], length[1], length[2], length[3]]);
        let length = usize::try_from(length).unwrap_or(0);
        ensure!(length <= CELL_BYTES_MAX, "a cell of {length} bytes");
        at += 4 + length;
    }
    Ok(if at <= bytes.len() { Extent::Whole(at) } else { Extent::Part })
}

/// A cell as text, for people.
pub(super) fn shown(cell: Option<&[u8]>, kind: &str) -> String {
    let Some(bytes) = cell else { return "NULL".to_owned() };
    let integer = || match bytes.len() {
        8 => Some(i64::from_be_bytes(bytes.try_into().ok()?)),
        4 => Some(i64::from(i32::from_be_bytes(bytes.try_into().ok()?))),
        _ => None,
    };
    let known = match kind {
        "uuid" => Uuid::from_slice(bytes).ok().map(|id| id.to_string()),
        "bigint" | "integer" => integer().map(|number| number.to_string()),
        "boolean" => bytes.first().map(|bit| (*bit != 0).to_string()),
        "timestamp with time zone" => integer().and_then(moment).map(|at| at.to_rfc3339()),
        "jsonb" => bytes.get(1..).map(|text| String::from_utf8_lossy(text).into_owned()),
        "text" | "json" => Some(String::from_utf8_lossy(bytes).into_owned()),
        "text[]" => Some(read_texts(bytes).join(", ")),
        _ => None,
    };
    known.unwrap_or_else(|| bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn moment(micros: i64) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp_micros(EPOCH_MICROS)?.checked_add_signed(TimeDelta::microseconds(micros))
}

fn read_texts(bytes: &[u8]) -> Vec<String> {
    // Dimensions, flags, type, then length and lower bound of the one dimension.
    let mut rest = bytes.get(20..).unwrap_or_default();
    let mut texts = Vec::new();
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let length = usize::try_from(i32::from_be_bytes(*length)).unwrap_or(0);
        let Some(text) = after.get(..length) else { break };
        texts.push(String::from_utf8_lossy(text).into_owned());
        rest = &after[length..];
    }
    texts
}

/// Whether two cells say the same. Documents do whatever their keys' order and spaces.
pub(super) fn is_same(one: Option<&[u8]>, other: Option<&[u8]>, kind: &str) -> bool {
    let (Some(one), Some(other)) = (one, other) else { return one.is_none() && other.is_none() };
    if one == other {
        return true;
    }
    // The binary form of the one begins with its version.
    let begin = match kind {
        "jsonb" => 1,
        "json" => 0,
        _ => return false,
    };
    let document = |cell: &[u8]| serde_json::from_slice::<serde_json::Value>(cell.get(begin..)?).ok();
    matches!((document(one), document(other)), (Some(one), Some(other)) if one == other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Rows {
        let mut rows = Rows::default();
        let at = DateTime::from_timestamp(1_800_000_000, 123_456_789).unwrap();
        let added = rows.add(6, |row| {
            row.put(Uuid::max()).put("käse").put(None::<i64>).put(at).put(Jsonb("{\"a\": 1}")).put(&["x", "yz"][..]);
            Ok(())
        });
        assert!(added.unwrap());
        assert!(!rows.add(6, |_| Ok(())).unwrap(), "no row");
        rows
    }

    #[test]
    fn a_row_is_read_as_it_was_put() {
        let rows = rows();
        let tuple = rows.iter().next().expect("one row");
        let kinds = ["uuid", "text", "bigint", "timestamp with time zone", "jsonb", "text[]"];
        let read: Vec<String> = cells(tuple).zip(kinds).map(|(cell, kind)| shown(cell, kind)).collect();
        let at = "2027-01-15T08:00:00.123456+00:00";
        assert_eq!(read, ["ffffffff-ffff-ffff-ffff-ffffffffffff", "käse", "NULL", at, "{\"a\": 1}", "x, yz"]);
        assert_eq!((rows.len(), cells(tuple).count()), (1, 6));
    }

    #[test]
    fn a_row_with_other_cells_than_the_table_is_refused() {
        let added = Rows::default().add(2, |row| {
            row.put(true);
            Ok(())
        });
        assert!(added.unwrap_err().to_string().contains("1 cells"));
    }

    #[test]
    fn a_row_is_known_to_be_whole_however_it_comes() {
        let rows = rows();
        let tuple = rows.iter().next().expect("one row");
        for length in 0..tuple.len() {
            assert!(matches!(extent(&tuple[..length]).unwrap(), Extent::Part), "{length}");
        }
        let followed = [tuple, TRAILER].concat();
        assert!(matches!(extent(&followed).unwrap(), Extent::Whole(length) if length == tuple.len()));
        assert!(matches!(extent(TRAILER).unwrap(), Extent::End));
    }

    #[test]
    fn documents_are_the_same_whatever_their_form() {
        let same = |one: &str, other: &str, kind| is_same(Some(one.as_bytes()), Some(other.as_bytes()), kind);
        assert!(same("{\"a\":1,\"b\":[]}", "{ \"b\": [], \"a\": 1 }", "json"));
        assert!(same("\u{1}{\"a\":1}", "\u{1}{\"a\": 1}", "jsonb"));
        assert!(!same("{\"a\":1}", "{\"a\":2}", "json"));
        assert!(!same("1", "1 ", "text"));
        assert!(!is_same(Some(b""), None, "text"));
    }
}
