use super::{all, failed, open};
use crate::args::{GlobalArgs, ProjectionListArgs, roles_of};
use crate::exit::Code;
use crate::output::{self, Row};
use chrono::{DateTime, SecondsFormat, Utc};
use runtime::projection::{State, Table, states};
use serde::Serialize;

/// A read model as it stands.
#[derive(Debug, Serialize)]
struct Line {
    projection: &'static str,
    service: &'static str,
    /// `serving`, `outdated`, or what a rebuild is doing.
    state: String,
    lag_events: i64,
    lag_seconds: f64,
    /// Of the code, and of the rows.
    version: i32,
    rows_version: Option<i32>,
    rows: i64,
    bytes: i64,
    rebuilt_at: Option<DateTime<Utc>>,
    rebuild_seconds: Option<f64>,
    /// The table that served before, if it is kept.
    old_bytes: Option<i64>,
}

impl Line {
    fn of(service: &'static str, table: &Table, state: State) -> Self {
        Self {
            projection: table.name,
            service,
            state: told(table, &state),
            lag_events: state.lag_events,
            lag_seconds: state.lag_seconds,
            version: table.version,
            rows_version: state.version,
            rows: state.rows,
            bytes: state.bytes,
            rebuilt_at: state.rebuilt_at,
            rebuild_seconds: state.rebuild_seconds,
            old_bytes: state.old_bytes,
        }
    }
}

fn told(table: &Table, state: &State) -> String {
    if let Some(underway) = &state.underway {
        let phase = underway.phase.replace('_', " ");
        let percent = match underway.total {
            total if total > 0 && underway.phase == "filling" => {
                format!(" {} %", (underway.events * 100 / total).min(100))
            }
            _ => String::new(),
        };
        let end = if underway.is_running { "" } else { ", stopped" };
        return format!("rebuilding ({phase}{percent}{end})");
    }
    match state.version {
        Some(version) if version < table.version => "outdated".to_owned(),
        Some(version) if version > table.version => "newer".to_owned(),
        _ => "serving".to_owned(),
    }
}

impl Row for Line {
    const COLUMNS: &'static [&'static str] =
        &["projection", "service", "state", "lag", "version", "rows", "size", "last rebuild", "old table"];

    fn cells(&self) -> Vec<String> {
        let lag = match self.lag_events {
            0 => "0".to_owned(),
            events => format!("{events} events, {:.1} s", self.lag_seconds),
        };
        let version = match self.rows_version {
            Some(rows) if rows != self.version => format!("{rows} (code {})", self.version),
            _ => self.version.to_string(),
        };
        let rebuilt = self.rebuilt_at.map_or("never".to_owned(), |at| {
            let seconds = self.rebuild_seconds.map(|seconds| format!(", {seconds:.1} s")).unwrap_or_default();
            at.to_rfc3339_opts(SecondsFormat::Secs, true) + &seconds
        });
        vec![
            self.projection.to_owned(),
            self.service.to_owned(),
            self.state.clone(),
            lag,
            version,
            format!("~{}", self.rows),
            size(self.bytes),
            rebuilt,
            self.old_bytes.map_or("-".to_owned(), size),
        ]
    }
}

fn size(bytes: i64) -> String {
    match bytes {
        0..1_048_576 => format!("{} kB", bytes / 1_024),
        _ => format!("{} MB", bytes / 1_048_576),
    }
}

pub(super) async fn list(global: &GlobalArgs, args: &ProjectionListArgs) -> anyhow::Result<Code> {
    let roles = roles_of(&args.service);
    let named = all().into_iter().filter(|named| roles.contains(&named.role)).collect();
    let mut lines = Vec::new();
    for (named, database) in open(global, &args.database, named).await? {
        let table = named.model.table();
        let state = states(&database, &[table]).await.map_err(|error| failed(&named, error))?;
        lines.extend(state.into_iter().map(|state| Line::of(named.role.name(), table, state)));
    }
    output::rows(global.output, &lines)?;
    Ok(Code::Done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use runtime::projection::Underway;

    static TABLE: Table = Table { name: "orders", version: 2, columns: &["id"], kinds: &["order"], channel: None };

    #[test]
    fn it_says_what_is_going_on() {
        let of = |version| State { version, ..State::default() };
        assert_eq!(told(&TABLE, &of(Some(2))), "serving");
        assert_eq!(told(&TABLE, &of(Some(1))), "outdated");
        assert_eq!(told(&TABLE, &of(Some(3))), "newer");
        let underway = |phase: &str, is_running| State {
            underway: Some(Underway {
                phase: phase.to_owned(),
                events: 50,
                total: 200,
                is_running,
                began_at: Utc::now(),
            }),
            ..State::default()
        };
        assert_eq!(told(&TABLE, &underway("filling", true)), "rebuilding (filling 25 %)");
        assert_eq!(told(&TABLE, &underway("catching_up", false)), "rebuilding (catching up, stopped)");
    }
}
