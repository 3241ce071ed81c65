//! Who makes spans.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use opentelemetry::trace::SpanId;
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator};
use parking_lot::Mutex;

use super::pending::Pending;
use super::pipeline::Pipeline;
use super::span::{Kind, LINKS_MAX, Open, Span};
use super::value::Name;
use super::{SpanRef, scope};

/// Whether spans are recorded at all: without a collector a question costs one load.
static ENABLED: AtomicBool = AtomicBool::new(false);
static PIPELINE: OnceLock<&'static Pipeline> = OnceLock::new();

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
    pub(super) pipeline: &'static Pipeline,
    pub(super) pending: Mutex<Pending>,
}

impl Role {
    pub(super) fn new(name: &'static str, pipeline: &'static Pipeline) -> Self {
        Self { name, pipeline, pending: Mutex::default() }
    }

    /// Takes a span that has ended, if there is room for it.
    pub(super) fn end(&self, open: &Open) {
        if self.pipeline.admit() {
            let ended = SystemTime::now();
            self.pending.lock().push(open, ended, self.pipeline.batch_spans_max);
        }
    }
}

/// Makes a role's spans; nothing where no collector is named.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tracer(Option<&'static Role>);

impl Tracer {
    /// The tracer of the role of this name: its spans are those of `sagashop-<name>`.
    ///
    /// Ask after [`crate::init`]: before it there is no collector.
    pub fn of(name: &'static str) -> Self {
        let pipeline = PIPELINE.get().filter(|_| records_spans());
        Self(pipeline.map(|pipeline| pipeline.role(name)))
    }

    /// One that makes nothing.
    pub const fn off() -> Self {
        Self(None)
    }

    pub(super) fn of_role(role: &'static Role) -> Self {
        Self(Some(role))
    }

    /// Whether it makes spans.
    pub fn is_on(self) -> bool {
        self.0.is_some()
    }

    /// Begins a span below `parent`, or a trace.
    pub fn start<'a>(self, kind: Kind, name: impl Into<Name<'a>>, parent: Option<SpanRef>) -> Span {
        self.begin(kind, name, || parent, None)
    }

    /// As [`Tracer::start`], below what a `traceparent` names.
    pub fn resume<'a>(self, kind: Kind, name: impl Into<Name<'a>>, traceparent: Option<&str>) -> Span {
        self.begin(kind, name, || traceparent.and_then(SpanRef::parse), None)
    }

    /// As [`Tracer::resume`], with an id that follows from what is done, so that doing it again is the same span.
    pub fn resume_as<'a>(self, id: u64, kind: Kind, name: impl Into<Name<'a>>, traceparent: Option<&str>) -> Span {
        self.begin(kind, name, || traceparent.and_then(SpanRef::parse), Some(id))
    }

    /// Begins the trace of a batch, linked to what the batch is made of: recorded if any of that is.
    pub fn batch<'a>(self, kind: Kind, name: impl Into<Name<'a>>, of: impl IntoIterator<Item = SpanRef>) -> Span {
        let Some(role) = self.0 else { return Span::none() };
        let mut recorded = of.into_iter().filter(SpanRef::is_sampled).take(LINKS_MAX).peekable();
        if recorded.peek().is_none() {
            return Span::none();
        }
        let ids = RandomIdGenerator::default();
        let at = SpanRef { trace_id: ids.new_trace_id(), span_id: ids.new_span_id(), sampled: true, remote: false };
        let mut open = Open::new(role, at, None, kind, &name.into());
        recorded.for_each(|to| open.link(&to));
        Span::open(open)
    }

    fn begin<'a>(
        self,
        kind: Kind,
        name: impl Into<Name<'a>>,
        parent: impl FnOnce() -> Option<SpanRef>,
        id: Option<u64>,
    ) -> Span {
        let Some(role) = self.0 else { return Span::none() };
        let parent = parent();
        let ids = RandomIdGenerator::default();
        let trace_id = parent.map_or_else(|| ids.new_trace_id(), |parent| parent.trace_id);
        let span_id = id.filter(|id| *id != 0).map_or_else(|| ids.new_span_id(), SpanId::from);
        let sampled = role.pipeline.sampling.records(parent, trace_id);
        let at = SpanRef { trace_id, span_id, sampled, remote: false };
        // What is not recorded can be nobody's parent.
        let parent = parent.filter(SpanRef::is_sampled);
        Span::open(Open::new(role, at, parent, kind, &name.into()))
    }
}

/// The current span's tracer.
pub(super) fn current() -> Tracer {
    scope::role().map_or(Tracer::off(), Tracer::of_role)
}
