//! Waiting for a condition, with a deadline instead of a fixed sleep.

use std::panic::Location;
use std::time::Duration;

use tokio::time::Instant;

/// What a probe answers: not yet, or a value.
pub trait Outcome {
    /// The value once it is there.
    type Value;

    /// The value, or nothing yet.
    fn outcome(self) -> Option<Self::Value>;
}

impl Outcome for bool {
    type Value = ();

    fn outcome(self) -> Option<()> {
        self.then_some(())
    }
}

impl<T> Outcome for Option<T> {
    type Value = T;

    fn outcome(self) -> Option<T> {
        self
    }
}

/// Calls `probe` until it answers `true` or `Some`, and returns that value. For the test's own
/// task: with a borrowing probe the future is not `Send`.
///
/// # Panics
/// When `within` has passed; the message names the caller's line.
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
        loop {
            // A probe that hangs is a failure too.
            let answer = tokio::time::timeout_at(deadline, probe()).await;
            if let Ok(Some(value)) = answer.map(Outcome::outcome) {
                return value;
            }
            assert!(Instant::now() < deadline, "{caller}: did not happen within {within:?}");
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
    #[should_panic(expected = "did not happen within")]
    async fn a_probe_that_hangs_ends_with_the_deadline() {
        eventually(Duration::from_millis(20), std::future::pending::<bool>).await;
    }
}
