//! Read models of a store that holds forms of several versions: earlier ones, which mean several events or none, and what
//! a newer program wrote.

use event_store::StreamId;
use runtime::projection::{Error, Passed};
use sqlx::Executor;
use testkit::eventually;
use uuid::Uuid;

use crate::fixture::{PATIENCE, commands, origin};
use crate::rebuild::{Shop, verified};
use crate::tally::{Command, Tally};
use crate::versions::{metric, written};

/// All that the table says.
const ROWS: &str = "SELECT md5(string_agg(t::text, ';' ORDER BY t.id)) FROM tallies AS t";
const MANY: (&str, &str) = ("many_added", "1");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_mean_several_events_or_none_are_followed_rebuilt_and_compared_as_what_they_mean() {
    let shop = Shop::named("evolved").await;
    shop.fill(300).await;
    // Beside today's form in one stream, alone, and first.
    written(&shop.pool, "00000002", 3, MANY, r#"{"ManyAdded":{"numbers":[7,8,9]}}"#).await;
    written(&shop.pool, "several", 1, MANY, r#"{"ManyAdded":{"numbers":[1,2]}}"#).await;
    written(&shop.pool, "several", 2, MANY, r#"{"ManyAdded":{"numbers":[]}}"#).await;
    written(&shop.pool, "none", 1, MANY, r#"{"ManyAdded":{"numbers":[]}}"#).await;
    let commands = commands(shop.service.store());
    let executed = commands.execute::<Tally>("several", &origin(), Command::Add(3)).await.expect("appended");
    assert_eq!((executed.state.numbers, executed.sequence), (vec![1, 2, 3], 3));
    shop.caught_up().await;

    let row = async |id: &str| -> (i64, i64, Option<i64>, i64) {
        let query = "SELECT numbers, total, (last->>'number')::bigint, sequence FROM tallies WHERE id = $1";
        sqlx::query_as(query).bind(id).fetch_one(&shop.pool).await.expect("a row")
    };
    assert_eq!(row("several").await, (3, 6, Some(3), 3));
    assert_eq!(row("none").await, (0, 0, None, 1));
    assert_eq!(row("00000002").await, (5, 2 + 4 + 24, Some(9), 3));
    shop.assert_right().await;

    let rows = async || sqlx::query_scalar::<_, String>(ROWS).fetch_one(&shop.pool).await.expect("rows");
    let followed = rows().await;
    shop.pool.execute("UPDATE tallies SET total = 777 WHERE id = 'several'").await.expect("corrupted");
    let found = shop.verify(None).await;
    assert_eq!(found.differences.iter().map(|found| found.key.as_str()).collect::<Vec<_>>(), ["several"]);
    shop.rebuild(&verified()).await.expect("made anew");
    shop.assert_right().await;
    assert_eq!(rows().await, followed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_projection_stands_before_what_a_newer_program_wrote_and_serves_what_was_before() {
    let mut shop = Shop::named("newer").await;
    let commands = commands(shop.service.store());
    let add = async |id: &str, number| {
        commands.execute::<Tally>(id, &origin(), Command::Add(number)).await.expect("appended");
    };
    add("a", 1).await;
    shop.caught_up().await;
    // Read at once: one that is known, one of a later form, one of a type that nobody here has heard of.
    let together =
        "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
        VALUES ('tally', 'b', 1, 'added', '1', '{\"Added\":{\"number\":5}}', '{}'),
               ('tally', 'a', 2, 'added', '2', '{\"Added\":{\"number\":6}}', '{}'),
               ('tally', 'b', 2, 'gift_wrapped', '1', '{\"GiftWrapped\":{}}', '{}')";
    shop.pool.execute(together).await.expect("written");
    add("c", 9).await;
    let stopped = || metric("follower_stopped_by_version", r#"{follower="tallies",service="newer"}"#);
    let pool = shop.pool.clone();
    let served = async || -> i64 {
        sqlx::query_scalar("SELECT sum(total)::bigint FROM tallies").fetch_one(&pool).await.expect("a sum")
    };
    eventually(PATIENCE, async || stopped() == 1 && served().await == 6).await;

    // Who folds beside it says the same, and nothing is passed by.
    let newer =
        shop.service.store().load(&[(StreamId::of::<Tally>("a"), 1)]).await.expect("events").remove(0).remove(0);
    assert!(shop.service.store().checkpoint("tallies").await.expect("read") < newer.cursor);
    let told = newer.decode_all::<Tally>().expect_err("unknown").to_string();
    let place = format!("event 2 of tally/a at position {}", newer.cursor.position);
    assert!(
        told.contains(&place) && told.contains("added is of version 2") && told.contains("up to version 1"),
        "{told}"
    );
    let refused = shop.rebuild(&verified()).await.expect_err("it cannot be read");
    assert!(
        matches!(refused, Error::Failed(_)) && format!("{refused:#}").contains("added is of version 2"),
        "{refused:#}"
    );
    assert_eq!((stopped(), served().await), (1, 6));
    // What serves is right as far as it goes.
    assert_eq!(shop.verify(None).await.found, 0);

    // A program that is as new (here: the event is as old) goes on, as far as it can.
    let known = async |what: &str| pool.execute(format!("UPDATE events SET {what}").as_str()).await.expect("known");
    known("event_version = '1' WHERE event_version = '2'").await;
    shop.upgrade().await;
    eventually(PATIENCE, async || stopped() == 1 && served().await == 12).await;
    let kind = "event_type = 'added', payload = '{\"Added\":{\"number\":7}}' WHERE event_type = 'gift_wrapped'";
    known(kind).await;
    shop.upgrade().await;
    eventually(PATIENCE, async || stopped() == 0 && served().await == 28).await;
    shop.rebuild(&verified()).await.expect("made anew");
    shop.assert_right().await;
}

#[tokio::test]
async fn a_row_stands_behind_what_means_nothing_and_never_before_what_it_has() {
    let shop = Shop::named("passed").await;
    shop.pool.execute("CREATE TABLE letters (letter uuid PRIMARY KEY, seen bigint NOT NULL)").await.expect("made");
    let [ahead, behind, none] = [1, 2, 3].map(Uuid::from_u128);
    let rows = "INSERT INTO letters VALUES ($1, 9), ($2, 3)";
    sqlx::query(rows).bind(ahead).bind(behind).execute(&shop.pool).await.expect("written");
    let mut passed = Passed::default();
    for id in [ahead, behind, none] {
        passed.note(id, 4);
        passed.note(id, 5);
    }
    let mut connection = shop.pool.acquire().await.expect("a connection");
    passed.write(&mut connection, "letters", "letter", "seen").await.expect("moved");
    let seen: Vec<i64> =
        sqlx::query_scalar("SELECT seen FROM letters ORDER BY letter").fetch_all(&shop.pool).await.expect("rows");
    assert_eq!(seen, [9, 5]);
}
