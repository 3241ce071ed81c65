//! Quotes that are asked for at the same time are one call.
//!
//! A call carries what was asked for while the last one was under way: a quote alone never waits for company, and none
//! waits for a call that takes long.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kernel::ProductId;
use telemetry::trace;
use tokio::sync::{Mutex, Semaphore, mpsc, oneshot};
use tonic::Status;
use web::RequestContext;

use crate::breaker::Failure;

/// Calls that others are gathered behind: while one is answered the next can be asked.
const CALLERS: usize = 2;
/// Others are gathered behind a call for so long; then the next one goes beside it.
const GATHERING_MAX: Duration = Duration::from_millis(20);
/// Calls in flight; where the product service is so slow that more would be, they wait.
const CALLS_MAX: usize = 64;
/// Products in a call, but for those of its last member.
const PRODUCTS_MAX: usize = 256;
/// Quotes that may wait; more wait for a place.
const QUEUE_MAX: usize = 1_024;

/// The products of a call, each with the most that one of its members wants.
pub(super) type Products = BTreeMap<ProductId, i64>;
/// What the members of a call get.
pub(super) type Outcome<T> = Result<Arc<T>, Failure>;

/// A quote that waits to be asked for.
struct Waiting<T> {
    products: Products,
    context: RequestContext,
    deadline: Instant,
    /// The span of its call.
    span: Option<trace::Current>,
    reply: oneshot::Sender<Outcome<T>>,
}

/// One call in the name of all its members: with the ids of the first, and as much time as the most patient has.
#[derive(Debug)]
pub(super) struct Gathered {
    pub products: Products,
    pub context: RequestContext,
    pub deadline: Instant,
}

/// Takes quotes one by one and asks for them together. The callers end when it is dropped.
pub(super) struct Gather<T> {
    queue: mpsc::Sender<Waiting<T>>,
}

impl<T: Send + Sync + 'static> Gather<T> {
    /// Starts the callers. `call` asks for all products of a call.
    pub fn start<F, Fut>(call: F) -> Self
    where
        F: Fn(Gathered) -> Fut + Clone + Send + 'static,
        Fut: Future<Output = Result<T, Failure>> + Send + 'static,
    {
        let (queue, waiting) = mpsc::channel(QUEUE_MAX);
        let (waiting, calls) = (Arc::new(Mutex::new(waiting)), Arc::new(Semaphore::new(CALLS_MAX)));
        for _ in 0..CALLERS {
            let (waiting, calls, call) = (Arc::clone(&waiting), Arc::clone(&calls), call.clone());
            tokio::spawn(async move {
                while let Some(members) = next(&waiting).await {
                    let Ok(place) = Arc::clone(&calls).acquire_owned().await else { return };
                    let call = call.clone();
                    let asking = tokio::spawn(async move {
                        ask(members, call).await;
                        drop(place);
                    });
                    // Late is not lost: it goes on beside the next.
                    let _ = tokio::time::timeout(GATHERING_MAX, asking).await;
                }
            });
        }
        Self { queue }
    }

    /// What there is of these products, and at least of them.
    ///
    /// # Errors
    /// The call failed, or there was no answer before the deadline.
    pub async fn quote(&self, products: Products, context: &RequestContext, deadline: Instant) -> Outcome<T> {
        let (reply, answer) = oneshot::channel();
        let (context, span) = (context.clone(), trace::current_span());
        let waiting = Waiting { products, context, deadline, span, reply };
        let asked = async {
            self.queue.send(waiting).await.ok()?;
            answer.await.ok()
        };
        match tokio::time::timeout_at(deadline.into(), asked).await {
            Ok(Some(outcome)) => outcome,
            Ok(None) => Err(Failure::Status(Status::internal("the quote was given up"))),
            Err(_) => Err(Failure::Status(Status::deadline_exceeded("no answer in time"))),
        }
    }
}

/// The first quote that waits and whatever else has arrived by then, without those that nobody waits for any more.
async fn next<T>(waiting: &Mutex<mpsc::Receiver<Waiting<T>>>) -> Option<Vec<Waiting<T>>> {
    let mut waiting = waiting.lock().await;
    loop {
        let mut members = vec![waiting.recv().await?];
        // Whoever is about to ask goes along; where nobody is, this costs nothing.
        tokio::task::yield_now().await;
        let mut products = members[0].products.len();
        while products < PRODUCTS_MAX {
            let Ok(next) = waiting.try_recv() else { break };
            products += next.products.len();
            members.push(next);
        }
        members.retain(|member| !member.reply.is_closed());
        if !members.is_empty() {
            return Some(members);
        }
    }
}

