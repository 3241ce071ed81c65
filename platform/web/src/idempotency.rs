//! Idempotency keys: a request that is sent again takes effect once and is answered the same.
//!
//! A caller sends `Idempotency-Key: <1 to 255 visible ASCII characters>` with a POST. Whoever repeats the request with
//! the same key (a retry after a lost answer, a double click) gets the first one's answer, byte for byte, with the header
//! `Idempotency-Replayed: true`. Another request under the same key is refused with 422, `idempotency-key-reused`; one
//! that comes while the first is still running with 409, `idempotency-key-in-use`. Keys belong to the caller; of callers
//! without a token, to the route. They are kept for 24 hours at least.
//!
//! What is kept, and what is not:
//!
//! * An answer is kept if the request took effect. It is written **in the transaction of the effect**: a crash leaves
//!   both or neither. A request that found its effect already there is answered and kept likewise.
//! * A refusal is not kept: nothing happened, so the same request may be tried again under the same key once what was
//!   wrong has changed, and it may then succeed.
//! * Two instances of a service that get the same key at once both begin; the key is unique in the database, so only one
//!   of them commits, and the other one answers with what that one did.
//! * Answers lie in the service's database as they were sent, unless it has a [`Keeper`]: a service whose answers are
//!   personal keeps their ciphertext, and a keyed fingerprint of its requests; one that can tell an answer again from its
//!   events keeps where to look. An answer that holds a secret is not kept at all.
//!
//! # In a service
//!
//! ```ignore
//! async fn create(
//!     &self,
//!     caller: Bearer,
//!     /// Sent again with the same key, the request takes effect once.
//!     #[oai(name = "Idempotency-Key")]
//!     key: IdempotencyKey, // before the body
//!     body: Json<CreateOrder>,
//! ) -> Result<Answered<Created>, Problem> {
//!     self.keys
//!         .once(&key, Some(&caller.0), |ticket| async move {
//!             let answering = |order: &Order, _| ticket.answer(|| Created::of(order));
//!             let executed = self.commands.create_answered(&id, &origin, command, &answering).await?;
//!             Ok(Created::of(&executed.state))
//!         })
//!         .await
//! }
//! ```
//!
//! Without a key nothing of this costs anything. `runtime::Commands` has an `…_answered` sibling of each of its
//! functions; whatever commits a unit of work of its own puts the answer into `UnitOfWork::answers`.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use event_store::{Answer, EventStore};
use parking_lot::Mutex;
use poem::IntoResponse;
use uuid::Uuid;

use crate::Problem;
use crate::auth::Identity;

mod answered;
mod keeper;
mod key;

pub use answered::Answered;
pub use keeper::{Keeper, gone, told_again};
pub use key::IdempotencyKey;

use keeper::Taken;
use key::Asked;

/// When whoever comes while the first request is running may come again.
const IN_USE_RETRY_AFTER: Duration = Duration::from_secs(1);
/// The ids of what a request makes derive from this and the request.
const IDS: Uuid = Uuid::from_u128(0x6f1d_0e0a_3c52_5b8e_8a47_9d1c_55e2_7b03);

/// The keys of one service.
#[derive(Clone)]
pub struct Idempotency {
    store: Arc<dyn EventStore>,
    keeper: Option<Arc<dyn Keeper>>,
    running: Arc<Mutex<HashSet<(String, String)>>>,
}

impl fmt::Debug for Idempotency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Idempotency").field("running", &self.running.lock().len()).finish_non_exhaustive()
    }
}

/// Proof that a request runs under its key: makes the [`Answer`] that is recorded with the effect. Of a request without a
/// key it makes none.
#[derive(Debug, Clone, Default)]
pub struct Ticket(Option<Arc<Held>>);

#[derive(Debug)]
struct Held {
    scope: String,
    asked: Asked,
}

/// A key whose request runs in this process; free again when dropped.
struct Running {
    all: Arc<Mutex<HashSet<(String, String)>>>,
    key: (String, String),
}

impl Idempotency {
    /// Keys kept in this store.
    pub fn new(store: Arc<dyn EventStore>) -> Self {
        Self { store, keeper: None, running: Arc::default() }
    }

    /// Keys kept in this store, and answers as this keeper has them.
    pub fn kept_by(store: Arc<dyn EventStore>, keeper: impl Keeper) -> Self {
        Self { keeper: Some(Arc::new(keeper)), ..Self::new(store) }
    }

