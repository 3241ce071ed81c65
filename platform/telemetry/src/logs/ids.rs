//! Which request or message the current task is at work on.

use uuid::Uuid;

tokio::task_local! {
    static CURRENT: Ids;
}

/// What lines of one request or message have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ids {
    trace: u128,
    correlation: Uuid,
}

impl Ids {
    /// Of a story and the trace that a `traceparent` names; where there is none, the trace's id is the story's digits.
    pub fn new(correlation: Uuid, traceparent: Option<&str>) -> Self {
        Self { trace: traceparent.and_then(trace).unwrap_or(correlation.as_u128()), correlation }
    }

    /// The trace's, as 32 digits.
    pub fn trace_id(&self) -> String {
        format!("{:032x}", self.trace)
    }

    /// The story's.
    pub fn correlation_id(&self) -> String {
        self.correlation.to_string()
    }
}

fn trace(traceparent: &str) -> Option<u128> {
    let digits = traceparent.trim().split('-').nth(1)?;
    let is_one = digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_one.then(|| u128::from_str_radix(digits, 16).ok()).flatten().filter(|trace| *trace != 0)
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
        assert_eq!(Ids::new(story, None).correlation_id(), "01920000-0000-7000-8000-000000000001");
    }
}
