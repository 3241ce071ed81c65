//! Read models made anew while they serve, and compared with their events.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use cqrs_es::Aggregate;
use event_store::{EventStore, PgStore, RecordedEvent, StoreOptions, Stored};
use runtime::projection::verify::{self, Difference, Place, Verified};
use runtime::projection::{
    self, Database, Error, Fold, Options, Others, Pace, Progress, Projection, ReadModel, Report, Row, Stage, Table,
    drop_old, rebuild, states,
};
use sqlx::{Executor, PgConnection, PgPool};
use testkit::eventually;
use tokio_util::sync::CancellationToken;

use crate::fixture::{PATIENCE, Process, Service, commands, origin};
use crate::tally::{Command, Event, Tally};

/// Tests write as services do.
const LIVE: kernel::Live = kernel::Live::because("a test");

const MAKE: &str = "
CREATE TABLE tallies (
    id       text PRIMARY KEY,
    numbers  bigint NOT NULL,
    total    bigint NOT NULL CHECK (total >= 0),
    last     jsonb,
    sequence bigint NOT NULL
) WITH (fillfactor = 70);
CREATE INDEX tallies_by_total ON tallies (total DESC, id);
CREATE UNIQUE INDEX tallies_large ON tallies (id) WHERE total > 100;";

static TALLIES: Table = Table {
    name: "tallies",
    version: 1,
    columns: &["id", "numbers", "total", "last", "sequence"],
    kinds: &[Tally::TYPE],
    channel: None,
};

/// A row a tally; it keeps them as others do, row by row, and can be made from the events alone.
#[derive(Default)]
pub struct Tallies;

#[derive(Default)]
struct Folded {
    id: String,
    numbers: i64,
    total: i64,
    last: Option<u64>,
    sequence: i64,
}

impl ReadModel for Tallies {
    fn table(&self) -> &'static Table {
        &TALLIES
    }

    fn begin(&self) -> Box<dyn Fold> {
        Box::<Folded>::default()
    }
}

impl Fold for Folded {
    fn take(&mut self, event: &Stored<'_>) -> anyhow::Result<()> {
        event.aggregate_id.clone_into(&mut self.id);
        self.sequence = i64::try_from(event.sequence)?;
        for event in event.decode_all::<Tally>()? {
            if let Event::Added { number, .. } = event {
                self.numbers += 1;
                self.total += i64::try_from(number)?;
                self.last = Some(number);
            }
        }
        Ok(())
    }

    fn row(&self, row: &mut Row<'_>) -> anyhow::Result<()> {
        let last = self.last.map(|number| format!("{{\"number\":{number}}}"));
        let last = last.as_deref().map(projection::Jsonb);
        row.put(self.id.as_str()).put(self.numbers).put(self.total).put(last).put(self.sequence);
        Ok(())
    }
}

#[async_trait]
impl Projection for Tallies {
    fn name(&self) -> &'static str {
        "tallies"
    }

    fn pace(&self) -> Duration {
        Duration::ZERO
    }

    fn model(&self) -> Option<Arc<dyn ReadModel>> {
        Some(Arc::new(Self))
    }

    fn reads(&self, event: &RecordedEvent) -> bool {
        event.aggregate_type == Tally::TYPE
    }

    async fn apply(&self, connection: &mut PgConnection, events: &[RecordedEvent]) -> anyhow::Result<()> {
        for event in events {
            let mut one = Folded::default();
            one.take(&event.stored())?;
            sqlx::query(
                "INSERT INTO tallies
                 VALUES ($1, $2, $3, CASE WHEN $4::bigint IS NOT NULL THEN jsonb_build_object('number', $4) END, $5)
                 ON CONFLICT (id) DO UPDATE
                    SET numbers = tallies.numbers + $2, total = tallies.total + $3,
                        last = COALESCE(EXCLUDED.last, tallies.last), sequence = $5",
            )
            .bind(&one.id)
            .bind(one.numbers)
            .bind(one.total)
            .bind(one.last.map(i64::try_from).transpose()?)
            .bind(one.sequence)
            .execute(&mut *connection)
            .await?;
        }
        Ok(())
    }
}

pub struct Shop {
    pub service: Service,
    pub pool: PgPool,
    pub database: Database,
    model: Arc<dyn ReadModel>,
    name: &'static str,
    follower: Process,
}

impl Shop {
    async fn open() -> Self {
        Self::named("test").await
    }

    /// One whose follower has metrics of its own.
    pub async fn named(name: &'static str) -> Self {
        let service = Service::new().await;
        let pool = service.database.pool.clone();
        pool.execute(MAKE).await.expect("made");
        let follower = Self::follower(name, &pool);
        Self { database: Database::of(&pool), pool, service, model: Arc::new(Tallies), name, follower }
    }

