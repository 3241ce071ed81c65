//! Where an audit begins that does not look at everything.

use super::findings::Standing;
use super::snapshot::{Moment, Snapshot};
use super::topics::{Bounds, Topics};
use crate::args;
use crate::exit::{Code, Failure};
use crate::ports::Role;
use anyhow::Context;
use broker::TopicPartition;
use chrono::{DateTime, TimeDelta, Utc};
use event_store::Cursor;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::str::FromStr;

/// Clocks of the databases and of those who publish differ by less.
const CLOCKS_MAX: TimeDelta = TimeDelta::seconds(60);
const FORM: u32 = 1;

/// From when on, as the command line has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// From this time.
    Time(args::Moment),
    /// From after this position of each event table.
    Position(i64),
}

impl FromStr for Since {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        match text.parse() {
            Ok(position) if is_number => Ok(Self::Position(position)),
            _ => {
                text.parse().map(Self::Time).map_err(|error: String| format!("{error}; or a position, such as 120000"))
            }
        }
    }
}

/// Where the last audit ended: the next one goes on from there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    form: u32,
    /// When that was.
    pub at: DateTime<Utc>,
    /// By role: everything up to there was seen.
    stores: BTreeMap<String, Place>,
    /// By topic and partition: the first offset that was not.
    topics: BTreeMap<String, i64>,
    /// By role, consumer, topic and partition: how far it had come.
    consumers: BTreeMap<String, Reached>,
}

/// How far a consumer had come in a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Reached {
    epoch: i64,
    next_offset: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Place {
    transaction_id: u64,
    position: i64,
}

impl Mark {
    pub(super) fn new(
        at: DateTime<Utc>,
        stores: &[(Role, Cursor)],
        topics: &Bounds,
        consumers: &[(Role, Standing)],
    ) -> Self {
        let reached = |standing: &Standing| Reached { epoch: standing.epoch, next_offset: standing.next_offset };
        let place = |cursor: &Cursor| Place { transaction_id: cursor.transaction_id, position: cursor.position };
        Self {
            form: FORM,
            at,
            stores: stores.iter().map(|(role, cursor)| (role.name().to_owned(), place(cursor))).collect(),
            topics: topics.iter().map(|(place, (_, end))| (place.to_string(), *end)).collect(),
            consumers: consumers.iter().map(|(role, standing)| (name(*role, standing), reached(standing))).collect(),
        }
    }

    /// Offsets only grow, and an epoch never falls: whoever stands before the place where it stood. Offsets that an
    /// operator has set since then (`moved`, as the record of that names them) are no news.
    pub(super) fn fallen(&self, role: Role, standing: &Standing, moved: &[(String, String)]) -> Option<String> {
        let before = self.consumers.get(&name(role, standing))?;
        let Standing { consumer, place, epoch, next_offset } = standing;
        let was_moved = moved.iter().any(|(mover, at)| mover == consumer && *at == place.to_string());
        match () {
            () if *epoch < before.epoch => Some(format!("its epoch was {} and is {epoch}", before.epoch)),
            () if *next_offset < before.next_offset && !was_moved => {
                Some(format!("it stood at {} and stands at {next_offset}", before.next_offset))
            }
            () => None,
        }
    }

    /// The one in a file; none, where there is no such file.
    ///
    /// # Errors
    /// When it is no mark.
    pub fn read(file: &Path) -> anyhow::Result<Option<Self>> {
        let text = match std::fs::read(file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| file.display().to_string()),
        };
        let mark = serde_json::from_slice(&text).ok().filter(|mark: &Self| mark.form == FORM);
        let is_none = || Failure::new(Code::Usage, format!("{} holds no mark of an audit", file.display()));
        Ok(Some(mark.ok_or_else(is_none)?))
    }

    /// Writes it into a file; whoever reads that finds this one or the one before, whole.
    ///
    /// # Errors
    /// Those of the file.
    pub fn write(&self, file: &Path) -> anyhow::Result<()> {
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let written = || -> anyhow::Result<()> {
            let mut new = tempfile::NamedTempFile::new_in(folder)?;
            serde_json::to_writer_pretty(&mut new, self)?;
            new.write_all(b"\n")?;
            new.as_file().sync_all()?;
            new.persist(file)?;
            Ok(())
        };
        written().with_context(|| format!("{} cannot be written", file.display()))
    }
}

fn name(role: Role, Standing { consumer, place, .. }: &Standing) -> String {
    format!("{} {consumer} {place}", role.name())
}

/// What an audit looks at.
#[derive(Clone, Debug)]
pub(super) enum From {
    Everything,
    Since(Since, DateTime<Utc>),
    Mark(Mark),
}

impl From {
    pub(super) fn is_everything(&self) -> bool {
        matches!(self, Self::Everything)
    }

