//! The lines of an export, one after the other.

use crate::events::cloud::Exported;
use crate::events::names;
use crate::exit::{Code, Failure};
use crate::ports::Role;
use crate::progress::Progress;
use anyhow::{Context, anyhow};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::PathBuf;

/// No event is larger by far: a file of one endless line is no export.
const LINE_BYTES_MAX: u64 = 64 << 20;
const BUFFER_BYTES: usize = 256 << 10;
/// What every frame of zstd begins with.
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Where a store's events come from.
pub(super) struct Source {
    pub(super) role: Role,
    /// None is stdin.
    pub(super) file: Option<PathBuf>,
}

impl Source {
    pub(super) fn name(&self) -> String {
        self.file.as_ref().map_or_else(|| "stdin".to_owned(), |path| path.display().to_string())
    }

    pub(super) fn open(&self) -> anyhow::Result<Lines> {
        let (raw, bytes): (Box<dyn Read + Send>, _) = match &self.file {
            Some(path) => {
                let file = File::open(path)?;
                let bytes = file.metadata()?.len();
                (Box::new(file), Some(bytes))
            }
            None => (Box::new(io::stdin()), None),
        };
        Lines::new(raw, bytes, &format!("Importing {}", self.role.name()))
    }
}

/// The lines of an export, one after the other; how far they are read is shown.
pub(super) struct Lines {
    reader: Box<dyn BufRead + Send>,
    line: Vec<u8>,
    number: i64,
    progress: Progress,
}

impl Lines {
    fn new(raw: Box<dyn Read + Send>, bytes: Option<u64>, what: &str) -> anyhow::Result<Self> {
        let progress = Progress::new(what, "bytes", bytes);
        let counted = Counted { raw, progress: progress.clone() };
        let mut reader = BufReader::with_capacity(BUFFER_BYTES, counted);
        let is_zstd = reader.fill_buf()?.starts_with(&ZSTD);
        let reader: Box<dyn BufRead + Send> = if is_zstd {
            Box::new(BufReader::with_capacity(BUFFER_BYTES, zstd::Decoder::with_buffer(reader)?))
        } else {
            Box::new(reader)
        };
        Ok(Self { reader, line: Vec::new(), number: 0, progress })
    }

    /// How many lines are read.
    pub(super) fn number(&self) -> i64 {
        self.number
    }

    /// Reads so many lines without a look at them; how many there were.
    pub(super) fn skip(&mut self, count: i64) -> anyhow::Result<i64> {
        let mut skipped = 0;
        while skipped < count && self.read()? {
            skipped += 1;
        }
        Ok(skipped)
    }

    /// All lines are read.
    pub(super) fn finish(&self) {
        self.progress.finish();
    }

    /// Reads a line; none at the end.
    fn read(&mut self) -> anyhow::Result<bool> {
        self.line.clear();
        let number = self.number + 1;
        let read = (&mut self.reader).take(LINE_BYTES_MAX).read_until(b'\n', &mut self.line);
        if read.with_context(|| format!("line {number}"))? == 0 {
            return Ok(false);
        }
        self.number = number;
        Ok(true)
    }

    /// The next event of a role; none at the end.
    pub(super) fn next(&mut self, role: Role) -> anyhow::Result<Option<Exported>> {
        if !self.read()? {
            return Ok(None);
        }
        let number = self.number;
        let refused =
            |error: anyhow::Error| Failure::new(Code::Failed, format!("line {number} is not accepted: {error:#}"));
        if self.line.pop() != Some(b'\n') {
            return Err(refused(anyhow!("the export ends within it; the same export again completes it")).into());
        }
        let line = std::str::from_utf8(&self.line).map_err(|error| refused(error.into()))?;
        let event = Exported::read(line, role.name()).map_err(refused)?;
        if names::kinds(role).all(|known| known != event.aggregate_type) {
            return Err(refused(anyhow!("the {} has no {}", role.title(), event.aggregate_type)).into());
        }
        Ok(Some(event))
    }
}

/// Shows how much was read.
struct Counted {
    raw: Box<dyn Read + Send>,
    progress: Progress,
}

impl Read for Counted {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.raw.read(into)?;
        self.progress.advance(read as u64);
        Ok(read)
    }
}
