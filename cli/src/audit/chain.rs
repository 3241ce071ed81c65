//! `sagashop audit --chain`: whether the events of each stream are those that were appended, as far as their hash chain
//! ([`event_store::chain`]) tells. Decision 21 says how far that is.

mod heads;

use super::parallel;
use super::report::{Report, Tally};
use super::since::From;
use super::snapshot::{Moment, Scope, Snapshot};
use crate::args::AuditArgs;
use crate::exit::{Code, code_of};
use crate::output::Format;
use crate::ports::Role;
use crate::postgres::Server;
use crate::progress::Progress;
use chrono::Utc;
use event_store::Cursor;
use event_store::chain::{Hash, Link, genesis};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
pub(super) use heads::Head;
use heads::Heads;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::Semaphore;

const STREAMS_AT_ONCE: usize = 500;

/// Verifies the chains of all stores and prints what was found.
///
/// # Errors
/// When the file of heads cannot be read or written.
pub(super) async fn verify(format: Format, server: &Server, args: &AuditArgs) -> anyhow::Result<Code> {
    let began = Instant::now();
    let heads = Heads::open(args.save_heads.as_deref())?;
    let from = args.since.map_or(From::Everything, |since| From::Since(since, Utc::now()));
    let progress = Progress::new("Verifying", "events", None);
    let moments: FuturesUnordered<_> =
        Role::ALL.into_iter().map(async |role| (role, Moment::take(server, role).await)).collect();
    let mut moments: Vec<_> = moments.collect().await;
    moments.sort_by_key(|(role, _)| Role::ALL.iter().position(|other| other == role));
    let mut checks = Vec::new();
    let mut compared = heads::Compared::default();
    for (role, moment) in moments {
        let name = name(role);
        let verified = async {
            let moment = Arc::new(moment?);
            let chains = verify_store(&moment, &from, parallel(args), &heads, &progress).await?;
            if let Some(file) = &args.heads {
                compared.store(&moment, file).await?;
            }
            moment.close().await;
            anyhow::Ok(chains)
        };
        let tally = match verified.await {
            Ok(chains) => chains.tally(),
            // Nothing is wrong with the store.
            Err(error) if code_of(&error) == Code::Usage => return Err(error),
            Err(error) => Tally::unchecked(format!("{error:#}")),
        };
        checks.push(tally.into_check(name));
    }
    if args.heads.is_some() {
        checks.push(compared.tally().into_check("heads of streams"));
    }
    progress.finish();
    let report = Report::new(checks);
    report.print(format)?;
    let written = heads.finish()?;
    if let Some(file) = &args.save_heads {
        eprintln!("Wrote the heads of {written} streams into {}.", file.display());
    }
    eprintln!("Verified {} in {:.1} s.", server.describe(), began.elapsed().as_secs_f64());
    Ok(report.code())
}

fn name(role: Role) -> &'static str {
    match role {
        Role::User => "chains user",
        Role::Product => "chains product",
        Role::Order => "chains order",
        Role::Payment => "chains payment",
        Role::Notification => "chains notification",
        Role::Orchestrator => "chains orchestrator",
    }
}

/// What was found in some streams of a store.
#[derive(Default)]
struct Chains {
    broken: Tally,
    streams: u64,
    /// Events that name the one before them.
    chained: u64,
    /// Events from before the chain of their stream began.
    loose: u64,
}

impl Chains {
    fn add(&mut self, other: Self) {
        self.broken.merge(other.broken);
        self.streams += other.streams;
        self.chained += other.chained;
        self.loose += other.loose;
    }

    fn tally(self) -> Tally {
        let Self { broken: mut tally, streams, chained, loose } = self;
        tally.checked(chained);
        if chained == 0 && loose > 0 {
            tally.could_not(format!("none of {loose} events is chained: see HASH_CHAIN"));
        } else if streams > 0 {
            tally.note(format!("{streams} streams; {loose} events are from before their chains began"));
        }
        tally
    }
}

