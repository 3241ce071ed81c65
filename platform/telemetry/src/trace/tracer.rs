//! Who makes spans.

use std::borrow::Cow;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use opentelemetry::trace::{Link, SpanId, Status};
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator};
use parking_lot::Mutex;

use super::pipeline::Pipeline;
use super::span::{Kind, LINKS_MAX, Open, Span};
use super::{SpanRef, scope};

/// Whether spans are recorded at all: without a collector a question costs one load.
static ENABLED: AtomicBool = AtomicBool::new(false);
static PIPELINE: OnceLock<&'static Pipeline> = OnceLock::new();
/// The roles of this process. They are few, and live as long as it does.
static ROLES: Mutex<Vec<&'static Role>> = Mutex::new(Vec::new());

pub(crate) fn enable(pipeline: &'static Pipeline) {
    if PIPELINE.set(pipeline).is_ok() {
        ENABLED.store(true, Ordering::Release);
    }
}

/// What tells this process from others of its service.
pub(super) fn instance() -> String {
    let id = RandomIdGenerator::default().new_trace_id().to_string();
    [&id[..8], &id[8..12], &id[12..16], &id[16..20], &id[20..]].join("-")
}

/// Whether spans go anywhere. Where they do not, what is asked for often need not make any.
pub fn records_spans() -> bool {
    ENABLED.load(Ordering::Relaxed)
}

/// A service of the shop as its spans name it.
#[derive(Debug)]
pub(super) struct Role {
    pub(super) name: &'static str,
    pub(super) number: usize,
    pub(super) pipeline: &'static Pipeline,
}

/// Makes a role's spans; nothing where no collector is named.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tracer(Option<&'static Role>);

impl Tracer {
    /// The tracer of the role of this name: its spans are those of `sagashop-<name>`.
    ///
    /// Ask after [`crate::init`]: before it there is no collector.
    pub fn of(name: &'static str) -> Self {
        let Some(pipeline) = PIPELINE.get().filter(|_| records_spans()) else { return Self(None) };
        let mut roles = ROLES.lock();
        if let Some(role) = roles.iter().find(|role| role.name == name) {
            return Self(Some(role));
        }
        let role: &'static Role = Box::leak(Box::new(Role { name, number: roles.len(), pipeline }));
        roles.push(role);
        Self(Some(role))
    }

    /// One that makes nothing.
    pub const fn off() -> Self {
        Self(None)
    }

    #[cfg(test)]
    pub(super) fn on(pipeline: &'static Pipeline) -> Self {
        Self(Some(Box::leak(Box::new(Role { name: "test", number: 0, pipeline }))))
    }

    pub(super) fn of_role(role: &'static Role) -> Self {
        Self(Some(role))
    }

    /// Whether it makes spans.
    pub fn is_on(self) -> bool {
        self.0.is_some()
    }

    /// Begins a span below `parent`, or a trace.
    pub fn start(self, kind: Kind, name: impl Into<Cow<'static, str>>, parent: Option<SpanRef>) -> Span {
        self.begin(kind, name, parent, None)
    }

    /// As [`Tracer::start`], below what a `traceparent` names.
    pub fn resume(self, kind: Kind, name: impl Into<Cow<'static, str>>, traceparent: Option<&str>) -> Span {
        match self.0 {
            Some(_) => self.begin(kind, name, traceparent.and_then(SpanRef::parse), None),
            None => Span::none(),
        }
    }

    /// As [`Tracer::resume`], with an id that follows from what is done, so that doing it again is the same span.
    pub fn resume_as(self, id: u64, kind: Kind, name: impl Into<Cow<'static, str>>, traceparent: Option<&str>) -> Span {
        match self.0 {
            Some(_) => self.begin(kind, name, traceparent.and_then(SpanRef::parse), Some(id)),
            None => Span::none(),
        }
    }

    /// Begins the trace of a batch, linked to what the batch is made of: recorded if any of that is.
    pub fn batch(self, kind: Kind, name: impl Into<Cow<'static, str>>, of: impl IntoIterator<Item = SpanRef>) -> Span {
        let Some(role) = self.0 else { return Span::none() };
        let recorded = of.into_iter().filter(SpanRef::is_sampled).take(LINKS_MAX);
        let links: Vec<Link> = recorded.map(|at| Link::with_context(at.context())).collect();
        if links.is_empty() {
            return Span::none();
        }
        let ids = RandomIdGenerator::default();
        let at = SpanRef { trace_id: ids.new_trace_id(), span_id: ids.new_span_id(), sampled: true, remote: false };
        Span::open(Open { links, ..open(role, at, None, kind, name.into()) })
    }

    fn begin(self, kind: Kind, name: impl Into<Cow<'static, str>>, parent: Option<SpanRef>, id: Option<u64>) -> Span {
        let Some(role) = self.0 else { return Span::none() };
        let ids = RandomIdGenerator::default();
        let trace_id = parent.map_or_else(|| ids.new_trace_id(), |parent| parent.trace_id);
        let span_id = id.filter(|id| *id != 0).map_or_else(|| ids.new_span_id(), SpanId::from);
        let sampled = role.pipeline.sampling.records(parent, trace_id);
        let at = SpanRef { trace_id, span_id, sampled, remote: false };
        // What is not recorded can be nobody's parent.
        let parent = parent.filter(SpanRef::is_sampled);
        Span::open(open(role, at, parent, kind, name.into()))
    }
}

fn open(role: &'static Role, at: SpanRef, parent: Option<SpanRef>, kind: Kind, name: Cow<'static, str>) -> Open {
    Open {
        role,
        at,
        parent,
        kind,
        name,
        start: SystemTime::now(),
        recorded: at.sampled,
        attributes: if at.sampled { Vec::with_capacity(8) } else { Vec::new() },
        links: Vec::new(),
        status: Status::Unset,
    }
}

/// The current span's tracer.
pub(super) fn current() -> Tracer {
    scope::role().map_or(Tracer::off(), Tracer::of_role)
}
