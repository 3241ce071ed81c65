//! Spares a service that fails: after many failures nobody asks it for a while.

use std::time::Duration;

use recloser::{AsyncRecloser, Recloser};
use telemetry::metrics::Circuit;
use tonic::Status;

/// Half of the last so many calls failed: it opens.
const WINDOW: usize = 20;
/// So many calls decide whether it closes again.
const PROBES: usize = 4;
/// How long nobody asks before that.
const OPEN_FOR: Duration = Duration::from_secs(2);

/// Why a service was not asked.
pub(crate) const SPARED: &str = "it has failed too often just now";

/// A circuit breaker that judges the status of a gRPC call. Its state is the gauge `circuit_breaker_open`.
pub(crate) struct Breaker {
    to: &'static str,
    circuit: AsyncRecloser,
    measures: Circuit,
}

/// Why there is no answer.
#[derive(Debug, Clone)]
pub(crate) enum Failure {
    /// It was not asked: it has failed too often just now.
    Open,
    /// What it said.
    Status(Status),
    /// It said what makes no sense.
    Confused(String),
}

impl Breaker {
    /// In front of the service `to`.
    pub fn new(to: &'static str) -> Self {
        let circuit =
            Recloser::custom().error_rate(0.5).closed_len(WINDOW).half_open_len(PROBES).open_wait(OPEN_FOR).build();
        Self { to, circuit: circuit.into(), measures: Circuit::new("order", to) }
    }

    /// Makes the call unless the circuit is open. `fails` tells which statuses speak of a service in trouble; all others
    /// are answers.
    pub async fn call<T>(
        &self,
        fails: impl Fn(&Status) -> bool,
        call: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, Failure> {
        match self.circuit.call_with(|status: &Status| fails(status), call).await {
            Ok(answer) => {
                self.measures.answered();
                Ok(answer)
            }
            Err(recloser::Error::Rejected) => {
                if self.measures.rejected() {
                    tracing::warn!(service = self.to, "a service fails: it is not asked for a while");
                }
                Err(Failure::Open)
            }
            Err(recloser::Error::Inner(status)) => {
                if fails(&status) {
                    self.measures.failed()
                } else {
                    self.measures.answered()
                }
                Err(Failure::Status(status))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use tonic::Code;

    use super::*;

    async fn call(breaker: &Breaker, code: Code) -> Result<(), Failure> {
        let answer = if code == Code::Ok { Ok(()) } else { Err(Status::new(code, "test")) };
        breaker.call(|status| status.code() == Code::Unavailable, ready(answer)).await
    }

    #[tokio::test]
    async fn failures_open_it_and_answers_do_not() {
        let breaker = Breaker::new("product");
        for _ in 0..10 * WINDOW {
            for code in [Code::NotFound, Code::InvalidArgument] {
                assert!(matches!(call(&breaker, code).await, Err(Failure::Status(_))));
            }
        }
        let mut failed = 0;
        while !matches!(call(&breaker, Code::Unavailable).await, Err(Failure::Open)) {
            failed += 1;
            assert!(failed <= WINDOW, "it never opens");
        }
        assert!(breaker.measures.is_open());
        assert!(matches!(call(&breaker, Code::Ok).await, Err(Failure::Open)), "nobody asks now");
        testkit::eventually(Duration::from_secs(20), || async { call(&breaker, Code::Ok).await.is_ok() }).await;
        assert!(!breaker.measures.is_open());
    }
}