/// All streams of a store, of whatever kind, in parts at once.
async fn verify_store(
    moment: &Arc<Moment>,
    from: &From,
    parallel: usize,
    heads: &Arc<Heads>,
    progress: &Progress,
) -> anyhow::Result<Chains> {
    let mut snapshot = moment.look().await?;
    let since = from.cursor(moment.role, &mut snapshot).await?;
    progress.say(moment.role.name());
    progress.of(progress.done() + snapshot.events_estimate().await? as u64);
    let mut parts = Vec::new();
    for kind in snapshot.kinds().await? {
        let scopes = if from.is_everything() {
            snapshot.ranges(&kind).await?
        } else {
            let ids = snapshot.touched(&kind, since).await?;
            ids.chunks(STREAMS_AT_ONCE).map(|ids| Scope::Streams(ids.to_vec())).collect()
        };
        parts.extend(scopes.into_iter().map(|scope| (kind.clone(), scope)));
    }
    snapshot.close().await;
    let places = Arc::new(Semaphore::new(parallel));
    let mut working: FuturesUnordered<_> = parts
        .into_iter()
        .map(|(kind, scope)| {
            let (moment, places, heads, progress) =
                (Arc::clone(moment), Arc::clone(&places), Arc::clone(heads), progress.clone());
            tokio::spawn(async move {
                let _place = places.acquire_owned().await;
                let mut snapshot = moment.look().await?;
                let chains =
                    verify_streams(&mut snapshot, moment.role, &kind, &scope, since, &heads, &progress).await?;
                snapshot.close().await;
                anyhow::Ok(chains)
            })
        })
        .collect();
    let mut all = Chains::default();
    while let Some(done) = working.next().await {
        all.add(done??);
    }
    Ok(all)
}

async fn verify_streams(
    snapshot: &mut Snapshot,
    role: Role,
    kind: &str,
    scope: &Scope,
    since: Cursor,
    heads: &Heads,
    progress: &Progress,
) -> anyhow::Result<Chains> {
    let mut chains = Chains::default();
    let mut current: Option<Stream> = None;
    let mut after = scope.beginning();
    loop {
        let page = snapshot.texts(kind, scope, &after).await?;
        let Some(last) = page.last() else { break };
        progress.advance(page.len() as u64);
        after = (last.aggregate_id.clone(), last.sequence);
        for text in &page {
            if current.as_ref().is_none_or(|stream| stream.id != text.aggregate_id) {
                if let Some(ended) = current.take() {
                    ended.end(role, kind, heads, &mut chains)?;
                }
                current = Some(Stream::new(kind, &text.aggregate_id));
            }
            if let Some(stream) = &mut current {
                stream.take(text, kind, since, &mut chains);
            }
        }
    }
    if let Some(ended) = current {
        ended.end(role, kind, heads, &mut chains)?;
    }
    Ok(chains)
}

/// An event as it lies in its row, in its texts.
pub(super) struct Text {
    pub(super) aggregate_id: String,
    pub(super) sequence: i64,
    pub(super) event_type: String,
    pub(super) event_version: String,
    pub(super) payload: String,
    pub(super) metadata: String,
    pub(super) cursor: Cursor,
}

impl Text {
    pub(super) fn link<'a>(&'a self, kind: &'a str) -> Link<'a> {
        Link {
            aggregate_type: kind,
            aggregate_id: &self.aggregate_id,
            sequence: u64::try_from(self.sequence).unwrap_or(0),
            event_type: &self.event_type,
            event_version: &self.event_version,
            payload: &self.payload,
            metadata: &self.metadata,
        }
    }
}

/// A stream, as far as it was read.
struct Stream {
    id: String,
    sequence: i64,
    /// The hash of its last event; none, where that is no JSON.
    last: Option<Hash>,
    /// Its last event names the one before.
    is_chained: bool,
    /// One break is enough: what it was is known up to there.
    is_broken: bool,
}

impl Stream {
    fn new(kind: &str, id: &str) -> Self {
        Self { id: id.to_owned(), sequence: 0, last: Some(genesis(kind, id)), is_chained: false, is_broken: false }
    }

    fn take(&mut self, text: &Text, kind: &str, since: Cursor, chains: &mut Chains) {
        let link = text.link(kind);
        let (id, sequence, before) = (&self.id, text.sequence, self.sequence);
        let named = link.before();
        let is_judged = !self.is_broken && text.cursor > since;
        let fault = match named {
            Some(_) if sequence != before + 1 => Some(format!("event {sequence} comes after event {before}")),
            Some(named) if Some(named) != self.last && before == 0 => {
                Some(format!("event 1 is chained as the first of another stream ({named})"))
            }
            Some(named) if Some(named) != self.last => {
                Some(format!("event {before} is not the one that event {sequence} was chained to"))
            }
            None if self.is_chained => Some(format!("event {sequence} is not chained, and event {before} is")),
            _ => None,
        };
        if let Some(fault) = fault.filter(|_| is_judged) {
            self.is_broken = true;
            chains.broken.violated(|| format!("{kind} {id}: {fault}"));
        }
        self.is_chained = named.is_some();
        *(if self.is_chained { &mut chains.chained } else { &mut chains.loose }) += 1;
        self.sequence = sequence;
        self.last = link.hash().ok();
    }

