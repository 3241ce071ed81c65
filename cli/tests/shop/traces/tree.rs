//! A trace as Jaeger tells it, and what must hold of one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::Value;
use testkit::Jaeger;

/// A span of a trace.
#[derive(Clone, Debug)]
pub struct Span {
    id: String,
    parent: Option<String>,
    /// Trace and span.
    links: Vec<(String, String)>,
    service: String,
    pub name: String,
    tags: BTreeMap<String, Value>,
}

/// All that Jaeger has of one trace.
#[derive(Clone, Debug)]
pub struct Trace {
    id: String,
    spans: Vec<Span>,
    processes: Vec<BTreeMap<String, Value>>,
}

impl Trace {
    /// Nothing as long as Jaeger knows nothing of it.
    pub async fn fetch(jaeger: &Jaeger, id: &str) -> Option<Self> {
        let url = format!("{}/api/traces/{id}", jaeger.query);
        let answer = web::http_client().build().expect("a client").get(url).send().await.ok()?;
        let answer: Value = serde_json::from_str(&answer.text().await.ok()?).ok()?;
        let trace = answer["data"].as_array()?.first()?.clone();
        let processes = trace["processes"].as_object()?;
        let span = |span: &Value| {
            let references = span["references"].as_array().into_iter().flatten();
            let ids = |of: &Value| (text(&of["traceID"]), text(&of["spanID"]));
            let (parents, links): (Vec<_>, Vec<_>) = references.partition(|of| of["refType"] == "CHILD_OF");
            Span {
                id: text(&span["spanID"]),
                parent: parents.first().map(|parent| ids(parent).1),
                links: links.into_iter().map(ids).collect(),
                service: text(&processes[span["processID"].as_str().unwrap_or_default()]["serviceName"]),
                name: text(&span["operationName"]),
                tags: tags(&span["tags"]),
            }
        };
        let mut spans: Vec<Span> = trace["spans"].as_array()?.iter().map(span).collect();
        settle(&mut spans);
        Some(Self { id: id.to_owned(), spans, processes: processes.values().map(|of| tags(&of["tags"])).collect() })
    }

    pub fn len(&self) -> usize {
        self.spans.len()
    }

    pub fn named(&self, name: &str) -> impl Iterator<Item = &Span> {
        self.spans.iter().filter(move |span| span.name == name)
    }

    pub fn services(&self) -> BTreeSet<String> {
        self.spans.iter().map(|span| span.service.clone()).collect()
    }

    pub fn every_process_has(&self, tag: &str, value: &str) -> bool {
        self.processes.iter().all(|tags| tags.get(tag).is_some_and(|found| found == value))
    }

    /// The first span; it says this of itself.
    #[track_caller]
    pub fn assert_begins_with(&self, name: &str, tag: &str, value: &str) {
        let root = self.spans.iter().find(|span| span.parent.is_none()).expect("a root");
        assert_eq!(root.name, name, "{self}");
        assert_eq!(root.tags.get(tag), Some(&value.into()), "{:?}", root.tags);
    }

    /// Whether a span of this name stands somewhere below `above`.
    pub fn below(&self, above: &Span, name: &str) -> bool {
        self.children(above).into_iter().any(|child| child.name == name || self.below(child, name))
    }

    /// What is wrong with any trace: more roots than one, or spans whose parent is not there.
    pub fn faults(&self) -> Vec<String> {
        let ids: BTreeSet<&str> = self.spans.iter().map(|span| span.id.as_str()).collect();
        let roots = self.spans.iter().filter(|span| span.parent.is_none()).count();
        let mut faults = Vec::new();
        if roots != 1 {
            faults.push(format!("{roots} roots"));
        }
        if ids.len() != self.spans.len() {
            faults.push(format!("{} spans of {} ids", self.spans.len(), ids.len()));
        }
        for span in &self.spans {
            if span.parent.as_deref().is_some_and(|parent| !ids.contains(parent)) {
                faults.push(format!("{} is an orphan", span.name));
            }
        }
        faults
    }

    fn children(&self, of: &Span) -> Vec<&Span> {
        self.spans.iter().filter(|span| span.parent.as_deref() == Some(&of.id)).collect()
    }

    /// It has this tree; siblings stand in the order of their names.
    #[track_caller]
    pub fn assert_is(&self, expected: &str) {
        assert_eq!(self.faults(), Vec::<String>::new(), "{self}");
        assert_eq!(self.to_string().trim(), expected.trim(), "\n{self}");
    }

