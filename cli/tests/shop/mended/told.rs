//! What the commands print that look where consumers and relays stand, at requests, events and the whole of a shop: of one
//! that runs, and of one that does not.

use reqwest::Method;
use sagashop::ports::Role;
use serde_json::json;
use testkit::eventually;
use uuid::Uuid;

use super::golden::Golden;
use crate::restored::{restore_check, start, stop};
use crate::up::{Up, settled};
use crate::{PATIENCE, room_for_a_small_shop};

/// A shop with one order, confirmed, and all of it told.
async fn one_order() -> (Golden, String) {
    let shop = Up::start(&["--empty"]).await;
    let admin = shop.admin().await;
    let customer = shop.customer("customer").await;
    let lamp = shop.product(&admin, "Lamp", "19.90", 10).await;
    let order = json!({ "product_id": lamp, "quantity": 1, "payment_method": "tok_ok" });
    let request = shop.request(Method::POST, Role::Order, "/orders", &customer).header("Idempotency-Key", "once");
    let placed = shop.send(request.json(&order)).await.expect(201);
    let order = placed["id"].as_str().expect("an id").to_owned();
    shop.ended(&customer, &order).await;
    settled(&shop.folder).await;
    let golden = Golden::of(shop);
    eventually(PATIENCE, async || {
        let relays = golden.listed(&["relay", "status"]).await;
        let places = golden.listed(&["offsets", "list"]).await;
        let all = |rows: &serde_json::Value, name: &str| {
            rows.as_array().is_some_and(|rows| rows.iter().all(|row| row[name] == 0))
        };
        if all(&relays, "unpublished") && all(&places, "behind") {
            Ok(())
        } else {
            Err(format!("{relays:#} {places:#}"))
        }
    })
    .await;
    (golden, order)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_tell_of_a_shop_as_they_did() {
    let _room = room_for_a_small_shop().await;
    let (mut golden, order) = one_order().await;
    let stream = format!("order/{order}");
    let first = format!("{stream}/1");

    golden.takes_words(&["relay", "status"]).await;
    golden.takes(&["relay", "pending"]).await;
    golden.takes(&["relay", "rewind", "order", "--events", "2", "--reason", "lost", "--yes"]).await;
    golden.takes_words(&["offsets", "list", "payment"]).await;
    golden.takes_words(&["idempotency", "show", "once"]).await;
    golden.takes_words(&["events", "list", "--service", "order"]).await;
    golden.takes(&["events", "count", "--service", "order,payment", "--by", "type"]).await;
    golden.takes_words(&["events", "show", &first]).await;
    golden.takes_words(&["events", "tail", "-n", "1", "--service", "order"]).await;
    golden.takes(&["stream", &stream]).await;
    golden.takes(&["keys", "list"]).await;
    golden.takes_words(&["projection", "drop-old", "orders", "--dry-run"]).await;
    for act in ["retry", "skip", "cancel", "pause"] {
        golden.takes(&["saga", act, &order, "--reason", "too late", "--yes"]).await;
    }
    golden.takes(&["saga", "restart-from", "confirm_order", &order, "--reason", "too late", "--yes"]).await;
    golden.takes(&["dead-letters", "discard", "payment", "payment_commands/0/99", "--reason", "x", "--yes"]).await;
    golden.takes(&["ops", "log"]).await;
    insta::assert_snapshot!("a_shop_that_runs", golden.told);

    golden.told.clear();
    stop(&mut golden.shop).await;
    let server = start(&golden.shop.folder).await;
    let places = golden.listed(&["offsets", "list", "payment"]).await;
    let moved = places.as_array().into_iter().flatten().find(|place| {
        place["topic"] == "payment_commands" && place["next_offset"].as_i64().is_some_and(|next| next > 0)
    });
    let place = format!("payment_commands/{}", moved.expect("a command was handled")["partition"]);
    let set = ["offsets", "set", "payment", "payment", &place];
    golden.takes(&[&set[..], &["--to", "0", "--dry-run"]].concat()).await;
    golden.takes_words(&[&set[..], &["--to", "99", "--reason", "beyond the end", "--dry-run"]].concat()).await;
    golden.takes_words(&[&set[..], &["--to", "0", "--reason", "read again", "--dry-run"]].concat()).await;
    golden.takes_words(&[&set[..], &["--to", "0", "--reason", "read again"]].concat()).await;
    golden.takes_words(&[&set[..], &["--to", "0", "--reason", "read again", "--yes"]].concat()).await;
    golden.takes_words(&["offsets", "list", "payment"]).await;
    let rewind = ["relay", "rewind", "order", "--events", "2", "--reason", "the broker lost them"];
    golden.takes_words(&[&rewind[..], &["--dry-run"]].concat()).await;
    golden.takes_words(&[&rewind[..], &["--yes"]].concat()).await;
    golden.takes(&["relay", "pending", "order"]).await;
    // What was published before the relay was set back is of events that the store has.
    restore_check(golden.shop.folder.data(), &["--kafka-broker="]).await.is_clean();
    golden.takes(&["ops", "log"]).await;
    let folder = golden.shop.folder.path().join("export");
    let folder = folder.to_str().expect("text").to_owned();
    golden.takes_words(&["events", "export", "--service", "order", "--to", &folder]).await;
    golden.takes_words(&["events", "import", "--from", &folder, "--dry-run"]).await;
    golden.takes_words(&["events", "import", "--from", &folder, "--yes"]).await;
    golden.takes(&["migrate", "order"]).await;
    golden.takes_words(&["events", "show", &Uuid::nil().to_string()]).await;
    server.stop().await.expect("stops");
    insta::assert_snapshot!("a_shop_that_stands_still", golden.told);

    // What is read again and published again changes nothing.
    let shop = Up::start_in(std::sync::Arc::clone(&golden.shop.folder), &["--empty"]).await;
    shop.assert_clean().await;
}
