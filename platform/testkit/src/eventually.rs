//! Waiting for a condition, with a deadline instead of a fixed sleep.

use std::panic::Location;
use std::time::Duration;

use tokio::time::Instant;

/// What a probe answers: not yet, or a value.
pub trait Outcome {
    /// The value once it is there.
    type Value;

    /// The value; or what is there instead, if the probe tells.
    ///
    /// # Errors
    /// Not yet.
    fn outcome(self) -> Result<Self::Value, Option<String>>;
}

impl Outcome for bool {
    type Value = ();

    fn outcome(self) -> Result<(), Option<String>> {
        if self { Ok(()) } else { Err(None) }
    }
}

impl<T> Outcome for Option<T> {
    type Value = T;

    fn outcome(self) -> Result<T, Option<String>> {
        self.ok_or(None)
    }
}

/// A probe that tells what it saw instead.
impl<T, E: std::fmt::Display> Outcome for Result<T, E> {
    type Value = T;

    fn outcome(self) -> Result<T, Option<String>> {
        self.map_err(|seen| Some(seen.to_string()))
    }
}

/// Calls `probe` until it answers `true`, `Some` or `Ok`, and returns that value. For the test's own
/// task: with a borrowing probe the future is not `Send`.
///
/// # Panics
/// When `within` has passed; the message names the caller's line, and what the probe last saw.
#[track_caller]
pub fn eventually<P, O>(within: Duration, mut probe: P) -> impl Future<Output = O::Value>
where
    P: AsyncFnMut() -> O,
    O: Outcome,
{
    let caller = Location::caller();
    async move {
        let deadline = Instant::now() + within;
        let mut pause = Duration::from_millis(1);
        let mut last = String::new();
        loop {
            // A probe that hangs is a failure too.
            match tokio::time::timeout_at(deadline, probe()).await.map(Outcome::outcome) {
                Ok(Ok(value)) => return value,
                Ok(Err(Some(seen))) => last = format!("; last seen: {seen}"),
                Ok(Err(None)) | Err(_) => {}
            }
            assert!(Instant::now() < deadline, "{caller}: did not happen within {within:?}{last}");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(50));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn returns_the_value_once_it_is_there() {
        let mut calls = 0;
        let value = eventually(Duration::from_secs(5), || {
            calls += 1;
            let answer = (calls == 3).then_some("done");
            async move { answer }
        })
        .await;
        assert_eq!(value, "done");
        assert_eq!(calls, 3);
    }

    #[tokio::test]
    #[should_panic(expected = "did not happen within 20ms; last seen: 2 of 3")]
    async fn what_was_seen_last_is_told() {
        eventually(Duration::from_millis(20), async || Err::<(), _>("2 of 3")).await;
    }

    #[tokio::test]
    #[should_panic(expected = "did not happen within")]
    async fn a_probe_that_hangs_ends_with_the_deadline() {
        eventually(Duration::from_millis(20), std::future::pending::<bool>).await;
    }
}