    fn follower(name: &'static str, pool: &PgPool) -> Process {
        let store: Arc<dyn EventStore> = PgStore::new(pool.clone(), StoreOptions::default(), LIVE);
        let (_, follower) = projection::follow(name, store, pool.clone(), Arc::new(Tallies));
        Process::spawn(|shutdown| tokio::spawn(follower.run(shutdown)))
    }

    /// As another program takes the follower's place.
    pub async fn upgrade(&mut self) {
        std::mem::replace(&mut self.follower, Self::follower(self.name, &self.pool)).kill().await;
    }

    /// So many streams, in one statement: of two or three numbers each.
    pub async fn fill(&self, streams: i64) {
        let number = |n: &str| format!("json_build_object('Added', json_build_object('number', {n} % 1000))");
        let fill = format!(
            "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
             SELECT 'tally', lpad(n::text, 8, '0'), sequence, 'added', '1', {}, '{{}}'
               FROM generate_series(1, {streams}) AS n, generate_series(1, 2 + n % 2) AS sequence",
            number("n * sequence")
        );
        self.pool.execute(fill.as_str()).await.expect("filled");
        self.pool.execute("ANALYZE events").await.expect("analysed");
        self.caught_up().await;
    }

    /// Until the serving table has everything.
    pub async fn caught_up(&self) {
        eventually(PATIENCE, async || {
            let state = states(&self.database, &[&TALLIES]).await.expect("a state").remove(0);
            state.lag_events == 0
        })
        .await;
    }

    pub async fn rebuild(&self, options: &Options) -> Result<Report, Error> {
        let made = self.try_rebuild(options, &Arc::default(), &CancellationToken::new()).await?;
        Ok(made.expect("nobody has stopped it"))
    }

    async fn try_rebuild(
        &self,
        options: &Options,
        progress: &Arc<Progress>,
        stop: &CancellationToken,
    ) -> Result<Option<Report>, Error> {
        rebuild(&self.database, &self.model, options, progress, stop).await
    }

    pub async fn verify(&self, sample: Option<f64>) -> Verified {
        let options = verify::Options { parallel: 2, sample, ..verify::Options::default() };
        let (progress, stop) = (Arc::default(), CancellationToken::new());
        let verified = verify::compare(&self.database, &self.model, Place::Serving, &options, &progress, &stop).await;
        verified.expect("compared").expect("nobody has stopped it")
    }

    pub async fn assert_right(&self) -> Verified {
        let verified = self.verify(None).await;
        assert_eq!((verified.found, &verified.differences), (0, &vec![]));
        assert_eq!(verified.checksum_fold, verified.checksum_table);
        verified
    }

    pub async fn count(&self, query: &str) -> i64 {
        sqlx::query_scalar(query).fetch_one(&self.pool).await.expect(query)
    }
}