    /// Attributes by which the order, its saga and its events are found.
    #[track_caller]
    pub fn assert_says_of(&self, order: &str) {
        let with = |name: &str| self.spans.iter().filter(|span| span.tags.contains_key(name)).count();
        let root = self.spans.iter().find(|span| span.parent.is_none()).expect("a root");
        assert_eq!(root.tags.get("order.id"), Some(&order.into()), "{:?}", root.tags);
        assert_eq!(root.tags.get("http.response.status_code"), Some(&201.into()), "{:?}", root.tags);
        for name in [
            "saga.id",
            "saga.step",
            "saga.attempt",
            "aggregate.type",
            "event.sequence",
            "messaging.system",
            "messaging.destination.name",
            "messaging.message.id",
            "db.system.name",
            "http.route",
            "rpc.method",
        ] {
            assert!(with(name) > 0, "no span has {name}: {self}");
        }
        let ids: BTreeSet<String> = self.spans.iter().filter_map(|span| span.tags.get("order.id")).map(text).collect();
        assert_eq!(ids, BTreeSet::from([order.to_owned()]));
        for tags in &self.processes {
            for name in ["service.instance.id", "service.version", "service.namespace"] {
                assert!(tags.contains_key(name), "{tags:?}");
            }
        }
    }

    /// The append is linked to the group commit that carried it, each message to the batches that it was sent and handled
    /// in; and those, which are traces of their own, to them.
    pub async fn assert_links(&self, jaeger: &Jaeger) {
        for (name, to, back) in [
            ("append ", "INSERT events", true),
            ("publish ", "publish batch", true),
            ("process ", "process batch", false),
        ] {
            for span in self.spans.iter().filter(|span| span.name.starts_with(name)) {
                let [(trace, id)] = span.links.as_slice() else { panic!("{} has links {:?}", span.name, span.links) };
                assert_ne!(*trace, self.id, "{} is linked within its trace", span.name);
                let batch = Self::fetch(jaeger, trace).await.expect("the batch's trace");
                let batch = batch.spans.iter().find(|span| span.id == *id).expect("the batch");
                assert!(batch.name.starts_with(to), "{} is linked to {}", span.name, batch.name);
                // A batch of messages is linked to where they come from.
                let of = if back { &span.id } else { span.parent.as_ref().expect("a producer") };
                assert!(batch.links.contains(&(self.id.clone(), of.clone())), "{} of {}", batch.name, span.name);
            }
        }
    }

    fn draw(&self, f: &mut fmt::Formatter<'_>, span: &Span, before: &str, last: bool, depth: usize) -> fmt::Result {
        let (branch, below) = match (depth, last) {
            (0, _) => ("", ""),
            (_, true) => ("└─ ", "   "),
            (_, false) => ("├─ ", "│  "),
        };
        writeln!(f, "{before}{branch}{}{}", span.title(), if span.failed() { " !" } else { "" })?;
        let mut children = self.children(span);
        children.sort_by_cached_key(|child| self.key(child));
        let count = children.len();
        for (n, child) in children.into_iter().enumerate() {
            self.draw(f, child, &format!("{before}{below}"), n + 1 == count, depth + 1)?;
        }
        Ok(())
    }

    /// Siblings of one name are told apart by what is below them.
    fn key(&self, span: &Span) -> String {
        let mut below: Vec<String> = self.children(span).into_iter().map(|child| self.key(child)).collect();
        below.sort();
        format!("{} ({})", span.title(), below.join(", "))
    }
}

/// A saga is completed by the last of two answers, and they come in either order: its end is drawn below one of them.
fn settle(spans: &mut [Span]) {
    let of = |span: &Span| span.tags.get("cloudevents.event_type").map(text).unwrap_or_default();
    let answer = |span: &&Span| span.service == "sagashop-orchestrator" && span.name.starts_with("process ");
    let answers = |kind: &str| spans.iter().filter(answer).find(|span| of(span) == kind).map(|span| span.id.clone());
    let (Some(sold), Some(confirmed)) = (answers("stock_committed"), answers("order_confirmed")) else { return };
    let end = spans.iter_mut().find(|span| of(span) == "saga_completed" && span.parent.as_ref() == Some(&sold));
    if let Some(end) = end {
        end.parent = Some(confirmed);
    }
}

impl Span {
    fn title(&self) -> String {
        let service = self.service.strip_prefix("sagashop-").unwrap_or(&self.service);
        let about = ["cloudevents.event_type", "notification.template"].iter().find_map(|name| self.tags.get(*name));
        let about = about.and_then(Value::as_str).map(|text| format!(" [{text}]")).unwrap_or_default();
        format!("{service}: {}{about}", self.name)
    }

    fn failed(&self) -> bool {
        self.tags.get("otel.status_code").is_some_and(|code| code == "ERROR")
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for root in self.spans.iter().filter(|span| span.parent.is_none()) {
            self.draw(f, root, "", true, 0)?;
        }
        Ok(())
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn tags(list: &Value) -> BTreeMap<String, Value> {
    let list = list.as_array().into_iter().flatten();
    list.map(|tag| (text(&tag["key"]), tag["value"].clone())).collect()
}
