//! Which request or message the current task is at work on.

use uuid::Uuid;

use crate::SpanRef;

tokio::task_local! {
    static CURRENT: Ids;
}

/// What lines of one request or message have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ids {
    /// The span that it came with.
    at: Option<SpanRef>,
    correlation: Uuid,
}

impl Ids {
    /// Of a story and the trace that a `traceparent` names; where there is none, the trace's id is the story's digits.
    pub fn new(correlation: Uuid, traceparent: Option<&str>) -> Self {
        Self { at: traceparent.and_then(SpanRef::parse), correlation }
    }

    /// The trace's, as 32 digits.
    pub fn trace_id(&self) -> String {
        self.at.map_or_else(|| self.correlation.simple().to_string(), |at| at.trace_id())
    }

    /// The story's.
    pub fn correlation_id(&self) -> String {
        self.correlation.to_string()
    }
}

/// The `traceparent` that the request or message at work came with: what is handed on where no span is made of it.
pub fn traceparent() -> Option<String> {
    current()?.at.map(|at| at.traceparent())
}

/// Runs `work` as that of this request or message: its lines have these ids.
pub fn scope<F: Future>(ids: Ids, work: F) -> impl Future<Output = F::Output> {
    CURRENT.scope(ids, work)
}

/// As [`scope`], for work that waits for nothing.
pub fn in_scope<T>(ids: Ids, work: impl FnOnce() -> T) -> T {
    CURRENT.sync_scope(ids, work)
}

pub(super) fn current() -> Option<Ids> {
    CURRENT.try_with(|ids| *ids).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_trace_is_that_of_the_traceparent_or_the_storys() {
        let story = Uuid::from_u128(0x0192_0000_0000_7000_8000_0000_0000_0001);
        let of = |traceparent| Ids::new(story, traceparent).trace_id();
        assert_eq!(
            of(Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")),
            "0af7651916cd43dd8448eb211c80319c"
        );
        for none in
            [None, Some(""), Some("00-short-b7ad6b7169203331-01"), Some("00-00000000000000000000000000000000-1-01")]
        {
            assert_eq!(of(none), "01920000000070008000000000000001", "{none:?}");
        }
        let given = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(in_scope(Ids::new(story, Some(given)), traceparent).as_deref(), Some(given));
        assert_eq!(in_scope(Ids::new(story, None), traceparent), None);
        assert_eq!(Ids::new(story, None).correlation_id(), "01920000-0000-7000-8000-000000000001");
    }
}
