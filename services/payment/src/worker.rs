//! Calls the provider: many at once, no transaction open, each result recorded before anything
//! follows from it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use backon::{BackoffBuilder, ExponentialBuilder};
use domain::payment::{self, Command};
use event_store::clock::Clock;
use kernel::Live;
use parking_lot::Mutex;
use runtime::failpoint;
use telemetry::{Kind, Span, Tracer, logs, trace};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use web::RetryBudget;

use crate::job::{Ask, Job};
use crate::provider::{Error, Outcome, Provider};
use crate::recorder::Recorder;
use crate::{Config, measures};

/// Jobs that may wait to be begun. What does not fit is found by the sweep.
pub(crate) const QUEUE_MAX: usize = 4_096;
/// Jobs begun and not ended: those that wait for the provider to come back are among them.
const JOBS_MAX: usize = 10_000;

const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_LONGEST: Duration = Duration::from_secs(5);
/// One retry at its usual pause for so many answers, and so many saved at most.
const ANSWERS_A_RETRY: u32 = 5;
const RETRIES_MAX: u32 = 100;

/// Carries jobs out.
pub(crate) struct Worker {
    provider: Arc<dyn Provider>,
    live: Live,
    recorder: Recorder,
    clock: Arc<dyn Clock>,
    timeout: Duration,
    calls: Semaphore,
    retries: RetryBudget,
    tracer: Tracer,
    /// The jobs begun, by key: the sweep may find one while it is still worked on, and its result may be told while it
    /// is still asked for.
    underway: Mutex<HashMap<String, CancellationToken>>,
}

impl Worker {
    pub(crate) fn new(
        provider: Arc<dyn Provider>,
        live: Live,
        recorder: Recorder,
        clock: Arc<dyn Clock>,
        config: &Config,
    ) -> Arc<Self> {
        Arc::new(Self {
            provider,
            live,
            recorder,
            clock,
            timeout: config.provider_timeout,
            calls: Semaphore::new(config.concurrency_max),
            retries: RetryBudget::new(ANSWERS_A_RETRY, RETRIES_MAX),
            tracer: Tracer::of("payment"),
            underway: Mutex::default(),
        })
    }