    /// Runs `work` unless the request was answered before, and then gives that answer again.
    ///
    /// # Errors
    /// Those of `work`; the key belongs to another request, or to one that is still running; the store is away.
    pub async fn once<T, E, F, Fut>(
        &self,
        key: &IdempotencyKey,
        caller: Option<&Identity>,
        work: F,
    ) -> Result<Answered<T>, E>
    where
        E: From<Problem>,
        F: FnOnce(Ticket) -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        let Some(asked) = &key.0 else { return work(Ticket::default()).await.map(Answered::Now) };
        let scope = match caller {
            Some(caller) => format!("user:{}", caller.user_id),
            None => format!("anonymous:{}", asked.operation),
        };
        let mut asked = asked.clone();
        if let Some(keeper) = &self.keeper {
            asked.fingerprint = keeper.fingerprint(asked.fingerprint);
        }
        let held = Arc::new(Held { scope, asked });
        let _running = self.enter(&held)?;
        if let Some(answer) = self.answer(&held).await? {
            return Ok(Answered::Before(answer));
        }
        let error = match work(Ticket(Some(Arc::clone(&held)))).await {
            Ok(answer) => return Ok(Answered::Now(answer)),
            Err(error) => error,
        };
        // Another instance may have been faster, or our own commit's acknowledgement was lost: what is recorded counts.
        match self.answer(&held).await {
            Ok(Some(answer)) => Ok(Answered::Before(answer)),
            Ok(None) | Err(_) => Err(error),
        }
    }

    fn enter(&self, held: &Held) -> Result<Running, Problem> {
        let key = (held.scope.clone(), held.asked.key.clone());
        if !self.running.lock().insert(key.clone()) {
            let problem = Problem::conflict("A request with this Idempotency-Key is still running: try again");
            return Err(problem
                .kind("idempotency-key-in-use", "The idempotency key is in use")
                .retry_after(IN_USE_RETRY_AFTER));
        }
        Ok(Running { all: Arc::clone(&self.running), key })
    }

    /// What this request was answered before; an error if it was another request.
    async fn answer(&self, held: &Held) -> Result<Option<Answer>, Problem> {
        let found = self.store.answer(&held.scope, &held.asked.key).await.map_err(|error| {
            if error.is_transient() {
                tracing::warn!(%error, "an idempotency key cannot be looked up");
                Problem::unavailable("Temporarily unavailable", IN_USE_RETRY_AFTER)
            } else {
                Problem::internal(error)
            }
        })?;
        match found {
            Some(answer) if answer.fingerprint != held.asked.fingerprint => {
                let detail = "This Idempotency-Key was used with another request: take a new one";
                Err(Problem::unprocessable(detail)
                    .kind("idempotency-key-reused", "The idempotency key was used before")
                    .field(key::HEADER, "belongs to another request"))
            }
            Some(answer) => match &self.keeper {
                Some(keeper) => keeper.recall(answer).await.map(Some),
                None => Ok(Some(answer)),
            },
            None => Ok(None),
        }
    }
}

impl Ticket {
    /// What is to be recorded: the response as it will be sent. Its body has to be in memory.
    pub fn answer<R: IntoResponse>(&self, response: impl FnOnce() -> R) -> Option<Answer> {
        let held = self.0.as_deref()?;
        let Some(Taken { status, headers, body }) = keeper::taken(response()) else {
            tracing::error!("an answer that is not in memory cannot be kept under its idempotency key");
            return None;
        };
        Some(held.answer(status, headers, body))
    }

    /// What a [`Keeper`] will tell the answer of; nothing of the response itself.
    pub fn note(&self, note: impl FnOnce() -> Vec<u8>) -> Option<Answer> {
        Some(self.0.as_deref()?.answer(0, Vec::new(), note()))
    }

    /// The id of the `n`th thing that this request makes: the same whenever the request is sent again. Without a key
    /// there is none.
    pub fn id(&self, n: u64) -> Option<Uuid> {
        let Held { scope, asked } = self.0.as_deref()?;
        let mut name = key::fingerprint(&[scope.as_bytes(), asked.key.as_bytes(), &asked.fingerprint]).to_vec();
        name.extend(n.to_be_bytes());
        Some(Uuid::new_v5(&IDS, &name))
    }

    /// As [`Ticket::answer`], for a gRPC message.
    pub fn message<M: prost::Message>(&self, message: impl FnOnce() -> M) -> Option<Answer> {
        let held = self.0.as_deref()?;
        Some(held.answer(0, Vec::new(), message().encode_to_vec()))
    }
}

impl Held {
    fn answer(&self, status: u16, headers: Vec<(String, String)>, body: Vec<u8>) -> Answer {
        let Asked { key, fingerprint, .. } = &self.asked;
        let (scope, key, fingerprint) = (self.scope.clone(), key.clone(), fingerprint.to_vec());
        Answer { scope, key, fingerprint, status, headers, body }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.all.lock().remove(&self.key);
    }
}

#[cfg(test)]
mod tests;