pub fn verified() -> Options {
    Options { parallel: 2, verify: Some(verify::Options::default()), ..Options::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_model_is_made_anew_under_writers_and_goes_on_where_it_was_stopped() {
    let shop = Shop::open().await;
    shop.fill(20_000).await;
    let is_over = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..3)
        .map(|writer| {
            let (commands, is_over) = (commands(shop.service.store()), Arc::clone(&is_over));
            tokio::spawn(async move {
                let mut n = 0_u64;
                while !is_over.load(Ordering::Relaxed) {
                    // Old streams and new ones.
                    let old = format!("{:08}", 1 + (n * 7 + writer) % 20_000);
                    let id = if n.is_multiple_of(2) { old } else { format!("new-{writer}-{n}") };
                    commands.execute::<Tally>(&id, &origin(), Command::Add(n % 1_000)).await.expect("appended");
                    n += 1;
                }
                n
            })
        })
        .collect();

    // Stopped again and again, each time as soon as it is a bit further on: a part has three batches.
    let slow = Pace { events_per_s_max: Some(15_000.0), ..Pace::default() };
    let options = Options { pace: slow, ..verified() };
    let mut filled = 0;
    for _ in 0..2 {
        let (progress, stop) = (Arc::<Progress>::default(), CancellationToken::new());
        let stopping = async {
            eventually(PATIENCE, async || progress.events() > filled).await;
            stop.cancel();
        };
        let (made, ()) = tokio::join!(shop.try_rebuild(&options, &progress, &stop), stopping);
        assert!(made.expect("no error").is_none(), "it was stopped");
        let state = states(&shop.database, &[&TALLIES]).await.expect("a state").remove(0);
        let underway = state.underway.expect("it has begun");
        assert_eq!((underway.phase.as_str(), underway.is_running), ("filling", false));
        let written = shop.count("SELECT count(*) FROM projection_new.tallies").await;
        let noted = shop.count("SELECT sum(rows)::bigint FROM projection_rebuild_parts").await;
        assert_eq!(written, noted, "rows and how far they go are one");
        filled = u64::try_from(underway.events).expect("events");
        assert!(filled > 0);
    }
    let report = shop.rebuild(&verified()).await.expect("made anew");
    assert!(report.is_resumed && report.caught_up > 0, "{report:?}");
    assert!(report.rows >= 20_000 && report.events >= 50_000, "{report:?}");

    // The follower goes on with the table that serves now, and the writers' events arrive in it.
    tokio::time::timeout(PATIENCE, shop.assert_right()).await.expect("in time");
    is_over.store(true, Ordering::Relaxed);
    let mut written = 0;
    for writer in writers {
        written += writer.await.expect("no panic");
    }
    shop.caught_up().await;
    let right = shop.assert_right().await;
    assert_eq!(right.events, 50_000 + written);

    // It has all that the old one has.
    let indexes = "SELECT count(*) FROM pg_indexes WHERE schemaname = 'public' AND tablename = 'tallies'
                      AND indexname IN ('tallies_pkey', 'tallies_by_total', 'tallies_large')";
    assert_eq!(shop.count(indexes).await, 3);
    let same =
        "SELECT count(*) FROM pg_constraint WHERE conrelid = 'public.tallies'::regclass AND contype IN ('p', 'c')";
    assert_eq!(shop.count(same).await, 2);
    let options: Vec<String> =
        sqlx::query_scalar("SELECT unnest(reloptions) FROM pg_class WHERE oid = 'tallies'::regclass")
            .fetch_all(&shop.pool)
            .await
            .expect("options");
    assert_eq!(options, ["fillfactor=70"]);
    assert_eq!(shop.count("SELECT count(*) FROM projection_rebuilds").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_differs_is_found_and_mended() {
    let shop = Shop::open().await;
    shop.fill(3_000).await;
    assert_eq!(shop.assert_right().await.rows, 3_000);
    for corrupt in [
        "UPDATE tallies SET total = 777 WHERE id = '00000007'",
        "DELETE FROM tallies WHERE id = '00000008'",
        "INSERT INTO tallies VALUES ('nobody', 1, 2, NULL, 1)",
        // Said in another way, and the same.
        "UPDATE tallies SET last = ' { \"number\" :  3 } ' WHERE id = '00000001' AND last = '{\"number\": 3}'",
    ] {
        shop.pool.execute(corrupt).await.expect(corrupt);
    }
    let found = shop.verify(None).await;
    assert_eq!(found.found, 3, "{:?}", found.differences);
    let [total, missing, extra] = found.differences.as_slice() else { panic!("{:?}", found.differences) };
    let told = |difference: &Difference| (difference.table.clone(), difference.events.clone());
    assert_eq!((total.key.as_str(), total.column), ("00000007", Some("total")));
    assert_eq!(told(total), (Some("777".to_owned()), Some("42".to_owned())));
    assert_eq!((missing.key.as_str(), missing.column, &missing.table), ("00000008", None, &None));
    assert_eq!((extra.key.as_str(), extra.column, &extra.events), ("nobody", None, &None));
    assert_ne!(found.checksum_fold, found.checksum_table);
    let few = shop.verify(Some(0.1)).await;
    assert!((100..900).contains(&few.rows), "a sample of a tenth: {}", few.rows);

    shop.rebuild(&verified()).await.expect("made anew");
    shop.assert_right().await;
    assert_eq!(shop.count("SELECT total FROM projection_old.tallies WHERE id = '00000007'").await, 777);
    let state = states(&shop.database, &[&TALLIES]).await.expect("a state").remove(0);
    assert!(state.old_bytes.is_some() && state.rebuilt_at.is_some() && state.underway.is_none(), "{state:?}");
    assert!(drop_old(&shop.database, &TALLIES).await.expect("dropped"));
    assert!(!drop_old(&shop.database, &TALLIES).await.expect("none is left"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_went_on_since_is_folded() {
    let shop = Shop::open().await;
    shop.fill(6_000).await;
    shop.pool.execute("UPDATE tallies SET total = 777 WHERE id = '00000007'").await.expect("corrupted");
    let since = shop.verify(Some(0.0)).await.at;
    let commands = commands(shop.service.store());
    for id in ["00000009", "a new one"] {
        commands.execute::<Tally>(id, &origin(), Command::Add(5)).await.expect("appended");
    }
    shop.caught_up().await;
    let report = shop.rebuild(&Options { since: Some(since), ..Options::default() }).await.expect("made anew");
    assert_eq!((report.rows, report.events), (6_001, 0), "what serves is taken over: {report:?}");
    let found = shop.verify(None).await;
    assert_eq!(found.differences.iter().map(|found| found.key.as_str()).collect::<Vec<_>>(), ["00000007"]);
    shop.rebuild(&Options { drop_old: true, ..verified() }).await.expect("made anew");
    shop.assert_right().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_reads_for_long_is_waited_for_and_keeps_nobody_else_away() {
    let shop = Shop::open().await;
    shop.fill(1_000).await;
    let mut reading = shop.pool.begin().await.expect("a transaction");
    reading.execute("SELECT FROM tallies LIMIT 1").await.expect("read");
    let progress = Arc::<Progress>::default();
    let stages = {
        let mut stage = progress.stage();
        tokio::spawn(async move {
            let mut seen = vec![*stage.borrow_and_update()];
            while stage.changed().await.is_ok() {
                seen.push(*stage.borrow_and_update());
            }
            seen
        })
    };
    let rebuilding = {
        let (database, model, progress) = (shop.database.clone(), Arc::clone(&shop.model), Arc::clone(&progress));
        let options =
            Options { pace: Pace { others: Some(Others::watch(&database)), ..Pace::default() }, ..verified() };
        tokio::spawn(async move { rebuild(&database, &model, &options, &progress, &CancellationToken::new()).await })
    };
    eventually(PATIENCE, async || *progress.stage().borrow() == Stage::Swapping).await;
    let commands = commands(shop.service.store());
    for n in 0..40 {
        commands.execute::<Tally>("00000009", &origin(), Command::Add(n)).await.expect("appended");
        let waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock'
                          AND relation = 'public.tallies'::regclass";
        // The reader has had its transaction for longer than anybody may be kept waiting, so nobody is.
        assert_eq!(shop.count(waiting).await, 0);
    }
    assert!(!rebuilding.is_finished(), "the table is used");
    reading.commit().await.expect("read");
    let report = rebuilding.await.expect("no panic").expect("no error").expect("nobody has stopped it");
    assert!(report.caught_up > 0, "{report:?}");
    shop.caught_up().await;
    shop.assert_right().await;
    drop(progress);
    let seen = stages.await.expect("no panic");
    assert!(seen.len() <= 6, "each stage is entered once: {seen:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_must_not_be_is_refused() {
    let shop = Shop::open().await;
    shop.fill(5_000).await;
    // Two at once.
    let slow = Pace { events_per_s_max: Some(5_000.0), ..Pace::default() };
    let (progress, stop) = (Arc::<Progress>::default(), CancellationToken::new());
    let first = {
        let (database, model, progress, stop) =
            (shop.database.clone(), Arc::clone(&shop.model), Arc::clone(&progress), stop.clone());
        tokio::spawn(async move {
            rebuild(&database, &model, &Options { pace: slow, ..Options::default() }, &progress, &stop).await
        })
    };
    eventually(PATIENCE, async || *progress.stage().borrow() == Stage::Filling).await;
    let second = shop.rebuild(&Options::default()).await;
    assert!(matches!(second, Err(Error::Busy { .. })), "{second:?}");
    stop.cancel();
    assert!(first.await.expect("no panic").expect("no error").is_none());

    // A table whose columns have changed meanwhile is begun anew.
    shop.pool.execute("ALTER TABLE tallies ADD COLUMN note text NOT NULL DEFAULT 'none'").await.expect("altered");
    let report = shop.rebuild(&verified()).await.expect("made anew");
    assert!(!report.is_resumed, "{report:?}");
    assert_eq!(shop.count("SELECT count(*) FROM tallies WHERE note = 'none'").await, 5_000);

    // Whatever would go on with the old table is named.
    shop.pool.execute("CREATE VIEW best AS SELECT id FROM tallies ORDER BY total DESC LIMIT 3").await.expect("a view");
    let refused = shop.rebuild(&Options::default()).await.expect_err("a view depends on it");
    assert!(refused.to_string().contains("best"), "{refused}");
    shop.pool.execute("DROP VIEW best").await.expect("dropped");

    // An event that nobody can read keeps the old table serving.
    let unreadable =
        "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
                      VALUES ('tally', 'broken', 1, 'added', '1', '{\"Added\":{\"number\":\"x\"}}', '{}')";
    shop.pool.execute(unreadable).await.expect("appended");
    let error = shop.rebuild(&Options::default()).await.expect_err("it cannot be read");
    assert!(format!("{error:#}").contains("tally/broken"), "{error:#}");
    assert_eq!(shop.count("SELECT count(*) FROM tallies").await, 5_000);
}
