//! A walk through streams of one kind: each is folded anew, event by event, and compared with what others made
//! of it: the read model, the snapshots, the topics.

use super::findings::Findings;
use super::snapshot::{Scope, Snapshot};
use crate::progress::Progress;
use anyhow::Context;
use cqrs_es::{Aggregate, DomainEvent};
use event_store::{Cursor, RecordedEvent, is_current};
use kernel::Decide;
use sqlx::FromRow;
use sqlx::postgres::PgRow;
use std::collections::{HashMap, HashSet};
use uuid::Uuid;

/// One kind of streams, with the read model that is made of it.
pub(super) trait Subject: Send {
    /// What folds.
    type Aggregate: Decide;
    /// A row of the read model; it may leave columns out.
    type Row: for<'r> FromRow<'r, PgRow> + Send + Unpin;

    /// The name of the read model's checkpoint, which is also that of its table.
    const TABLE: &'static str;
    /// The column with the stream's id.
    const KEY: &'static str;
    /// Event types of which a stream has one at most.
    const ONCE: &'static [&'static str];
    /// Event types of which one command may record several.
    const MANY: &'static [&'static str] = &[];
    /// Event types whose command handles what others sent before: any number of effects are its own.
    const GATHERING: &'static [&'static str] = &[];

    /// The row's stream.
    fn key(row: &Self::Row) -> Uuid;

    /// The last event that is in the row.
    fn sequence(row: &Self::Row) -> i64;

    /// What the row has otherwise than the state has it.
    fn difference(&self, row: &Self::Row, state: &Self::Aggregate) -> Option<&'static str>;

    /// Whether a stream in this state has a row.
    fn has_row(_state: &Self::Aggregate) -> bool {
        true
    }

    /// What else is to be read for a page: `ids` are the streams that begin in it.
    fn prepare(
        &mut self,
        _snapshot: &mut Snapshot,
        _ids: &[Uuid],
        _page: &[RecordedEvent],
        _findings: &mut Findings,
    ) -> impl Future<Output = anyhow::Result<()>> + Send {
        async { Ok(()) }
    }

    /// Looks at an event and the state before it.
    fn event(
        &mut self,
        _id: Uuid,
        _before: &Self::Aggregate,
        _event: &<Self::Aggregate as Aggregate>::Event,
        _findings: &mut Findings,
    ) {
    }

    /// Looks at the state after an event.
    fn state(&mut self, _id: Uuid, _sequence: u64, _state: &Self::Aggregate, _findings: &mut Findings) {}

    /// Looks at the state at the end of the stream.
    fn end(&mut self, _id: Uuid, _sequence: u64, _state: Self::Aggregate, _findings: &mut Findings) {}
}

/// Walks through streams of a kind.
pub(super) async fn walk<S: Subject>(
    snapshot: &mut Snapshot,
    findings: &mut Findings,
    mut subject: S,
    scope: &Scope,
    progress: &Progress,
) -> anyhow::Result<()> {
    let kind = S::Aggregate::TYPE;
    let checkpoint = snapshot.checkpoint(S::TABLE).await?;
    let mut current: Option<Stream<S>> = None;
    let mut after = scope.beginning();
    loop {
        let page = snapshot.events(kind, scope, &after).await.with_context(|| format!("{kind} events"))?;
        let Some(last) = page.last() else { break };
        progress.advance(page.len() as u64);
        after = (last.aggregate_id.clone(), i64::try_from(last.sequence)?);
        let ids = beginning(&page, current.as_ref().map(|stream| stream.name.as_str()));
        let mut rows: HashMap<Uuid, S::Row> = read_model::<S>(snapshot, &ids).await?;
        subject.prepare(snapshot, &ids, &page, findings).await?;
        for event in page {
            if current.as_ref().is_none_or(|stream| stream.name != event.aggregate_id) {
                if let Some(ended) = current.take() {
                    ended.end(&mut subject, findings);
                }
                let Ok(id) = Uuid::parse_str(&event.aggregate_id) else {
                    findings.checks.readable.violated(|| format!("{kind} {}: its id is no UUID", event.aggregate_id));
                    continue;
                };
                current = Some(Stream::new(id, event.aggregate_id.clone(), rows.remove(&id)));
            }
            if let Some(stream) = &mut current {
                stream.take(&event, checkpoint, &mut subject, findings);
            }
        }
    }
    if let Some(ended) = current {
        ended.end(&mut subject, findings);
    }
    Ok(())
}

