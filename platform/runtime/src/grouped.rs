//! Calls made at once share one round trip to the database.
//!
//! A group is what arrived while the last one was being worked on; a call alone never waits for
//! company.

use std::sync::Arc;

use tokio::sync::{Mutex, mpsc, oneshot};

/// Groups that are worked on at once: while one waits for its flush another can be prepared.
const WORKERS: usize = 2;
/// Calls in a group.
const GROUP_MAX: usize = 256;
/// Calls that may wait; more wait for a place.
const QUEUE_MAX: usize = 1_024;

/// The work's end has been lost: its task died.
#[derive(Debug, thiserror::Error)]
#[error("the work was given up")]
pub struct GivenUp;

type Call<T, R> = (T, oneshot::Sender<R>);

/// Takes calls one by one and works on them in groups. The workers end when it is dropped.
pub struct Grouped<T, R> {
    calls: mpsc::Sender<Call<T, R>>,
}

impl<T: Send + 'static, R: Send + 'static> Grouped<T, R> {
    /// Starts the workers. `work` answers each item of its group, in the group's order.
    pub fn start<F, Fut>(work: F) -> Self
    where
        F: Fn(Vec<T>) -> Fut + Clone + Send + 'static,
        Fut: Future<Output = Vec<R>> + Send,
    {
        let (calls, queue) = mpsc::channel::<Call<T, R>>(QUEUE_MAX);
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..WORKERS {
            let (queue, work) = (Arc::clone(&queue), work.clone());
            tokio::spawn(async move {
                while let Some((items, replies)) = next(&queue).await {
                    for (reply, answer) in replies.into_iter().zip(work(items).await) {
                        // Whoever asked may have gone.
                        let _ = reply.send(answer);
                    }
                }
            });
        }
        Self { calls }
    }

    /// The answer for this item. The work is done even if the caller stops waiting for it.
    ///
    /// # Errors
    /// The task that worked on it died.
    pub async fn call(&self, item: T) -> Result<R, GivenUp> {
        let (reply, answer) = oneshot::channel();
        self.calls.send((item, reply)).await.map_err(|_| GivenUp)?;
        answer.await.map_err(|_| GivenUp)
    }
}

/// The first call that waits and whatever else has arrived by then, up to the limit.
async fn next<T, R>(queue: &Mutex<mpsc::Receiver<Call<T, R>>>) -> Option<(Vec<T>, Vec<oneshot::Sender<R>>)> {
    let mut queue = queue.lock().await;
    let (first, reply) = queue.recv().await?;
    // Whoever is about to call goes along; where nobody is, this costs nothing.
    tokio::task::yield_now().await;
    let (mut items, mut replies) = (vec![first], vec![reply]);
    while items.len() < GROUP_MAX {
        let Ok((item, reply)) = queue.try_recv() else { break };
        items.push(item);
        replies.push(reply);
    }
    Some((items, replies))
}

#[cfg(test)]
mod tests {
    use futures::future::join_all;

    use super::*;

    #[tokio::test]
    async fn each_caller_gets_its_own_answer() {
        let grouped = Grouped::start(|items: Vec<u32>| async move {
            tokio::task::yield_now().await;
            items.into_iter().map(|n| n * 2).collect::<Vec<_>>()
        });
        let answers = join_all((0..1_000).map(|n| grouped.call(n))).await;
        assert!(answers.into_iter().map(Result::unwrap).eq((0..1_000).map(|n| n * 2)));
    }

    #[tokio::test]
    async fn calls_that_wait_share_a_group() {
        let sizes = Arc::new(parking_lot::Mutex::new(Vec::new()));
        let seen = Arc::clone(&sizes);
        let grouped = Grouped::start(move |items: Vec<()>| {
            seen.lock().push(items.len());
            async move {
                tokio::task::yield_now().await;
                items
            }
        });
        join_all((0..100).map(|_| grouped.call(()))).await;
        assert!(sizes.lock().len() < 50, "{:?}", sizes.lock());
    }
}
