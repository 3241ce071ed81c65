//! Which event followed from which.

use super::words;
use crate::events::StoredEvent;
use crate::ports::Role;
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use event_store::RecordedEvent;
use runtime::Publish;
use runtime::message::derived_id;
use serde::Serialize;
use std::collections::{BTreeSet, HashMap};
use uuid::Uuid;

/// What records as this actor was set going by a timer.
const BY_TIMER: &str = "system";

/// An event, and what it has to do with others.
pub(super) struct Node {
    pub(super) role: Role,
    pub(super) event: RecordedEvent,
    /// What it says, in plain words.
    pub(super) text: String,
    /// The messages that it was published as.
    messages: Vec<(Uuid, &'static str)>,
    /// The event that it follows from; none where somebody outside asked for it.
    pub(super) cause: Option<usize>,
    /// The message that told of that event, if it was told by one.
    pub(super) message: Option<&'static str>,
    children: Vec<usize>,
}

/// A story: events in the order of their times.
pub(super) struct Tree {
    pub(super) nodes: Vec<Node>,
}

/// An event of a story, as programs read it.
#[derive(Serialize)]
pub(super) struct Scene<'a> {
    n: usize,
    /// The number of the event that it follows from.
    cause: Option<usize>,
    /// The message that told of that event.
    message: Option<&'static str>,
    service: &'static str,
    at: String,
    /// Since the story began.
    after_ms: f64,
    /// Since what it follows from.
    since_cause_ms: Option<f64>,
    event: &'a str,
    aggregate_type: &'a str,
    aggregate_id: &'a str,
    sequence: u64,
    text: &'a str,
    actor: &'a str,
}

impl Tree {
    /// Finds out which event followed from which. One that this version cannot read is told by its name, and whatever
    /// followed from its messages has no cause here.
    pub(super) fn new(events: Vec<StoredEvent>) -> Self {
        let mut nodes = Vec::with_capacity(events.len());
        for StoredEvent { role, event } in events {
            let (messages, text) = (messages(role, &event).unwrap_or_default(), words::of(&event));
            let (cause, message, children) = (None, None, Vec::new());
            nodes.push(Node { role, event, text, messages, cause, message, children });
        }
        let causes = Causes::of(&nodes);
        for n in 0..nodes.len() {
            let Some((cause, message)) = causes.find(&nodes, n) else { continue };
            // Ids that were made elsewhere might go in a circle.
            if !descends(&nodes, cause, n) {
                (nodes[n].cause, nodes[n].message) = (Some(cause), message);
                nodes[cause].children.push(n);
            }
        }
        Self { nodes }
    }

    fn began(&self) -> DateTime<Utc> {
        self.nodes.iter().map(|node| node.event.recorded_at).min().unwrap_or_default()
    }

    fn since_began(&self, n: usize) -> TimeDelta {
        self.nodes[n].event.recorded_at - self.began()
    }

    /// Since what it follows from; by another clock it may be before that.
    pub(super) fn since_cause(&self, n: usize) -> Option<TimeDelta> {
        let node = &self.nodes[n];
        node.cause.map(|cause| node.event.recorded_at - self.nodes[cause].event.recorded_at)
    }

    /// From the first event to the last.
    pub(super) fn duration_ms(&self) -> f64 {
        ms(self.duration())
    }

    /// The story in one line.
    pub(super) fn summary(&self) -> String {
        let services: BTreeSet<Role> = self.nodes.iter().map(|node| node.role).collect();
        let services: Vec<&str> = services.into_iter().map(Role::name).collect();
        format!("{} events of {} in {}", self.nodes.len(), services.join(", "), time(self.duration()))
    }

    fn duration(&self) -> TimeDelta {
        (0..self.nodes.len()).map(|n| self.since_began(n)).max().unwrap_or_default()
    }

    /// The story as a tree: what follows from an event stands under it.
    pub(super) fn text(&self) -> String {
        let mut lines = Vec::with_capacity(self.nodes.len());
        for n in (0..self.nodes.len()).filter(|n| self.nodes[*n].cause.is_none()) {
            lines.push(self.line(n, ""));
            self.below(n, "", &mut lines);
        }
        lines.join("\n")
    }

    fn below(&self, n: usize, before: &str, lines: &mut Vec<String>) {
        let children = &self.nodes[n].children;
        for (i, child) in children.iter().enumerate() {
            let is_last = i + 1 == children.len();
            lines.push(self.line(*child, &format!("{before}{}", if is_last { "└ " } else { "├ " })));
            self.below(*child, &format!("{before}{}", if is_last { "  " } else { "│ " }), lines);
        }
    }

