use std::sync::atomic::{AtomicUsize, Ordering};

use event_store::{MemoryStore, UnitOfWork, clock};
use kernel::UserId;
use poem::http::StatusCode;
use poem::test::{TestClient, TestResponse};
use poem_openapi::payload::Json;
use poem_openapi::{Object, OpenApi};
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::*;
use crate::App;
use crate::auth::Role;

#[derive(Object)]
struct Parcel {
    grams: u32,
}

/// Weighs parcels; each takes a permit.
struct Depot {
    keys: Idempotency,
    store: Arc<MemoryStore>,
    weighed: Arc<AtomicUsize>,
    permits: Arc<Semaphore>,
}

#[OpenApi]
impl Depot {
    #[oai(path = "/parcels", method = "post")]
    async fn weigh(
        &self,
        #[oai(name = "Idempotency-Key")] key: IdempotencyKey,
        #[oai(name = "X-User")] user: poem_openapi::param::Header<Option<Uuid>>,
        body: Json<Parcel>,
    ) -> Result<Answered<Json<Parcel>>, Problem> {
        let caller = user.0.map(|id| Identity::new(UserId(id), Role::Customer));
        let work = |ticket: Ticket| async move {
            self.permits.acquire().await.unwrap().forget();
            let grams = body.grams;
            if grams == 0 {
                return Err(Problem::unprocessable("nothing to weigh"));
            }
            self.weighed.fetch_add(1, Ordering::SeqCst);
            let answers = ticket.answer(|| Json(Parcel { grams })).into_iter().collect();
            let work = UnitOfWork { answers, ..UnitOfWork::default() };
            self.store.commit(work).await.map_err(|error| Problem::conflict(error.to_string()))?;
            Ok(Json(Parcel { grams }))
        };
        self.keys.once(&key, caller.as_ref(), work).await
    }
}

struct Fixture {
    client: TestClient<crate::Edge>,
    store: Arc<MemoryStore>,
    weighed: Arc<AtomicUsize>,
    permits: Arc<Semaphore>,
}

fn depot() -> Fixture {
    let store = Arc::new(MemoryStore::new(clock::system()));
    let (weighed, permits) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(1_000)));
    let depot = Depot {
        keys: Idempotency::new(Arc::clone(&store) as Arc<dyn EventStore>),
        store: Arc::clone(&store),
        weighed: Arc::clone(&weighed),
        permits: Arc::clone(&permits),
    };
    Fixture { client: TestClient::new(App::new("depot", "Depot", depot)), store, weighed, permits }
}

impl Fixture {
    async fn weigh(&self, key: Option<&str>, user: Option<Uuid>, grams: u32) -> TestResponse {
        let mut request = self.client.post("/api/v1/parcels").body_json(&serde_json::json!({ "grams": grams }));
        if let Some(key) = key {
            request = request.header("Idempotency-Key", key);
        }
        if let Some(user) = user {
            request = request.header("X-User", user.to_string());
        }
        request.send().await
    }

    fn weighed(&self) -> usize {
        self.weighed.load(Ordering::SeqCst)
    }
}

async fn problem(response: TestResponse, status: StatusCode) -> String {
    response.assert_status(status);
    let body = response.json().await;
    body.value().object().get("type").string().to_owned()
}

#[tokio::test]
async fn a_repeated_request_is_answered_as_before() {
    let depot = depot();
    let first = depot.weigh(Some("k"), None, 5).await;
    first.assert_status_is_ok();
    first.assert_header_is_not_exist("Idempotency-Replayed");
    let first = first.0.into_body().into_bytes().await.unwrap();
    let again = depot.weigh(Some("k"), None, 5).await;
    again.assert_header("Idempotency-Replayed", "true");
    again.assert_content_type("application/json; charset=utf-8");
    assert_eq!(again.0.into_body().into_bytes().await.unwrap(), first);
    assert_eq!(depot.weighed(), 1);
    // Without a key each counts, and nothing is kept.
    depot.weigh(None, None, 5).await.assert_header_is_not_exist("Idempotency-Replayed");
    depot.weigh(None, None, 5).await.assert_status_is_ok();
    assert_eq!(depot.weighed(), 3);
}

#[tokio::test]
async fn a_key_belongs_to_its_caller_and_request() {
    let depot = depot();
    let (ann, bob) = (Uuid::now_v7(), Uuid::now_v7());
    for caller in [None, Some(ann), Some(bob)] {
        depot.weigh(Some("k"), caller, 5).await.assert_header_is_not_exist("Idempotency-Replayed");
    }
    assert_eq!(depot.weighed(), 3);
    let reused = depot.weigh(Some("k"), Some(ann), 6).await;
    assert_eq!(problem(reused, StatusCode::UNPROCESSABLE_ENTITY).await, "/problems/idempotency-key-reused");
    let invalid = depot.weigh(Some("a key"), None, 5).await;
    assert_eq!(problem(invalid, StatusCode::BAD_REQUEST).await, "/problems/validation");
    assert_eq!(depot.weighed(), 3);
}

#[tokio::test]
async fn a_request_that_is_running_is_not_run_again() {
    let depot = depot();
    depot.permits.forget_permits(1_000);
    let first = depot.weigh(Some("k"), None, 5);
    let second = async {
        let refused = depot.weigh(Some("k"), None, 5).await;
        refused.assert_header("Retry-After", "1");
        let kind = problem(refused, StatusCode::CONFLICT).await;
        depot.permits.add_permits(2);
        kind
    };
    let (first, kind) = tokio::join!(first, second);
    first.assert_status_is_ok();
    assert_eq!(kind, "/problems/idempotency-key-in-use");
    depot.weigh(Some("k"), None, 5).await.assert_header("Idempotency-Replayed", "true");
}

#[tokio::test]
async fn a_refusal_is_not_kept() {
    let depot = depot();
    for _ in 0..2 {
        let refused = depot.weigh(Some("k"), None, 0).await;
        refused.assert_status(StatusCode::UNPROCESSABLE_ENTITY);
        refused.assert_header_is_not_exist("Idempotency-Replayed");
    }
    // The key is still good, for another request too.
    depot.weigh(Some("k"), None, 7).await.assert_status_is_ok();
}

#[tokio::test]
async fn an_effect_whose_acknowledgement_was_lost_is_answered() {
    let depot = depot();
    depot.store.fail_after_next_commit(event_store::Error::Unavailable("cut off".to_owned()));
    let answer = depot.weigh(Some("k"), None, 5).await;
    answer.assert_status_is_ok();
    answer.assert_header("Idempotency-Replayed", "true");
    assert_eq!(depot.weighed(), 1);
}
