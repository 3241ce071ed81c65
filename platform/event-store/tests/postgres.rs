//! What only PostgreSQL can get wrong: commit order, and streams shared with stock postgres-es.

use std::collections::HashMap;
use std::time::Duration;

use cqrs_es::persist::{PersistedEventRepository, PersistedEventStore};
use cqrs_es::{AggregateError, CqrsFramework};
use event_store::{
    Append, Cursor, Error, EventStore, HashChain, Kept, MIGRATOR, Metadata, NewEvent, PgStore, RecordedEvent,
    StoreOptions, StreamId,
};
use kernel::Idempotent;
use postgres_es::PostgresEventRepository;
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgPoolOptions;
use sqlx::{PgConnection, PgPool, Postgres, Transaction};
use testkit::eventually;
use uuid::Uuid;

/// Tests write as services do.
const LIVE: kernel::Live = kernel::Live::because("a test");

const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Parcel {
    grams: Vec<u32>,
}

#[derive(Debug, Clone)]
enum Command {
    Weigh(u32),
    WeighAll(Vec<u32>),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Event {
    Weighed { grams: u32 },
}

impl Event {
    fn event_type(&self) -> &'static str {
        "weighed"
    }

    fn event_version(&self) -> &'static str {
        "1"
    }
}

#[derive(Debug, thiserror::Error)]
#[error("no parcel")]
struct Refused;

impl Parcel {
    fn decide_command(&self, command: Command) -> Result<Idempotent<Vec<Event>>, Refused> {
        let grams = match command {
            Command::Weigh(grams) => vec![grams],
            Command::WeighAll(grams) => grams,
        };
        Ok(Idempotent::Executed(grams.into_iter().map(|grams| Event::Weighed { grams }).collect()))
    }

    fn fold_event(&mut self, Event::Weighed { grams }: Event) {
        self.grams.push(grams);
    }
}

kernel::aggregate!(Parcel, "parcel", Command, Event, Refused);

fn metadata() -> Metadata {
    Metadata {
        event_id: Uuid::now_v7(),
        correlation_id: Uuid::now_v7(),
        causation_id: Uuid::now_v7(),
        command_id: Uuid::now_v7(),
        actor: "service:post".to_owned(),
        traceparent: None,
        recorded_at: chrono::DateTime::from_timestamp(1_700_000_000, 0).unwrap(),
        prev_hash: None,
    }
}

fn append(id: &str, expected: u64, grams: &[u32]) -> Append {
    let event = |grams: &u32| {
        let event = Event::Weighed { grams: *grams };
        NewEvent {
            event_type: event.event_type().to_owned(),
            event_version: event.event_version().to_owned(),
            payload: serde_json::to_string(&event).unwrap(),
            metadata: metadata(),
        }
    };
    Append { stream: StreamId::of::<Parcel>(id), expected, events: grams.iter().map(event).collect() }
}

/// A writer of its own that holds its transaction open, as a slow process would.
async fn hold(pool: &PgPool, id: &str, sequence: i64) -> Transaction<'static, Postgres> {
    let mut transaction = pool.begin().await.unwrap();
    insert(&mut transaction, id, sequence).await;
    transaction
}

async fn insert(transaction: &mut Transaction<'static, Postgres>, id: &str, sequence: i64) {
    sqlx::query(
        "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
         VALUES ('parcel', $1, $2, 'weighed', '1', '{\"Weighed\":{\"grams\":1}}', '{}')",
    )
    .bind(id)
    .bind(sequence)
    .execute(&mut **transaction)
    .await
    .unwrap();
}

/// Follows the store as a relay does and remembers what it was shown, in that order.
#[derive(Default)]
struct Follower {
    seen: Vec<RecordedEvent>,
}

impl Follower {
    /// Reads all there is to see now; whether anything is still hidden.
    async fn read(&mut self, store: &PgStore) -> bool {
        loop {
            let after = self.seen.last().map_or_else(Cursor::default, |event| event.cursor);
            let page = store.read_after(after, 2).await.unwrap();
            let end = page.events.is_empty();
            self.seen.extend(page.events);
            if end {
                return page.hidden.is_some();
            }
        }
    }

    /// Reads until so many have come: other tests' transactions on the same server hide events
    /// for a moment too.
    async fn read_until(&mut self, store: &PgStore, count: usize) {
        eventually(PATIENCE, async || {
            self.read(store).await;
            self.seen.len() >= count
        })
        .await;
    }