/// The streams that begin in this page.
fn beginning(page: &[RecordedEvent], current: Option<&str>) -> Vec<Uuid> {
    let mut last = current;
    let mut ids = Vec::new();
    for event in page {
        if last != Some(event.aggregate_id.as_str()) {
            last = Some(&event.aggregate_id);
            ids.extend(Uuid::parse_str(&event.aggregate_id));
        }
    }
    ids
}

async fn read_model<S: Subject>(snapshot: &mut Snapshot, ids: &[Uuid]) -> anyhow::Result<HashMap<Uuid, S::Row>> {
    let query = format!("SELECT * FROM {} WHERE {} = ANY($1)", S::TABLE, S::KEY);
    let rows = snapshot.rows::<S::Row>(&query, ids).await.with_context(|| format!("the read model {}", S::TABLE))?;
    Ok(rows.into_iter().map(|row| (S::key(&row), row)).collect())
}

/// Rows that no stream accounts for.
pub(super) async fn orphans<S: Subject>(snapshot: &mut Snapshot, findings: &mut Findings) -> anyhow::Result<()> {
    let (table, key) = (S::TABLE, S::KEY);
    let query = format!(
        "SELECT r.{key}::text, count(*) OVER () FROM {table} r
          WHERE NOT EXISTS (SELECT FROM events e WHERE e.aggregate_type = $1 AND e.aggregate_id = r.{key}::text)
          ORDER BY 1 LIMIT 20"
    );
    let rows: Vec<(String, i64)> =
        sqlx::query_as(&query).bind(S::Aggregate::TYPE).fetch_all(snapshot.connection()).await?;
    let count = rows.first().map_or(0, |(_, count)| u64::try_from(*count).unwrap_or(0));
    let named = rows.into_iter().map(|(id, _)| format!("{table} {id}: a row without events"));
    findings.checks.projections.checked(count);
    findings.checks.projections.violated_by(count, named);
    Ok(())
}

/// A stream, as far as it was walked through.
struct Stream<S: Subject> {
    id: Uuid,
    name: String,
    row: Option<S::Row>,
    state: S::Aggregate,
    sequence: u64,
    events: u64,
    is_contiguous: bool,
    cursor: Cursor,
    /// The last event that the read model must have.
    projected: u64,
    /// Whether it must then have a row.
    has_row: bool,
    /// What the row has otherwise than the fold up to its sequence.
    difference: Option<&'static str>,
    is_readable: bool,
    /// The event types so far, and how many there are of each.
    types: Vec<(String, u64)>,
    /// By type: which command it was that recorded one.
    effects: HashSet<(usize, Uuid)>,
    /// The last command that handles what others sent.
    gathering: Option<Uuid>,
}

impl<S: Subject> Stream<S> {
    fn new(id: Uuid, name: String, row: Option<S::Row>) -> Self {
        Self {
            id,
            name,
            row,
            state: S::Aggregate::default(),
            sequence: 0,
            events: 0,
            is_contiguous: true,
            cursor: Cursor::default(),
            projected: 0,
            has_row: false,
            difference: None,
            is_readable: true,
            types: Vec::new(),
            effects: HashSet::new(),
            gathering: None,
        }
    }

