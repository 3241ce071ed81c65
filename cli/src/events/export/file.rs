//! The file of an export: lines, or frames of so many lines each, compressed.
//!
//! What a run that was ended has left is cut back to its last whole line, or frame. Frames always begin at the same
//! lines, so that a file says nothing of how often its export was ended.

use crate::exit::{Code, Failure};
use anyhow::Context;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, BufWriter, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Lines of a frame.
const FRAME_LINES: u64 = 10_000;
/// zstd's usual.
const LEVEL: i32 = 3;
const BUFFER_BYTES: usize = 256 << 10;

/// What is kept of a file.
pub(super) struct Kept {
    pub(super) lines: u64,
    pub(super) bytes: u64,
    /// The last line.
    pub(super) last: Option<String>,
}

const NOTHING: Kept = Kept { lines: 0, bytes: 0, last: None };

/// Opens a file that this process alone writes, and its owner alone reads.
pub(super) fn open(path: &Path) -> anyhow::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let file = options.open(path).with_context(|| path.display().to_string())?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            let message = format!("{} is being written by another process", path.display());
            Err(Failure::new(Code::InUse, message).into())
        }
        Err(TryLockError::Error(error)) => Err(error).with_context(|| path.display().to_string()),
    }
}

/// Cuts a file, and goes to its end.
pub(super) fn cut(mut file: &File, bytes: u64) -> io::Result<()> {
    file.set_len(bytes)?;
    file.seek(SeekFrom::Start(bytes)).map(|_| ())
}

/// The whole lines of a file.
pub(super) fn kept(file: &File) -> io::Result<Kept> {
    let mut reader = BufReader::with_capacity(BUFFER_BYTES, file);
    let (mut kept, mut line) = (NOTHING, Vec::new());
    loop {
        line.clear();
        let read = reader.read_until(b'\n', &mut line)?;
        if line.pop() != Some(b'\n') {
            return Ok(kept);
        }
        kept.lines += 1;
        kept.bytes += read as u64;
        kept.last = Some(String::from_utf8_lossy(&line).into_owned());
    }
}

/// The full frames of a file.
pub(super) fn kept_zstd(file: &File) -> io::Result<Kept> {
    let mut reader = BufReader::with_capacity(BUFFER_BYTES, file);
    let mut kept = NOTHING;
    while !reader.fill_buf()?.is_empty() {
        // One that was cut, or is no frame: it is written anew, from here on.
        let Ok((lines, last)) = frame(&mut reader) else { break };
        if lines != FRAME_LINES {
            break;
        }
        kept = Kept { lines: kept.lines + lines, bytes: reader.stream_position()?, last: Some(last) };
    }
    Ok(kept)
}

fn frame(reader: &mut BufReader<&File>) -> io::Result<(u64, String)> {
    let mut frame = BufReader::new(zstd::Decoder::with_buffer(reader)?.single_frame());
    let (mut lines, mut line, mut last) = (0, Vec::new(), Vec::new());
    while frame.read_until(b'\n', &mut line)? > 0 {
        lines += 1;
        std::mem::swap(&mut line, &mut last);
        line.clear();
    }
    Ok((lines, String::from_utf8_lossy(&last).trim_end().to_owned()))
}

/// What takes lines.
pub(super) trait Sink {
    /// Takes one, with its line break.
    fn line(&mut self, line: &[u8]) -> io::Result<()>;

    /// There are no more.
    fn end(&mut self) -> io::Result<()>;
}

/// Lines as they are.
pub(super) struct Plain<W: Write>(BufWriter<W>);

impl<W: Write> Plain<W> {
    pub(super) fn new(out: W) -> Self {
        Self(BufWriter::with_capacity(BUFFER_BYTES, out))
    }
}

impl<W: Write> Sink for Plain<W> {
    fn line(&mut self, line: &[u8]) -> io::Result<()> {
        self.0.write_all(line)
    }

    fn end(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Frames of lines.
pub(super) struct Zstd<W: Write> {
    /// Of the frame that is being written; none between two.
    frame: Option<zstd::Encoder<'static, W>>,
    /// Between two.
    out: Option<W>,
    lines: u64,
}

impl<W: Write> Zstd<W> {
    pub(super) fn new(out: W) -> Self {
        Self { frame: None, out: Some(out), lines: 0 }
    }

    fn frame(&mut self) -> io::Result<&mut zstd::Encoder<'static, W>> {
        if let Some(out) = self.out.take() {
            let mut encoder = zstd::Encoder::new(out, LEVEL)?;
            // A frame that was damaged is no frame.
            encoder.include_checksum(true)?;
            self.frame = Some(encoder);
        }
        self.frame.as_mut().ok_or_else(|| io::Error::other("an earlier write failed"))
    }
}

impl<W: Write> Sink for Zstd<W> {
    fn line(&mut self, line: &[u8]) -> io::Result<()> {
        self.frame()?.write_all(line)?;
        self.lines += 1;
        if self.lines == FRAME_LINES { self.end() } else { Ok(()) }
    }

    fn end(&mut self) -> io::Result<()> {
        if let Some(frame) = self.frame.take() {
            let mut out = frame.finish()?;
            out.flush()?;
            self.out = Some(out);
        }
        self.lines = 0;
        Ok(())
    }
}