    fn ids(&self) -> Vec<&str> {
        self.seen.iter().map(|event| event.aggregate_id.as_str()).collect()
    }

    fn assert_ordered(&self) {
        let mut heads: HashMap<&str, u64> = HashMap::new();
        assert!(self.seen.is_sorted_by(|a, b| a.cursor < b.cursor));
        for event in &self.seen {
            let head = heads.entry(&event.aggregate_id).or_default();
            assert_eq!(event.sequence, *head + 1, "of {}", event.aggregate_id);
            *head = event.sequence;
        }
    }
}

#[tokio::test]
async fn writers_that_commit_in_reverse_are_shown_in_order() {
    let database = testkit::postgres::database_with(&MIGRATOR).await;
    let store = PgStore::new(database.pool.clone(), StoreOptions::default(), LIVE);
    let mut follower = Follower::default();

    let mut writers = Vec::new();
    for n in 0..5 {
        writers.push(hold(&database.pool, &format!("w{n}"), 1).await);
    }
    // Committed at once, but behind all of the open ones.
    store.append(append("ours", 0, &[1, 2])).await.unwrap();
    while let Some(writer) = writers.pop() {
        assert!(follower.read(&store).await, "committed events are announced as hidden");
        assert!(follower.ids().is_empty(), "{} writers are still open", writers.len() + 1);
        writer.commit().await.unwrap();
    }
    follower.read_until(&store, 7).await;
    assert_eq!(follower.ids(), ["w0", "w1", "w2", "w3", "w4", "ours", "ours"]);
    follower.assert_ordered();
}

#[tokio::test]
async fn positions_taken_later_by_an_older_transaction_are_not_skipped() {
    let database = testkit::postgres::database_with(&MIGRATOR).await;
    let store = PgStore::new(database.pool.clone(), StoreOptions::default(), LIVE);
    let mut follower = Follower::default();

    let mut older = hold(&database.pool, "older", 1).await;
    let younger = hold(&database.pool, "younger", 1).await;
    insert(&mut older, "older", 2).await;
    younger.commit().await.unwrap();
    assert!(follower.read(&store).await);
    assert!(follower.ids().is_empty());
    insert(&mut older, "older", 3).await;
    older.commit().await.unwrap();

    follower.read_until(&store, 4).await;
    assert_eq!(follower.ids(), ["older", "older", "older", "younger"]);
    let positions: Vec<i64> = follower.seen.iter().map(|event| event.cursor.position).collect();
    assert!(!positions.is_sorted(), "a reader by position alone would have skipped: {positions:?}");
}

