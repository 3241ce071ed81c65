//! One span, from its beginning to its end.

use std::borrow::Cow;
use std::time::SystemTime;

use opentelemetry::trace::{Link, SpanId, SpanKind, Status};
use opentelemetry::{InstrumentationScope, KeyValue, Value};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

use super::tracer::Role;
use super::{Current, SpanRef};

/// Links of one span; a batch may have more messages.
pub(super) const LINKS_MAX: usize = 128;

/// What a span is to its parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Work within the service.
    Internal,
    /// A request is handled.
    Server,
    /// Another is asked, and waited for.
    Client,
    /// A message is sent.
    Producer,
    /// A message is handled.
    Consumer,
}

impl From<Kind> for SpanKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Internal => Self::Internal,
            Kind::Server => Self::Server,
            Kind::Client => Self::Client,
            Kind::Producer => Self::Producer,
            Kind::Consumer => Self::Consumer,
        }
    }
}

/// Something that is being done. It ends when it is dropped.
///
/// Where nothing is traced it is nothing. In a trace that is not recorded it only carries the trace on, until it
/// [fails](Span::fail): what failed is recorded in any case.
#[derive(Debug, Default)]
#[must_use = "a span ends when it is dropped"]
pub struct Span(Option<Box<Open>>);

#[derive(Debug)]
pub(super) struct Open {
    pub(super) role: &'static Role,
    pub(super) at: SpanRef,
    pub(super) parent: Option<SpanRef>,
    pub(super) kind: Kind,
    pub(super) name: Cow<'static, str>,
    pub(super) start: SystemTime,
    pub(super) recorded: bool,
    pub(super) attributes: Vec<KeyValue>,
    pub(super) links: Vec<Link>,
    pub(super) status: Status,
}

impl Span {
    /// No span.
    pub const fn none() -> Self {
        Self(None)
    }

    pub(super) fn open(open: Open) -> Self {
        Self(Some(Box::new(open)))
    }

    pub(super) fn role(&self) -> Option<&'static Role> {
        self.0.as_ref().map(|open| open.role)
    }

    /// Where it stands; `None` where nothing is traced.
    pub fn at(&self) -> Option<SpanRef> {
        self.0.as_ref().map(|open| open.at)
    }

    /// What hands the trace on below it.
    pub fn traceparent(&self) -> Option<String> {
        self.at().map(|at| at.traceparent())
    }

    /// Whether it is worth while to look up attributes for it.
    pub fn is_recorded(&self) -> bool {
        self.0.as_ref().is_some_and(|open| open.recorded)
    }

    /// Sets an attribute, named as the semantic conventions have it.
    pub fn set(&mut self, name: &'static str, value: impl Into<Value>) {
        if let Some(open) = self.recorded() {
            open.attributes.push(KeyValue::new(name, value));
        }
    }

    /// As [`Span::set`], for what costs something to say.
    pub fn set_with<V: Into<Value>>(&mut self, name: &'static str, value: impl FnOnce() -> V) {
        if let Some(open) = self.recorded() {
            open.attributes.push(KeyValue::new(name, value()));
        }
    }

    /// Gives it a better name.
    pub fn rename(&mut self, name: impl Into<Cow<'static, str>>) {
        if let Some(open) = &mut self.0 {
            open.name = name.into();
        }
    }

    /// It began before it was made.
    pub fn begun_at(mut self, start: SystemTime) -> Self {
        if let Some(open) = &mut self.0 {
            open.start = start;
        }
        self
    }

    /// Links it to another span, of this trace or another.
    pub fn link(&mut self, to: SpanRef) {
        if let Some(open) = self.recorded()
            && open.links.len() < LINKS_MAX
        {
            open.links.push(Link::with_context(to.context()));
        }
    }

    /// It failed. That is recorded even where the rest of its trace is not.
    pub fn fail(&mut self, what: impl Into<Cow<'static, str>>) {
        self.keep("error");
        if let Some(open) = &mut self.0 {
            open.status = Status::error(what);
        }
    }

    /// Records it, and what begins below it from now on, even where the trace is not recorded. There it is the first of
    /// its trace that can be seen.
    pub fn keep(&mut self, why: &'static str) {
        if let Some(open) = &mut self.0
            && !open.recorded
        {
            open.recorded = true;
            open.at.sampled = true;
            open.parent = None;
            open.attributes.push(KeyValue::new("sagashop.kept", why));
        }
    }

    /// Drops it: it has not happened.
    pub fn forget(mut self) {
        self.0 = None;
    }

    /// Makes it the current one of a future; see [`super::scope`].
    pub fn into_current(self) -> Option<Current> {
        Current::of(self)
    }

    fn recorded(&mut self) -> Option<&mut Open> {
        self.0.as_deref_mut().filter(|open| open.recorded)
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        if let Some(open) = self.0.take()
            && open.recorded
        {
            let role = open.role;
            role.pipeline.end(role, open.ended());
        }
    }
}

impl Open {
    fn ended(self) -> SpanData {
        let mut links = SpanLinks::default();
        links.links = self.links;
        SpanData {
            span_context: self.at.context(),
            parent_span_id: self.parent.map_or(SpanId::INVALID, |parent| parent.span_id),
            parent_span_is_remote: self.parent.is_some_and(|parent| parent.remote),
            span_kind: self.kind.into(),
            name: self.name,
            start_time: self.start,
            // A clock that was set back must not end a span before it began.
            end_time: SystemTime::now().max(self.start),
            attributes: self.attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links,
            status: self.status,
            instrumentation_scope: InstrumentationScope::default(),
        }
    }
}