    /// Works until shutdown; what is underway then is left to the next start's sweep.
    pub(crate) async fn run(self: Arc<Self>, mut jobs: mpsc::Receiver<Job>, shutdown: CancellationToken) {
        let mut tasks = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                Some(ended) = tasks.join_next() => {
                    if let Err(error) = ended {
                        tracing::error!(%error, "a payment's task died; the sweep begins it anew");
                    }
                }
                Some(job) = jobs.recv(), if tasks.len() < JOBS_MAX => {
                    let (ids, work) = (job.ids(), Arc::clone(&self).work(job));
                    match ids {
                        Some(ids) => tasks.spawn(logs::scope(ids, work)),
                        None => tasks.spawn(work),
                    };
                }
            }
        }
    }

    /// The job and whatever follows from its result.
    async fn work(self: Arc<Self>, job: Job) {
        let mut next = Some(job);
        while let Some(job) = next {
            let Some(underway) = Underway::begin(&self.underway, job.key()) else { return };
            let (outcome, traceparent) = tokio::select! {
                outcome = self.settle(&job) => outcome,
                () = underway.told.cancelled() => return,
            };
            failpoint::pass(job.ask.after());
            let result = self.result(&job.ask, outcome);
            next = match self.recorder.record(job.payment_id, result, traceparent).await {
                Ok(next) => next,
                Err(reason) => {
                    let (id, key) = (job.payment_id, job.key());
                    tracing::error!(payment.id = %id, provider.key = key, %reason, "the provider's answer contradicts the payment");
                    None
                }
            };
        }
    }

    /// Records a result that was told while the job waits for it or is asked for; returns what it leads to.
    ///
    /// # Errors
    /// The payment contradicts it.
    pub(crate) async fn told(&self, job: &Job, outcome: Outcome) -> Result<Option<Job>, payment::Error> {
        let next = self.recorder.record(job.payment_id, self.result(&job.ask, outcome), None).await?;
        if let Some(told) = self.underway.lock().get(job.key()) {
            told.cancel();
        }
        Ok(next)
    }

    /// Asks until the result is known. The key stays the same, so it happens once however often it
    /// is sent; the order's own time limit is the saga's affair.
    async fn settle(&self, job: &Job) -> (Outcome, Option<String>) {
        let mut pauses = ExponentialBuilder::default()
            .with_min_delay(RETRY_FIRST)
            .with_max_delay(RETRY_LONGEST)
            .with_jitter()
            .without_max_times()
            .build();
        let mut maybe_sent = job.maybe_sent;
        loop {
            match self.ask(job, maybe_sent).await {
                Ok(settled) => {
                    self.retries.deposit();
                    return settled;
                }
                Err(error) => {
                    let (id, key) = (job.payment_id, job.key());
                    tracing::warn!(payment.id = %id, provider.key = key, %error, "the result is not known: asking again");
                    measures::asked_again();
                }
            }
            maybe_sent = true;
            let pause = pauses.next().unwrap_or(RETRY_LONGEST);
            // Where few are answered, all ask as seldom as they may.
            tokio::time::sleep(if self.retries.withdraw() { pause } else { RETRY_LONGEST }).await;
        }
    }

    /// What the provider answers, and the `traceparent` of the call that it answered.
    async fn ask(&self, job: &Job, maybe_sent: bool) -> Result<(Outcome, Option<String>), Error> {
        // Held during calls only: those that wait for a retry keep nobody waiting.
        let _permit = self.calls.acquire().await.map_err(|error| Error::Unavailable(error.to_string()))?;
        if maybe_sent {
            let (found, traceparent) = self.in_time(job, "find", self.provider.find(job.key())).await?;
            if let Some(outcome) = found {
                return Ok((outcome, traceparent));
            }
        }
        failpoint::pass(job.ask.before());
        match &job.ask {
            Ask::Charge(request) => self.in_time(job, "charge", self.provider.charge(self.live, request)).await,
            Ask::Refund(request) => self.in_time(job, "refund", self.provider.refund(self.live, request)).await,
        }
    }

    async fn in_time<T>(
        &self,
        job: &Job,
        name: &'static str,
        call: impl Future<Output = Result<T, Error>>,
    ) -> Result<(T, Option<String>), Error> {
        let began = Instant::now();
        let (span, traceparent) = self.call_span(job, name);
        let in_time = tokio::time::timeout(self.timeout, call);
        let answer = trace::scope(span.clone(), in_time).await.unwrap_or(Err(Error::Timeout));
        let mut span = span.map_or_else(Span::none, trace::Current::into_span);
        if let Err(error) = &answer {
            span.set("error.type", error.label());
            span.fail(error.to_string());
        }
        drop(span);
        let result = answer.as_ref().map_or_else(Error::label, |_| "answered");
        measures::called(self.provider.name(), name, result, began.elapsed());
        answer.map(|answer| (answer, traceparent))
    }

    /// The span of a call to the provider, and what goes on from it.
    fn call_span(&self, job: &Job, name: &'static str) -> (Option<trace::Current>, Option<String>) {
        if !self.tracer.is_on() {
            return (None, job.traceparent.clone());
        }
        let provider = self.provider.name();
        let name_of_span = (name, provider);
        let mut span = self.tracer.resume(Kind::Client, name_of_span, job.traceparent.as_deref());
        span.set("peer.service", "payment-provider");
        span.set("payment.provider", provider);
        span.set("payment.call", name);
        span.set("payment.id", job.payment_id.0);
        let traceparent = span.traceparent();
        (span.into_current(), traceparent)
    }

    fn result(&self, ask: &Ask, outcome: Outcome) -> Command {
        let at = self.clock.now();
        match (ask, outcome) {
            (Ask::Charge(_), Outcome::Done { transaction_id }) => Command::RecordCaptured { transaction_id, at },
            (Ask::Charge(_), Outcome::Refused { reason }) => Command::RecordDeclined { reason: reason.into(), at },
            (Ask::Refund(_), Outcome::Done { transaction_id }) => Command::RecordRefunded { transaction_id, at },
            (Ask::Refund(_), Outcome::Refused { reason }) => Command::RecordRefundFailed { reason: reason.into(), at },
        }
    }
}

impl Ask {
    fn before(&self) -> &'static str {
        match self {
            Self::Charge(_) => "payment.before_charge",
            Self::Refund(_) => "payment.before_refund",
        }
    }

    /// Between the provider's answer and its record.
    fn after(&self) -> &'static str {
        match self {
            Self::Charge(_) => "payment.after_charge",
            Self::Refund(_) => "payment.after_refund",
        }
    }
}

/// A key that is worked on, until this is dropped.
struct Underway<'a> {
    keys: &'a Mutex<HashMap<String, CancellationToken>>,
    key: String,
    /// Cancelled once the result was recorded by others.
    told: CancellationToken,
}

impl<'a> Underway<'a> {
    /// Nothing if somebody else is at it.
    fn begin(keys: &'a Mutex<HashMap<String, CancellationToken>>, key: &str) -> Option<Self> {
        let told = CancellationToken::new();
        let mut begun = keys.lock();
        let Entry::Vacant(place) = begun.entry(key.to_owned()) else { return None };
        place.insert(told.clone());
        measures::underway(begun.len());
        Some(Self { keys, key: key.to_owned(), told })
    }
}

impl Drop for Underway<'_> {
    fn drop(&mut self) {
        let mut begun = self.keys.lock();
        begun.remove(&self.key);
        measures::underway(begun.len());
    }
}