    /// When since the beginning, how long after its cause, whose, and what happened.
    fn line(&self, n: usize, branch: &str) -> String {
        let node = &self.nodes[n];
        let after = self.since_cause(n).map(|since| format!("+{}", time(since))).unwrap_or_default();
        let (at, role) = (time(self.since_began(n)), node.role.name());
        let by = if node.cause.is_none() { format!(" ({})", node.event.metadata.actor) } else { String::new() };
        format!("{at:>10} {after:>10}  {role:<12}  {branch}{}{by}", node.text)
    }

    /// The story as programs read it.
    pub(super) fn scenes(&self) -> Vec<Scene<'_>> {
        (0..self.nodes.len()).map(|n| self.scene(n)).collect()
    }

    fn scene(&self, n: usize) -> Scene<'_> {
        let node = &self.nodes[n];
        let event = &node.event;
        Scene {
            n,
            cause: node.cause,
            message: node.message,
            service: node.role.name(),
            at: event.recorded_at.to_rfc3339_opts(SecondsFormat::Micros, true),
            after_ms: ms(self.since_began(n)),
            since_cause_ms: self.since_cause(n).map(ms),
            event: &event.event_type,
            aggregate_type: &event.aggregate_type,
            aggregate_id: &event.aggregate_id,
            sequence: event.sequence,
            text: &node.text,
            actor: &event.metadata.actor,
        }
    }
}