#[tokio::test]
async fn a_transaction_that_rolls_back_leaves_no_hole() {
    let database = testkit::postgres::database_with(&MIGRATOR).await;
    let store = PgStore::new(database.pool.clone(), StoreOptions::default(), LIVE);
    let mut follower = Follower::default();
    let given_up = hold(&database.pool, "given up", 1).await;
    store.append(append("a", 0, &[1])).await.unwrap();
    given_up.rollback().await.unwrap();
    store.append(append("a", 1, &[2])).await.unwrap();
    follower.read_until(&store, 2).await;
    assert_eq!(follower.ids(), ["a", "a"]);
    assert!(!follower.seen[0].cursor.eq(&follower.seen[1].cursor));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_among_slow_writers_skips_nothing() {
    let database = testkit::postgres::database_with(&MIGRATOR).await;
    let store = PgStore::new(database.pool.clone(), StoreOptions::default(), LIVE);
    let mut follower = Follower::default();
    let mut total = 0;
    let mut open = std::collections::VecDeque::new();
    for round in 0..60_usize {
        open.push_back(hold(&database.pool, &format!("slow {round}"), 1).await);
        store.append(append("ours", round as u64, &[1])).await.unwrap();
        total += 2;
        // Ended now from the front, now from the back, so that some stay open for long.
        if open.len() > 6 {
            let ended = if round % 3 == 0 { open.pop_front() } else { open.pop_back() };
            ended.unwrap().commit().await.unwrap();
        }
        follower.read(&store).await;
    }
    while let Some(last) = open.pop_back() {
        last.commit().await.unwrap();
        follower.read(&store).await;
    }
    follower.read_until(&store, total).await;
    assert_eq!(follower.seen.len(), total);
    follower.assert_ordered();
}

type Stock = CqrsFramework<Parcel, PersistedEventStore<PostgresEventRepository, Parcel>>;

fn stock(pool: &PgPool) -> Stock {
    let repository = PostgresEventRepository::new(pool.clone());
    CqrsFramework::new(PersistedEventStore::new_event_store(repository), vec![], ())
}

async fn folded(store: &PgStore, id: &str) -> (Parcel, u64) {
    let events = store.load(&[(StreamId::of::<Parcel>(id), 0)]).await.unwrap().remove(0);
    let head = events.last().map_or(0, |event| event.sequence);
    (kernel::fold(events.iter().flat_map(|event| event.decode_all::<Parcel>().unwrap())), head)
}

#[tokio::test]
async fn stock_postgres_es_and_ours_take_turns_on_a_stream() {
    let database = testkit::postgres::database_with(&MIGRATOR).await;
    let store = PgStore::new(database.pool.clone(), StoreOptions::default(), LIVE);
    let stock = stock(&database.pool);

    stock.execute("theirs", Command::WeighAll(vec![1, 2])).await.unwrap();
    assert_eq!(folded(&store, "theirs").await, (Parcel { grams: vec![1, 2] }, 2));
    store.append(append("ours", 0, &[10])).await.unwrap();
    for id in ["theirs", "ours"] {
        for _ in 0..3 {
            let (_, head) = folded(&store, id).await;
            store.append(append(id, head, &[30, 40])).await.unwrap();
            let story = HashMap::from([("actor".to_owned(), "user:7".to_owned())]);
            stock.execute_with_metadata(id, Command::Weigh(50), story).await.unwrap();
        }
    }

    let repository = PostgresEventRepository::new(database.pool.clone());
    for (id, first) in [("theirs", vec![1, 2]), ("ours", vec![10])] {
        let grams = [first, [30, 40, 50].repeat(3)].concat();
        let (ours, head) = folded(&store, id).await;
        assert_eq!(ours, Parcel { grams });
        let all = repository.get_events::<Parcel>(id).await.unwrap();
        assert_eq!(all.len() as u64, head);
        let theirs: Parcel = kernel::fold(all.into_iter().map(|event| serde_json::from_value(event.payload).unwrap()));
        assert_eq!(theirs, ours);
    }
    // A stock command decides on all of it: nothing of ours is foreign to its own load.
    stock.execute("ours", Command::Weigh(60)).await.unwrap();
    assert_eq!(folded(&store, "ours").await.0.grams.last(), Some(&60));
}

#[tokio::test]
async fn stock_writes_follow_ours_in_the_visible_order() {
    let database = testkit::postgres::database_with(&MIGRATOR).await;
    let store = PgStore::new(database.pool.clone(), StoreOptions::default(), LIVE);
    let stock = stock(&database.pool);
    for n in 0..5 {
        store.append(append("a", n * 2, &[1])).await.unwrap();
        let story = HashMap::from([("actor".to_owned(), "user:7".to_owned())]);
        stock.execute_with_metadata("a", Command::Weigh(2), story).await.unwrap();
    }
    let mut follower = Follower::default();
    follower.read_until(&store, 10).await;
    follower.assert_ordered();
    // What a stock repository leaves out is derived, the same at each reading.
    let theirs = follower.seen[1].clone();
    assert_eq!(theirs.metadata.actor, "user:7");
    let again = store.load(&[(StreamId::of::<Parcel>("a"), 1)]).await.unwrap().remove(0).remove(0);
    assert_eq!(again.metadata, theirs.metadata);
    assert_ne!(theirs.metadata.event_id, follower.seen[3].metadata.event_id);
}

#[tokio::test]
async fn a_stale_writer_of_either_kind_is_refused() {
    let database = testkit::postgres::database_with(&MIGRATOR).await;
    let store = PgStore::new(database.pool.clone(), StoreOptions::default(), LIVE);
    let repository = PostgresEventRepository::new(database.pool.clone());
    let stock = stock(&database.pool);

    let (_, before) = folded(&store, "a").await;
    stock.execute("a", Command::Weigh(1)).await.unwrap();
    assert!(matches!(store.append(append("a", before, &[2])).await, Err(Error::Conflict { .. })));

    // The same the other way round, through cqrs-es' own store: loaded, overtaken, committed.
    let theirs = PersistedEventStore::<_, Parcel>::new_event_store(repository);
    let context = cqrs_es::EventStore::load_aggregate(&theirs, "a").await.unwrap();
    store.append(append("a", 1, &[3])).await.unwrap();
    let late = cqrs_es::EventStore::commit(&theirs, vec![Event::Weighed { grams: 4 }], context, HashMap::new()).await;
    assert!(matches!(late, Err(AggregateError::AggregateConflict)));
    assert_eq!(folded(&store, "a").await.0.grams, [1, 3]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_load_alone_goes_through_the_stock_repository_and_others_gather() {
    let database = testkit::postgres::database_with(&MIGRATOR).await;
    let store = PgStore::new(database.pool.clone(), StoreOptions::default(), LIVE);
    store.append(append("p", 0, &[1, 2])).await.unwrap();
    let alone = store.repository().expect("nobody else loads");
    assert_eq!(alone.get_events::<Parcel>("p").await.unwrap().len(), 2);
    assert!(store.repository().is_none(), "one load is under way");
    let gathered = store.history(StreamId::of::<Parcel>("p"), 0).await.unwrap();
    assert_eq!(gathered.payloads.len(), 2);
    drop(alone);
    assert!(store.repository().is_some());
}

#[tokio::test]
async fn a_tool_goes_on_with_chains_and_begins_none() {
    let database = testkit::postgres::database_with(&MIGRATOR).await;
    let store =
        |hash_chain| PgStore::new(database.pool.clone(), StoreOptions { hash_chain, ..StoreOptions::default() }, LIVE);
    let (plain, service, tool) = (store(HashChain::Off), store(HashChain::On), store(HashChain::Continue));
    // A stock repository's event is chained to as well.
    stock(&database.pool).execute("chained", Command::Weigh(1)).await.unwrap();
    service.append(append("chained", 1, &[2])).await.unwrap();
    tool.append(append("chained", 2, &[3])).await.unwrap();
    plain.append(append("plain", 0, &[1])).await.unwrap();
    tool.append(append("plain", 1, &[2])).await.unwrap();
    tool.append(append("new", 0, &[1])).await.unwrap();
    for (id, chained) in [("chained", vec![false, true, true]), ("plain", vec![false, false]), ("new", vec![false])] {
        let events = service.load(&[(StreamId::of::<Parcel>(id), 0)]).await.unwrap().remove(0);
        let found: Vec<bool> = events.iter().map(|event| event.metadata.prev_hash.is_some()).collect();
        assert_eq!(found, chained, "{id}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_with_a_gap_is_never_folded() {
    let database = testkit::postgres::database_with(&MIGRATOR).await;
    let store = PgStore::new(database.pool.clone(), StoreOptions::default(), LIVE);
    store.append(append("p", 0, &[1, 2, 3])).await.unwrap();
    sqlx::query("DELETE FROM events WHERE aggregate_id = 'p' AND sequence = 2").execute(&database.pool).await.unwrap();
    let loaded = store.history(StreamId::of::<Parcel>("p"), 0).await;
    assert!(matches!(&loaded, Err(Error::Failed(reason)) if reason.contains("gap")), "{loaded:?}");
}

async fn backend(connection: &mut PgConnection) -> Result<i32, sqlx::Error> {
    sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(connection).await
}

#[tokio::test]
async fn a_connection_is_kept_after_a_success_and_after_nothing_else() {
    let database = testkit::postgres::database_with(&MIGRATOR).await;
    let options = (*database.pool.connect_options()).clone();
    let pool = PgPoolOptions::new().max_connections(4).connect_with(options).await.unwrap();
    let kept = Kept::new(&pool, 3);

    let (mut one, mut other) = (kept.lend().await.unwrap(), kept.lend().await.unwrap());
    let (first, second) = (backend(&mut one).await, backend(&mut other).await);
    let first = one.done(first).unwrap();
    // Fewer than half of the pool's.
    other.done(second).unwrap();
    eventually(PATIENCE, async || pool.num_idle() == 1).await;

    let mut lent = kept.lend().await.unwrap();
    assert_eq!(backend(&mut lent).await.unwrap(), first);
    let failed = sqlx::query("SELECT 1 / 0").execute(&mut *lent).await;
    lent.done(failed).unwrap_err();
    eventually(PATIENCE, async || pool.num_idle() == 2).await;

    let mut lent = kept.lend().await.unwrap();
    let given_up = sqlx::query("SELECT pg_sleep(0.2)").execute(&mut *lent);
    tokio::time::timeout(Duration::from_millis(10), given_up).await.unwrap_err();
    drop(lent);
    let mut lent = kept.lend().await.unwrap();
    let answer = backend(&mut lent).await;
    lent.done(answer).unwrap();
    pool.acquire().await.unwrap();
}