    fn end(self, role: Role, kind: &str, heads: &Heads, chains: &mut Chains) -> anyhow::Result<()> {
        chains.streams += 1;
        let Some(hash) = self.last else { return Ok(()) };
        heads.write(&Head {
            store: role.name().into(),
            kind: kind.into(),
            id: self.id.into(),
            sequence: self.sequence,
            hash,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENTS: i64 = 4;

    /// A whole chain of a few events.
    fn chain(id: &str) -> Vec<Text> {
        let mut before = genesis("order", id);
        let events = (1..=EVENTS).map(|n| {
            let text = Text {
                aggregate_id: id.to_owned(),
                sequence: n,
                event_type: "paid".to_owned(),
                event_version: "1".to_owned(),
                payload: format!("{{\"paid\":{{\"n\":{n}}}}}"),
                metadata: format!("{{\"actor\":\"x\",\"prev_hash\":\"{before}\"}}"),
                cursor: Cursor { transaction_id: 10, position: n },
            };
            before = text.link("order").hash().expect("JSON");
            text
        });
        events.collect()
    }

    fn faults(events: &[Text], since: Cursor) -> Vec<String> {
        let (mut chains, mut stream) = (Chains::default(), Stream::new("order", &events[0].aggregate_id));
        events.iter().for_each(|text| stream.take(text, "order", since, &mut chains));
        chains.tally().into_check("chains").ids
    }

    /// What each tampering with the chain is called.
    #[test]
    fn the_first_broken_event_is_named() {
        let found = |change: &dyn Fn(&mut Vec<Text>)| {
            let mut events = chain("1");
            change(&mut events);
            faults(&events, Cursor::default()).join("; ")
        };
        assert_eq!(found(&|_| {}), "");
        let told =
            |number: u32, by: u32| format!("order 1: event {number} is not the one that event {by} was chained to");
        assert_eq!(found(&|events| events[1].payload.push(' ')), "", "it says the same");
        assert_eq!(found(&|events| events[1].payload = "{\"paid\":{\"n\":7}}".to_owned()), told(2, 3));
        assert_eq!(found(&|events| events[0].event_type = "lost".to_owned()), told(1, 2));
        assert_eq!(found(&|events| events[2].metadata = events[2].metadata.replace('x', "y")), told(3, 4));
        assert_eq!(found(&|events| drop(events.remove(1))), "order 1: event 3 comes after event 1");
        assert_eq!(found(&|events| events.swap(1, 2)), "order 1: event 3 comes after event 1");
        assert_eq!(found(&|events| drop(events.remove(0))), "order 1: event 2 comes after event 0");
        assert_eq!(
            found(&|events| events[2].metadata = "{\"actor\":\"x\"}".to_owned()),
            "order 1: event 3 is not chained, and event 2 is"
        );
        assert!(
            found(&|events| events.iter_mut().for_each(|event| event.aggregate_id = "2".to_owned()))
                .starts_with("order 2: event 1 is chained as the first of another stream")
        );
        // What no chain tells: see the heads.
        assert_eq!(found(&|events| drop(events.pop())), "");
        assert_eq!(found(&|events| events[3].payload = "{}".to_owned()), "");
    }

    #[test]
    fn only_links_since_then_are_judged_and_a_chain_may_begin_late() {
        let mut events = chain("1");
        events[0].payload = "{}".to_owned();
        assert_eq!(faults(&events, Cursor { transaction_id: 10, position: 2 }), Vec::<String>::new());
        assert_eq!(faults(&events, Cursor { transaction_id: 10, position: 1 }).len(), 1);
        let late = chain("1").split_off(1);
        let mut events = vec![Text { metadata: "{}".to_owned(), ..chain("1").remove(0) }];
        let first = events[0].link("order").hash().expect("JSON");
        events.push(Text { metadata: format!("{{\"prev_hash\":\"{first}\"}}"), ..chain("1").remove(1) });
        assert_eq!(faults(&events, Cursor::default()), Vec::<String>::new());
        assert_eq!(late.len(), 3);
    }
}