    /// The last event of a store that is not looked at.
    pub(super) async fn cursor(&self, role: Role, snapshot: &mut Snapshot) -> anyhow::Result<Cursor> {
        let first = match self {
            Self::Everything => return Ok(Cursor::default()),
            Self::Mark(mark) => {
                let place = mark.stores.get(role.name());
                return Ok(place.map_or_else(Cursor::default, |place| Cursor {
                    transaction_id: place.transaction_id,
                    position: place.position,
                }));
            }
            Self::Since(Since::Time(moment), now) => {
                snapshot.first("recorded_at >= $1", |query| query.bind(moment.resolve(*now))).await?
            }
            Self::Since(Since::Position(position), _) => {
                snapshot.first("position > $1", |query| query.bind(*position)).await?
            }
        };
        // Before the first one; behind everything, where there is none.
        Ok(match first {
            Some(Cursor { transaction_id, position }) => Cursor { transaction_id, position: position - 1 },
            None => Cursor { transaction_id: u64::MAX >> 1, position: 0 },
        })
    }

    /// Where to begin in each partition: what was published later lies behind it.
    pub(super) async fn offsets(
        &self,
        topics: &Topics,
        bounds: &Bounds,
        earliest: Option<DateTime<Utc>>,
    ) -> Result<BTreeMap<TopicPartition, i64>, String> {
        let mut offsets = BTreeMap::new();
        for (place, bounds) in bounds {
            let offset = match (self, earliest) {
                (Self::Everything, _) => 0,
                (Self::Mark(mark), _) => mark.topics.get(&place.to_string()).copied().unwrap_or(0),
                (Self::Since(..), None) => bounds.1,
                (Self::Since(..), Some(at)) => {
                    let at = at.checked_sub_signed(CLOCKS_MAX).unwrap_or(at);
                    topics.offset_at(place, *bounds, at).await.map_err(|error| error.to_string())?
                }
            };
            offsets.insert(place.clone(), offset);
        }
        Ok(offsets)
    }
}

/// Everything that is behind this may still be committed by somebody.
pub(super) async fn end(moment: &Moment) -> anyhow::Result<Cursor> {
    let mut snapshot = moment.look().await?;
    let oldest: String = sqlx::query_scalar("SELECT pg_snapshot_xmin(pg_current_snapshot())::text")
        .fetch_one(snapshot.connection())
        .await?;
    snapshot.close().await;
    Ok(Cursor { transaction_id: oldest.parse::<u64>()?.saturating_sub(1), position: i64::MAX })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_a_position_and_all_else_a_time() {
        assert_eq!("120000".parse(), Ok(Since::Position(120_000)));
        assert!(matches!("-15m".parse(), Ok(Since::Time(_))));
        assert!(matches!("2026-01-31T12:00:00Z".parse(), Ok(Since::Time(_))));
        for bad in ["", "12x", "yesterday", "99999999999999999999"] {
            assert!(bad.parse::<Since>().is_err_and(|error| error.contains("position")), "{bad}");
        }
    }

    #[test]
    fn a_mark_is_read_as_it_was_written_and_nothing_else_is_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("audit.mark");
        assert_eq!(Mark::read(&file).expect("no file"), None);
        let cursor = Cursor { transaction_id: 7, position: i64::MAX };
        let bounds = Bounds::from([(TopicPartition::new("order_events", 1), (0, 12))]);
        let mark = Mark::new(DateTime::UNIX_EPOCH, &[(Role::Order, cursor)], &bounds, &[]);
        mark.write(&file).expect("written");
        assert_eq!(Mark::read(&file).expect("read"), Some(mark));
        std::fs::write(&file, "{}").expect("written");
        assert!(Mark::read(&file).is_err());
    }

    #[test]
    fn whoever_goes_back_is_found_unless_an_operator_moved_it() {
        let place = TopicPartition::new("order_events", 1);
        let stands =
            |epoch, next_offset| Standing { consumer: "order".to_owned(), place: place.clone(), epoch, next_offset };
        let mark = Mark::new(DateTime::UNIX_EPOCH, &[], &Bounds::new(), &[(Role::Order, stands(3, 10))]);
        let fallen = |standing| mark.fallen(Role::Order, &standing, &[]);
        assert_eq!(fallen(stands(3, 10)), None);
        assert_eq!(fallen(stands(4, 12)), None);
        assert!(fallen(stands(2, 12)).is_some_and(|how| how.contains("epoch")));
        assert!(fallen(stands(4, 9)).is_some_and(|how| how.contains("stands at 9")));
        let moved = [("order".to_owned(), place.to_string())];
        assert_eq!(mark.fallen(Role::Order, &stands(4, 9), &moved), None);
        assert_eq!(mark.fallen(Role::Payment, &stands(1, 1), &[]), None, "another's");
    }
}
