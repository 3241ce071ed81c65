//! What is tried again, as OTLP has it. <https://opentelemetry.io/docs/specs/otlp/#failures>

use std::time::Duration;

use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator};
use tokio::time::Instant;

pub(super) const RETRIES_MAX: u32 = 3;
/// Before the first repetition; twice as long before each further one.
const PAUSE: Duration = Duration::from_millis(100);

/// Why the collector did not take a request.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) error: String,
    pub(super) again: Again,
}

impl Refusal {
    /// An error with its causes: "transport error" alone says nothing.
    pub(super) fn of(error: &dyn std::error::Error, again: Again) -> Self {
        let causes = std::iter::successors(Some(error), |error| error.source());
        let error = causes.map(ToString::to_string).collect::<Vec<_>>().join(": ");
        Self { error, again }
    }
}

/// Whether a request may be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Again {
    Never,
    Soon,
    /// Not before this has passed.
    After(Duration),
}

/// Sends until it is taken, within `longest` in all.
///
/// # Errors
/// What the collector said last.
pub(super) async fn deliver<T>(
    longest: Duration,
    retries: u32,
    mut send: impl AsyncFnMut() -> Result<T, Refusal>,
) -> Result<T, String> {
    let end = Instant::now() + longest;
    let mut pause = PAUSE;
    let mut left = retries;
    loop {
        let refusal = match tokio::time::timeout_at(end, send()).await {
            Ok(Ok(taken)) => return Ok(taken),
            Ok(Err(refusal)) => refusal,
            Err(_) => return Err(format!("no answer within {longest:?}")),
        };
        let wait = match refusal.again {
            Again::Never => return Err(refusal.error),
            Again::Soon => pause + jitter(),
            Again::After(wait) => wait.max(pause) + jitter(),
        };
        if left == 0 || Instant::now() + wait >= end {
            return Err(refusal.error);
        }
        tokio::time::sleep(wait).await;
        left -= 1;
        pause *= 2;
    }
}

/// So that many processes do not come back at once.
fn jitter() -> Duration {
    let random = u64::from_be_bytes(RandomIdGenerator::default().new_span_id().to_bytes());
    Duration::from_millis(random % 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(again: Again) -> Refusal {
        Refusal { error: "full".to_owned(), again }
    }

    #[tokio::test(start_paused = true)]
    async fn what_may_be_repeated_is_repeated_a_few_times() {
        let mut sent = 0;
        let lost: Result<(), _> = deliver(Duration::from_secs(60), RETRIES_MAX, async || {
            sent += 1;
            Err(refusal(Again::Soon))
        })
        .await;
        assert_eq!((lost, sent), (Err("full".to_owned()), 1 + RETRIES_MAX));

        let mut sent = 0;
        let taken = deliver(Duration::from_secs(60), RETRIES_MAX, async || {
            sent += 1;
            if sent < 3 { Err(refusal(Again::Soon)) } else { Ok(sent) }
        })
        .await;
        assert_eq!(taken, Ok(3));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_refused_for_good_is_not() {
        let mut sent = 0;
        let lost: Result<(), _> = deliver(Duration::from_secs(60), RETRIES_MAX, async || {
            sent += 1;
            Err(refusal(Again::Never))
        })
        .await;
        assert_eq!((lost, sent), (Err("full".to_owned()), 1));
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_takes_longer_than_it_may() {
        let began = Instant::now();
        let lost: Result<(), _> =
            deliver(Duration::from_secs(3), RETRIES_MAX, async || std::future::pending().await).await;
        assert_eq!(lost, Err("no answer within 3s".to_owned()));
        assert_eq!(began.elapsed(), Duration::from_secs(3));
        // What the collector asks for lies beyond the end.
        let began = Instant::now();
        let wait = Again::After(Duration::from_secs(30));
        let lost: Result<(), _> = deliver(Duration::from_secs(3), RETRIES_MAX, async || Err(refusal(wait))).await;
        assert_eq!((lost, began.elapsed()), (Err("full".to_owned()), Duration::ZERO));
    }
}
