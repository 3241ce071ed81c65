//! One span, from its beginning to its end.

use std::borrow::Cow;
use std::time::SystemTime;

use super::tracer::Role;
use super::value::{Name, Value};
use super::{Current, SpanRef, otlp};

/// Links of one span; a batch may have more messages.
pub(super) const LINKS_MAX: usize = 128;
/// What most spans have to say fits in so many bytes.
const BODY_BYTES: usize = 768;

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
    pub(super) start: SystemTime,
    pub(super) recorded: bool,
    /// Name, attributes and links, as they go over the wire.
    pub(super) body: Vec<u8>,
    pub(super) links: usize,
    /// Why it failed, if it did.
    pub(super) failed: Option<Cow<'static, str>>,
}

impl Open {
    pub(super) fn new(
        role: &'static Role,
        at: SpanRef,
        parent: Option<SpanRef>,
        kind: Kind,
        name: &Name<'_>,
    ) -> Box<Self> {
        let mut body = if at.sampled { Vec::with_capacity(BODY_BYTES) } else { Vec::new() };
        otlp::name(&mut body, name);
        let (start, recorded) = (SystemTime::now(), at.sampled);
        Box::new(Self { role, at, parent, kind, start, recorded, body, links: 0, failed: None })
    }

    pub(super) fn link(&mut self, to: &SpanRef) {
        if self.links < LINKS_MAX {
            self.links += 1;
            otlp::link(&mut self.body, to);
        }
    }
}

impl Span {
    /// No span.
    pub const fn none() -> Self {
        Self(None)
    }

    pub(super) fn open(open: Box<Open>) -> Self {
        Self(Some(open))
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

    /// Sets an attribute, named as the semantic conventions have it. Nothing is set twice.
    pub fn set<'a>(&mut self, name: &'static str, value: impl Into<Value<'a>>) {
        if let Some(open) = self.recorded() {
            otlp::attribute(&mut open.body, name, &value.into());
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
        if let Some(open) = self.recorded() {
            open.link(&to);
        }
    }

    /// It failed. That is recorded even where the rest of its trace is not.
    pub fn fail(&mut self, what: impl Into<Cow<'static, str>>) {
        self.keep("error");
        if let Some(open) = &mut self.0 {
            open.failed = Some(what.into());
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
            otlp::attribute(&mut open.body, "sagashop.kept", &why.into());
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
            open.role.end(&open);
        }
    }
}