/// Which events a cause's id may mean.
struct Causes {
    by_id: HashMap<Uuid, Vec<(usize, Option<&'static str>)>>,
    by_place: HashMap<(Role, String, String, u64), usize>,
}

impl Causes {
    fn of(nodes: &[Node]) -> Self {
        let mut by_id: HashMap<Uuid, Vec<(usize, Option<&'static str>)>> = HashMap::new();
        let mut by_place = HashMap::new();
        for (n, node) in nodes.iter().enumerate() {
            for (id, name) in &node.messages {
                by_id.entry(*id).or_default().push((n, Some(*name)));
            }
            // What a service does next by itself names the event. A message of the same id is told of first.
            if !node.messages.iter().any(|(id, _)| *id == node.event.metadata.event_id) {
                by_id.entry(node.event.metadata.event_id).or_default().push((n, None));
            }
            by_place.insert(place(node, node.event.sequence), n);
        }
        Self { by_id, by_place }
    }

    /// What the n-th event follows from. A command that was sent again has one id: the last one before the event counts.
    fn find(&self, nodes: &[Node], n: usize) -> Option<(usize, Option<&'static str>)> {
        let node = &nodes[n];
        if let Some(candidates) = self.by_id.get(&node.event.metadata.causation_id) {
            let others = || candidates.iter().filter(|(other, _)| *other != n);
            let before = others().rfind(|(other, _)| *other < n);
            let (cause, message) = before.or_else(|| others().next()).copied()?;
            // Within one service no message is needed to know of an event.
            return Some((cause, message.filter(|_| nodes[cause].role != node.role)));
        }
        // A timer is set by the stream's own events.
        let before = node.event.sequence.checked_sub(1)?;
        let by_timer = node.event.metadata.actor == BY_TIMER;
        by_timer.then(|| self.by_place.get(&place(node, before)).map(|cause| (*cause, None))).flatten()
    }
}

fn place(node: &Node, sequence: u64) -> (Role, String, String, u64) {
    (node.role, node.event.aggregate_type.clone(), node.event.aggregate_id.clone(), sequence)
}

/// Whether `n` is `ancestor`, or follows from it.
fn descends(nodes: &[Node], n: usize, ancestor: usize) -> bool {
    let mut at = Some(n);
    while let Some(n) = at {
        if n == ancestor {
            return true;
        }
        at = nodes[n].cause;
    }
    false
}

/// The messages that an event was published as: their ids, and what they are called.
fn messages(role: Role, event: &RecordedEvent) -> Result<Vec<(Uuid, &'static str)>, event_store::Error> {
    let outgoing = match role {
        Role::User => user_service::Publisher.publish(event),
        Role::Product => product_service::Publisher.publish(event),
        Role::Order => order_service::Publisher.publish(event),
        Role::Payment => payment_service::Publisher.publish(event),
        Role::Orchestrator => orchestrator::Publisher.publish(event),
        // Nothing of it is published.
        Role::Notification => Ok(Vec::new()),
    }?;
    let id = |n: usize, own: Option<Uuid>| own.unwrap_or_else(|| derived_id(event.metadata.event_id, n));
    let named = outgoing.into_iter().enumerate().map(|(n, outgoing)| (id(n, outgoing.id), outgoing.message_type));
    Ok(named.collect())
}

fn ms(time: TimeDelta) -> f64 {
    time.num_microseconds().map_or(f64::MAX, |us| us as f64 / 1_000.0)
}

/// How long, to be read at a glance.
pub(super) fn time(time: TimeDelta) -> String {
    let ms = ms(time);
    match ms.abs() {
        under if under < 10.0 => format!("{ms:.1} ms"),
        under if under < 10_000.0 => format!("{ms:.0} ms"),
        under if under < 120_000.0 => format!("{:.1} s", ms / 1_000.0),
        under if under < 7_200_000.0 => format!("{:.0} min", ms / 60_000.0),
        _ => format!("{:.1} h", ms / 3_600_000.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use event_store::{Cursor, Metadata};

    fn event(role: Role, kind: &str, ms: i64, id: u128, cause: u128, payload: &str) -> StoredEvent {
        let at = DateTime::from_timestamp_millis(1_700_000_000_000 + ms).expect("a time");
        let metadata = Metadata {
            event_id: Uuid::from_u128(id),
            correlation_id: Uuid::from_u128(1),
            causation_id: Uuid::from_u128(cause),
            command_id: Uuid::from_u128(cause),
            actor: "user:1".to_owned(),
            traceparent: None,
            recorded_at: at,
            prev_hash: None,
        };
        let event = RecordedEvent {
            aggregate_type: kind.to_owned(),
            aggregate_id: Uuid::from_u128(9).to_string(),
            sequence: 1,
            event_type: String::new(),
            event_version: "1".to_owned(),
            payload: payload.to_owned(),
            metadata,
            cursor: Cursor::default(),
            recorded_at: at,
        };
        StoredEvent { role, event }
    }

    const CONFIRMED: &str = r#"{"SagaCompleted":{"at":"2026-01-01T00:00:00Z"}}"#;
    const SENT: &str = r#"{"notification_sent":{"attempt":1,"at":"2026-01-01T00:00:00Z"}}"#;

    #[test]
    fn what_follows_stands_under_its_cause_with_the_time_between() {
        let saga = |ms, id, cause| event(Role::Orchestrator, "order_fulfilment", ms, id, cause, CONFIRMED);
        let sent = |ms, id, cause| event(Role::Notification, "notification", ms, id, cause, SENT);
        let tree = Tree::new(vec![saga(0, 2, 1), sent(4, 3, 2), sent(9, 4, 2), sent(2_009, 5, 4)]);
        let causes: Vec<_> = tree.nodes.iter().map(|node| (node.cause, node.message)).collect();
        let message = Some("saga_completed");
        assert_eq!(causes, [(None, None), (Some(0), message), (Some(0), message), (Some(2), None)]);
        let text = tree.text();
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[0].join(" "), "0.0 ms orchestrator completed (user:1)");
        assert_eq!(lines[1].join(" "), "4.0 ms +4.0 ms notification ├ a notification was sent at attempt 1");
        assert_eq!(lines[2].join(" "), "9.0 ms +9.0 ms notification └ a notification was sent at attempt 1");
        assert_eq!(lines[3].join(" "), "2009 ms +2000 ms notification └ a notification was sent at attempt 1");
        assert!(text.lines().nth(3).is_some_and(|line| line.contains("    └ ")), "{text}");
    }

    #[test]
    fn an_event_of_tomorrow_is_told_by_its_name() {
        let mut later = event(Role::Order, "order", 0, 2, 1, r#"{"order_gift_wrapped":{}}"#);
        later.event.event_type = "order_gift_wrapped".to_owned();
        assert!(Tree::new(vec![later]).text().contains("order gift wrapped, which this version cannot read"));
    }

    #[test]
    fn causes_in_a_circle_are_no_tree_without_a_root() {
        let sent = |id, cause| event(Role::Notification, "notification", 0, id, cause, SENT);
        let tree = Tree::new(vec![sent(2, 3), sent(3, 2), sent(4, 4)]);
        assert_eq!(tree.text().lines().count(), 3);
    }
}
