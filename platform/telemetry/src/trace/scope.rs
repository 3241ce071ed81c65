//! The span in which a task is working.

use std::sync::Arc;

use parking_lot::Mutex;

use super::span::{Kind, Span};
use super::tracer::{self, Role};
use super::value::Name;
use super::{SpanRef, records_spans};

tokio::task_local! {
    static CURRENT: Option<Current>;
}

/// A span while it is the current one: others may say more about it.
#[derive(Debug, Clone)]
pub struct Current {
    role: &'static Role,
    at: SpanRef,
    span: Arc<Mutex<Span>>,
}

impl Current {
    pub(super) fn of(span: Span) -> Option<Self> {
        let (role, at) = (span.role()?, span.at()?);
        Some(Self { role, at, span: Arc::new(Mutex::new(span)) })
    }

    /// Where it stands.
    pub fn at(&self) -> SpanRef {
        self.at
    }

    /// Says more about it.
    pub fn with(&self, say: impl FnOnce(&mut Span)) {
        say(&mut self.span.lock());
    }

    /// Takes the span back, once its work is done; what others still say about it is not heard.
    pub fn into_span(self) -> Span {
        std::mem::take(&mut *self.span.lock())
    }
}

/// Runs a future with `span` as its current one. The span stays open: whoever made it says how it ended.
pub fn scope<F: Future>(span: Option<Current>, future: F) -> impl Future<Output = F::Output> {
    CURRENT.scope(span, future)
}

/// The span in which the current task is working.
pub fn current_span() -> Option<Current> {
    if !records_spans() {
        return None;
    }
    CURRENT.try_with(Clone::clone).ok().flatten()
}

/// Where the current span stands.
pub fn current() -> Option<SpanRef> {
    if !records_spans() {
        return None;
    }
    CURRENT.try_with(|current| current.as_ref().map(|current| current.at)).ok().flatten()
}

/// The `traceparent` of the current span; `None` where nothing is traced.
pub fn traceparent() -> Option<String> {
    current().map(|at| at.traceparent())
}

/// Begins a span below the current one; none where there is none.
pub fn child<'a>(kind: Kind, name: impl Into<Name<'a>>) -> Span {
    match current() {
        Some(at) => tracer::current().start(kind, name, Some(at)),
        None => Span::none(),
    }
}

pub(super) fn role() -> Option<&'static Role> {
    CURRENT.try_with(|current| current.as_ref().map(|current| current.role)).ok().flatten()
}
