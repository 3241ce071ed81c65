//! `events tail -f`: whatever is committed comes, in commit order, and nothing before its turn.

use sagashop::ports::Role;
use serde_json::{Value, json};
use sqlx::{Connection, Executor, PgConnection};
use testkit::eventually;

use crate::process::Process;
use crate::up::Up;
use crate::{PATIENCE, room_for_a_small_shop};

/// What was printed so far: cursors and streams.
fn printed(tail: &Process) -> Vec<((u64, i64), String)> {
    let text = tail.stdout();
    // The last line may be on its way.
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let event = |line: &str| {
        let event: Value = serde_json::from_str(line).expect("JSON");
        let number = |name: &str| event[name].as_u64().expect("a number");
        let cursor = (number("transaction_id"), i64::try_from(number("position")).expect("a position"));
        (cursor, event["aggregate_id"].as_str().expect("an id").to_owned())
    };
    whole.lines().map(event).collect()
}

/// Waits until the follower has looked once more, and found what there was.
async fn looked_since_now(shop: &Up) {
    let now = shop.folder.query(Role::Order, "SELECT clock_timestamp()::text AS now").await;
    let now = now[0]["now"].as_str().expect("a time").to_owned();
    let looked = format!(
        "pg_stat_activity WHERE application_name = 'sagashop-audit' AND datname = current_database()
                            AND state = 'idle' AND query_start > '{now}'"
    );
    eventually(PATIENCE, async || shop.folder.count(Role::Order, &looked).await > 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_are_followed_in_commit_order() {
    let _room = room_for_a_small_shop().await;
    let shop = Up::start(&["--empty"]).await;
    let admin = shop.admin().await;
    let customer = shop.customer("customer").await;
    let lamp = shop.product(&admin, "Lamp", "19.90", 100).await;
    let order = json!({ "product_id": lamp, "quantity": 1 });
    let before = shop.place(&customer, &order).await;
    shop.ended(&customer, &before).await;

    let data = shop.folder.data();
    let arguments = [
        "events",
        "tail",
        "-f",
        "-n",
        "1",
        "--service",
        "order",
        "--type",
        "order_placed",
        "--output",
        "jsonl",
        "--data-dir",
        data.to_str().expect("text"),
    ];
    let tail = Process::start(shop.folder.path(), "tail", arguments, &[]);
    eventually(PATIENCE, async || printed(&tail).len() == 1).await;
    assert_eq!(printed(&tail)[0].1, before);

    let next = shop.place(&customer, &order).await;
    eventually(PATIENCE, async || printed(&tail).iter().any(|(_, id)| *id == next)).await;

    // A transaction that is older than what is committed now might still bring something that comes first.
    let options = shop.folder.server().await.options(Role::Order.database());
    let mut older = PgConnection::connect_with(&options).await.expect("connected");
    older.execute("BEGIN").await.expect("begun");
    older.execute("SELECT pg_current_xact_id()").await.expect("a transaction of its own");
    let hidden = shop.place(&customer, &order).await;
    assert_eq!(shop.folder.count(Role::Order, "events WHERE event_type = 'order_placed'").await, 3);
    looked_since_now(&shop).await;
    looked_since_now(&shop).await;
    assert!(printed(&tail).iter().all(|(_, id)| *id != hidden), "printed before its turn");
    older.execute("ROLLBACK").await.expect("ended");
    older.close().await.expect("closed");
    eventually(PATIENCE, async || printed(&tail).iter().any(|(_, id)| *id == hidden)).await;

    let all = printed(&tail);
    assert_eq!(all.len(), 3);
    assert!(all.is_sorted_by(|(a, _), (b, _)| a < b), "{all:?}");
}
