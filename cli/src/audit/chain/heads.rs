//! The ends of streams: what no chain vouches for. Written into a file that is kept elsewhere, they tell later what was
//! taken from a stream's end, or that all of it was written anew.

use crate::audit::report::Tally;
use crate::audit::snapshot::Moment;
use crate::exit::{Code, Failure};
use crate::ports::Role;
use anyhow::Context;
use chrono::{DateTime, SecondsFormat, Utc};
use event_store::chain::Hash;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use tempfile::NamedTempFile;

const FORM: u32 = 1;
/// Heads that are looked for in one query.
const HEADS_AT_ONCE: usize = 1_000;

/// The first line of a file of heads.
#[derive(Serialize, Deserialize)]
struct Title {
    sagashop_heads: u32,
    at: String,
}

/// A stream's last event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::audit) struct Head<'a> {
    /// The role.
    pub(in crate::audit) store: Cow<'a, str>,
    #[serde(rename = "type")]
    pub(in crate::audit) kind: Cow<'a, str>,
    pub(in crate::audit) id: Cow<'a, str>,
    pub(in crate::audit) sequence: i64,
    pub(in crate::audit) hash: Hash,
}

/// Where heads are written, if anywhere.
pub(super) struct Heads {
    file: Option<PathBuf>,
    written: Mutex<Option<(BufWriter<NamedTempFile>, u64)>>,
}

impl Heads {
    /// Begins a file; nobody sees it before it is whole.
    pub(super) fn open(file: Option<&Path>) -> anyhow::Result<Arc<Self>> {
        let begin = |file: &Path| -> anyhow::Result<_> {
            let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            let mut writer = BufWriter::new(NamedTempFile::new_in(folder)?);
            let at = Utc::now().to_rfc3339_opts(SecondsFormat::Secs, true);
            serde_json::to_writer(&mut writer, &Title { sagashop_heads: FORM, at })?;
            writer.write_all(b"\n")?;
            Ok((writer, 0))
        };
        let begun = file.map(|file| begin(file).with_context(|| format!("{} cannot be written", file.display())));
        Ok(Arc::new(Self { file: file.map(Path::to_owned), written: Mutex::new(begun.transpose()?) }))
    }

    pub(super) fn write(&self, head: &Head<'_>) -> anyhow::Result<()> {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((writer, heads)) = &mut *written {
            serde_json::to_writer(&mut *writer, head)?;
            writer.write_all(b"\n")?;
            *heads += 1;
        }
        Ok(())
    }

    /// Ends the file, and tells how many heads it has.
    pub(super) fn finish(&self) -> anyhow::Result<u64> {
        let written = self.written.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (Some((writer, heads)), Some(file)) = (written, &self.file) else { return Ok(0) };
        let ended = || -> anyhow::Result<()> {
            let new = writer.into_inner().map_err(std::io::IntoInnerError::into_error)?;
            new.as_file().sync_all()?;
            new.persist(file)?;
            Ok(())
        };
        ended().with_context(|| format!("{} cannot be written", file.display()))?;
        Ok(heads)
    }
}

/// What became of the heads in a file.
#[derive(Default)]
pub(super) struct Compared {
    tally: Tally,
    at: Option<DateTime<Utc>>,
}

impl Compared {
    /// Looks for the heads of a store.
    pub(super) async fn store(&mut self, moment: &Moment, file: &Path) -> anyhow::Result<()> {
        let no_heads = || Failure::new(Code::Usage, format!("{} holds no heads of streams", file.display()));
        let reader = BufReader::new(File::open(file).with_context(|| file.display().to_string())?);
        let mut lines = reader.lines();
        let title: Title = match lines.next() {
            Some(line) => serde_json::from_str(&line?).map_err(|_| no_heads())?,
            None => return Err(no_heads().into()),
        };
        if title.sagashop_heads != FORM {
            return Err(no_heads().into());
        }
        self.at = DateTime::parse_from_rfc3339(&title.at).ok().map(|at| at.with_timezone(&Utc));
        let mut snapshot = moment.look().await?;
        let mut batch = Vec::with_capacity(HEADS_AT_ONCE);
        for line in lines {
            let head: Head<'static> = serde_json::from_str(&line?).map_err(|_| no_heads())?;
            if head.store != moment.role.name() {
                continue;
            }
            batch.push(head);
            if batch.len() == HEADS_AT_ONCE {
                let found = snapshot.hashes(&batch).await?;
                self.compare(moment.role, &batch, &found);
                batch.clear();
            }
        }
        let found = snapshot.hashes(&batch).await?;
        self.compare(moment.role, &batch, &found);
        snapshot.close().await;
        Ok(())
    }

    fn compare(&mut self, role: Role, heads: &[Head<'_>], found: &[Option<Hash>]) {
        self.tally.checked(heads.len() as u64);
        for (Head { kind, id, sequence, hash, .. }, found) in heads.iter().zip(found) {
            match found {
                Some(found) if found == hash => {}
                Some(_) => self.tally.violated(|| format!("{kind} {id}: event {sequence} is another one than it was")),
                None => self
                    .tally
                    .violated(|| format!("{kind} {id}: event {sequence} is gone from the {}'s store", role.title())),
            }
        }
    }

    pub(super) fn tally(self) -> Tally {
        let mut tally = self.tally;
        if let Some(at) = self.at {
            tally.note(format!("as they were at {}", at.to_rfc3339_opts(SecondsFormat::Secs, true)));
        }
        tally
    }
}