async fn ask<T, Fut>(mut members: Vec<Waiting<T>>, call: impl FnOnce(Gathered) -> Fut)
where
    Fut: Future<Output = Result<T, Failure>>,
{
    let Some(first) = members.first_mut() else { return };
    let (mut products, context) = (std::mem::take(&mut first.products), first.context.clone());
    let deadline = members.iter().map(|member| member.deadline).fold(members[0].deadline, Instant::max);
    for (product, quantity) in members.iter_mut().flat_map(|member| std::mem::take(&mut member.products)) {
        let most = products.entry(product).or_default();
        *most = quantity.max(*most);
    }
    // One trace can go on in the call: that of the first whose trace is recorded. The others' are linked to it.
    let mut recorded = members.iter().filter_map(|member| member.span.as_ref()).filter(|span| span.at().is_sampled());
    let carrier = recorded.next();
    if let Some(at) = carrier.map(trace::Current::at) {
        recorded.for_each(|span| span.with(|span| span.link(at)));
    }
    let carrier = carrier.or(members[0].span.as_ref()).cloned();
    let outcome = trace::scope(carrier, call(Gathered { products, context, deadline })).await.map(Arc::new);
    for member in members {
        // Whoever asked may have gone.
        let _ = member.reply.send(outcome.clone());
    }
}

#[cfg(test)]
mod tests {
    use futures::future::join_all;
    use tokio::sync::Notify;
    use tonic::Code;
    use uuid::Uuid;

    use super::*;

    const SOON: Duration = Duration::from_secs(30);

    fn wanted(product: u128, quantity: i64) -> Products {
        Products::from([(ProductId(Uuid::from_u128(product)), quantity)])
    }

    fn context() -> RequestContext {
        let (correlation_id, request_id, traceparent) = (Uuid::from_u128(1), None, None);
        RequestContext { correlation_id, request_id, traceparent, remote: None, deadline: None }
    }

    #[tokio::test]
    async fn what_is_asked_at_once_is_one_call_for_the_most_of_each_product() {
        let gather = Gather::start(async |gathered: Gathered| Ok(gathered.products));
        let (context, deadline) = (context(), Instant::now() + SOON);
        let quotes = (1..=10).map(|n| gather.quote(wanted(u128::from(n % 2 == 0), n), &context, deadline));
        let quotes = join_all(quotes).await.into_iter().map(Result::unwrap).collect::<Vec<_>>();
        for (n, quote) in (1..=10).zip(&quotes) {
            let [(_, most)] = wanted(u128::from(n % 2 == 0), n).into_iter().collect::<Vec<_>>()[..] else { panic!() };
            assert!(quote.values().any(|asked| *asked >= most), "{quote:?} for {n}");
        }
        assert!(quotes.iter().any(|quote| quote.len() == 2 && quote.values().all(|most| *most >= 7)), "{quotes:?}");
    }

    #[tokio::test]
    async fn none_waits_behind_a_call_that_takes_long_or_for_longer_than_it_has_time() {
        let answered = Arc::new(Notify::new());
        let gather = Arc::new(Gather::start({
            let answered = Arc::clone(&answered);
            move |gathered: Gathered| {
                let answered = Arc::clone(&answered);
                async move {
                    if gathered.products == wanted(0, 1) {
                        answered.notified().await;
                    }
                    Ok(gathered.products)
                }
            }
        }));
        let quote = |product, within| {
            let gather = Arc::clone(&gather);
            tokio::spawn(async move { gather.quote(wanted(product, 1), &context(), Instant::now() + within).await })
        };
        let slow = [quote(0, SOON), quote(0, SOON), quote(0, Duration::from_millis(100))];
        let [first, second, hurried] = slow;
        assert!(
            matches!(hurried.await.unwrap(), Err(Failure::Status(status)) if status.code() == Code::DeadlineExceeded)
        );
        assert_eq!(*quote(1, SOON).await.unwrap().unwrap(), wanted(1, 1));
        assert!(!first.is_finished() && !second.is_finished());
        answered.notify_waiters();
        assert!(first.await.unwrap().is_ok() && second.await.unwrap().is_ok());
    }
}
