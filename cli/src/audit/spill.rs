//! What is to be compared later, put aside by what it belongs to, and read again a part at a time: memory holds one
//! part, and what has not become too much. The rest lies in a file without a name, which the system takes away.

use anyhow::Context;
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, PoisonError};

/// Whatever belongs together is in the same part.
pub(super) const PARTS: usize = 128;
/// A spill holds so much in memory before it uses its file.
const MEMORY_BYTES: usize = 16 << 20;

/// One kind of records, each in the part of its key.
pub(super) struct Spill {
    kept: Mutex<Kept>,
}

struct Kept {
    parts: Vec<Part>,
    /// Bytes in all parts' memory.
    buffered: usize,
    file: Option<File>,
    /// Where the file ends.
    end: u64,
    /// Why it does not hold all that was put aside.
    failed: Option<io::Error>,
}

#[derive(Clone, Default)]
struct Part {
    memory: Vec<u8>,
    /// Pieces of the file: where they begin, and how long they are.
    pieces: Vec<(u64, usize)>,
}

impl Spill {
    pub(super) fn new() -> Self {
        let parts = vec![Part::default(); PARTS];
        Self { kept: Mutex::new(Kept { parts, buffered: 0, file: None, end: 0, failed: None }) }
    }

    /// Puts a record aside. Those of one key come back in the order in which they were put aside by one writer.
    pub(super) fn put(&self, key: &impl Hash, record: &[u8]) {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        let part = usize::try_from(hasher.finish() % PARTS as u64).unwrap_or(0);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.parts[part].memory.extend_from_slice(record);
        kept.buffered += record.len();
        if kept.buffered > MEMORY_BYTES
            && kept.failed.is_none()
            && let Err(error) = kept.flush()
        {
            kept.failed = Some(error);
        }
    }

    /// All records of a part, one after the other.
    ///
    /// # Errors
    /// When some of them could not be written, or cannot be read.
    pub(super) fn part(&self, number: usize) -> anyhow::Result<Vec<u8>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = &kept.failed {
            anyhow::bail!(
                "what is to be compared could not be put aside in {}: {error}",
                std::env::temp_dir().display()
            );
        }
        let part = &kept.parts[number];
        let length = part.pieces.iter().map(|(_, length)| length).sum::<usize>();
        let mut records = vec![0; length];
        let mut filled = 0;
        for (at, length) in &part.pieces {
            let file = kept.file.as_ref().context("no file")?;
            file.read_exact_at(&mut records[filled..filled + length], *at)?;
            filled += length;
        }
        records.extend_from_slice(&part.memory);
        Ok(records)
    }
}

impl Kept {
    /// Writes what is in memory to the file, and forgets it. After a failure nothing more is kept at all.
    fn flush(&mut self) -> io::Result<()> {
        for part in &mut self.parts {
            let memory = std::mem::take(&mut part.memory);
            self.buffered -= memory.len();
            if memory.is_empty() {
                continue;
            }
            let file = match &mut self.file {
                Some(file) => file,
                none => none.insert(tempfile::tempfile()?),
            };
            file.write_all_at(&memory, self.end)?;
            part.pieces.push((self.end, memory.len()));
            self.end += memory.len() as u64;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn every_record_comes_back_once_in_the_part_of_its_key_and_in_order() {
        let spill = Spill::new();
        // More than memory holds.
        let (keys, each) = (500_u32, 300_u32);
        let filling = [7_u8; 120];
        for n in 0..each {
            for key in 0..keys {
                let record = [&key.to_be_bytes()[..], &n.to_be_bytes(), &filling].concat();
                spill.put(&key, &record);
            }
        }
        assert!(spill.kept.lock().expect("nobody panicked").end > 0, "the file was used");
        let mut seen: BTreeMap<u32, (usize, u32)> = BTreeMap::new();
        for part in 0..PARTS {
            for record in spill.part(part).expect("read").chunks_exact(128) {
                let number = |at: usize| u32::from_be_bytes(record[at..at + 4].try_into().expect("four bytes"));
                let (key, n) = (number(0), number(4));
                let (in_part, next) = seen.entry(key).or_insert((part, 0));
                assert_eq!((*in_part, *next), (part, n), "of key {key}");
                *next += 1;
            }
        }
        assert_eq!(seen.len(), 500);
        assert!(seen.values().all(|(_, next)| *next == each));
    }
}