    fn take(&mut self, recorded: &RecordedEvent, checkpoint: Cursor, subject: &mut S, findings: &mut Findings) {
        let (id, kind) = (self.id, S::Aggregate::TYPE);
        self.events += 1;
        self.is_contiguous &= recorded.sequence == self.events;
        self.sequence = recorded.sequence;
        if recorded.cursor < self.cursor {
            let sequence = self.sequence;
            findings
                .checks
                .contiguous
                .violated(|| format!("{kind} {id}: event {sequence} was committed before the one before"));
        }
        self.cursor = self.cursor.max(recorded.cursor);
        findings.checks.readable.checked(1);
        match self.decode(recorded).and_then(|events| {
            findings.messages.take(kind, id, recorded).map_err(|error| error.to_string())?;
            Ok(events)
        }) {
            Ok(events) => {
                for event in events {
                    subject.event(id, &self.state, &event, findings);
                    self.state.apply(event);
                }
                subject.state(id, self.sequence, &self.state, findings);
            }
            Err(why) => {
                self.is_readable = false;
                findings.checks.readable.violated(|| why);
            }
        }
        if recorded.cursor <= checkpoint {
            (self.projected, self.has_row) = (self.sequence, S::has_row(&self.state));
        }
        if let Some(row) = self.row.as_ref().filter(|row| u64::try_from(S::sequence(row)) == Ok(self.sequence)) {
            self.difference = subject.difference(row, &self.state);
        }
        self.effect(recorded, findings);
    }

    fn decode(&self, recorded: &RecordedEvent) -> Result<Vec<<S::Aggregate as Aggregate>::Event>, String> {
        let events: Vec<_> = recorded.decode_all::<S::Aggregate>().map_err(|error| error.to_string())?.collect();
        // One of an earlier form may be another event today.
        let is_current = is_current::<S::Aggregate>(&recorded.event_type, &recorded.event_version);
        match events.iter().find(|event| is_current && event.event_type() != recorded.event_type) {
            None => Ok(events),
            Some(other) => {
                let (kind, id, sequence, called) = (S::Aggregate::TYPE, self.id, self.sequence, &recorded.event_type);
                Err(format!("{kind} {id} event {sequence} is called {called} and is {}", other.event_type()))
            }
        }
    }

    /// No command has two effects on a stream.
    fn effect(&mut self, recorded: &RecordedEvent, findings: &mut Findings) {
        let (kind, id, sequence, name) = (S::Aggregate::TYPE, self.id, self.sequence, recorded.event_type.as_str());
        let number = self.types.iter().position(|(known, _)| known == name).unwrap_or_else(|| {
            self.types.push((name.to_owned(), 0));
            self.types.len() - 1
        });
        self.types[number].1 += 1;
        findings.checks.commands.checked(1);
        let command = recorded.metadata.command_id;
        if S::GATHERING.contains(&name) {
            self.gathering = Some(command);
        }
        let gathers = self.gathering == Some(command);
        if S::ONCE.contains(&name) && self.types[number].1 > 1 {
            findings.checks.commands.violated(|| format!("{kind} {id} event {sequence}: {name} again"));
        } else if !gathers && !S::MANY.contains(&name) && !self.effects.insert((number, command)) {
            findings
                .checks
                .commands
                .violated(|| format!("{kind} {id} event {sequence}: {name} by command {command} again"));
        }
    }

    fn end(self, subject: &mut S, findings: &mut Findings) {
        let (table, id, projected) = (S::TABLE, self.id, self.projected);
        findings.checks.contiguous.checked(1);
        if !self.is_contiguous {
            let (kind, events, last) = (S::Aggregate::TYPE, self.events, self.sequence);
            findings.checks.contiguous.violated(|| format!("{kind} {id}: {events} events, the last is {last}"));
        }
        // What cannot be read cannot be folded; that is told already.
        if self.is_readable {
            findings.checks.projections.checked(1);
            let stands = self.row.as_ref().map(S::sequence);
            match stands {
                None if self.has_row => {
                    findings
                        .checks
                        .projections
                        .violated(|| format!("{table} {id}: no row, and event {projected} is projected"));
                }
                Some(stands) if u64::try_from(stands) != Ok(projected) => {
                    findings.checks.projections.violated(|| {
                        format!("{table} {id}: the row has event {stands}, the projection event {projected}")
                    });
                }
                _ => {
                    if let Some(column) = self.difference {
                        findings
                            .checks
                            .projections
                            .violated(|| format!("{table} {id}: {column} is not as the events have it"));
                    }
                }
            }
        }
        subject.end(id, self.sequence, self.state, findings);
    }
}
