//! Orders of every kind, on the embedded defaults.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures::future::join_all;
use reqwest::Method;
use sagashop::ports::Role;
use serde_json::{Value, json};
use testkit::eventually;

use crate::up::Up;
use crate::{PATIENCE, room_for_a_small_shop};

/// A confirmed order has come this far at most, on a machine that is busy with other tests.
const CONFIRMED_MAX: Duration = Duration::from_secs(10);

fn texts<'a>(list: &'a Value, field: &str) -> Vec<&'a str> {
    list.as_array().expect("a list").iter().filter_map(|entry| entry[field].as_str()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_printed_order_is_confirmed_and_every_service_tells_of_it() {
    let _room = room_for_a_small_shop().await;
    let shop = Up::start(&[]).await;
    let printed = shop.process.stdout();
    let token = printed.lines().find_map(|line| line.strip_prefix("TOKEN=")).expect("a token").to_owned();
    let body = printed.lines().find_map(|line| line.trim().strip_prefix("-d '")?.strip_suffix('\'')).expect("a body");
    let body: Value = serde_json::from_str(body).expect("JSON");
    let url = printed.lines().find_map(|line| line.strip_prefix("curl -s -X POST ")?.split(' ').next());
    let url = url.unwrap_or_else(|| panic!("no address: {printed}")).to_owned();

    let product = body["product_id"].as_str().expect("an id").to_owned();
    let stock = shop.stock(&product).await;
    let began = Instant::now();
    let order = shop.post_to(&url, &token, &body).await.expect(201);
    let order = order["id"].as_str().expect("an id").to_owned();
    assert_eq!(shop.ended(&token, &order).await["status"], "confirmed");
    assert!(began.elapsed() < CONFIRMED_MAX, "it took {:?}", began.elapsed());

    let history = shop.get(Role::Order, &format!("/orders/{order}/history"), &token).await.expect(200);
    assert_eq!(texts(&history, "event"), ["order_placed", "order_confirmed"]);
    eventually(PATIENCE, async || shop.stock(&product).await == stock - 1).await;
    shop.payment(&token, &order, "success").await;
    let path = format!("/notifications?order_id={order}");
    eventually(PATIENCE, async || {
        let told = shop.get(Role::Notification, &path, &token).await.expect(200);
        texts(&told, "kind").contains(&"order_confirmed") && texts(&told, "status").iter().all(|s| *s == "sent")
    })
    .await;
    let admin = shop.admin().await;
    let saga = eventually(PATIENCE, async || {
        let saga = shop.get(Role::Orchestrator, &format!("/sagas/{order}"), &admin).await.expect(200);
        (saga["state"] == "completed").then_some(saga)
    })
    .await;
    assert!(texts(&saga["timeline"], "event").ends_with(&["saga_completed"]), "{saga}");

    for role in Role::ALL {
        for path in ["/health", "/health/live", "/health/ready", "/metrics", "/docs", "/openapi.json"] {
            assert_eq!(shop.get(role, path, "").await.status, 200, "{path} of {}", role.name());
        }
    }
    let mine = shop.get(Role::Order, "/api/v1/orders?limit=1", &token).await.expect(200);
    assert_eq!(mine["orders"][0]["id"], order.as_str());
    shop.assert_clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_paid_or_is_not_there_is_cancelled_and_undone() {
    let _room = room_for_a_small_shop().await;
    let shop = Up::start(&["--empty"]).await;
    let admin = shop.admin().await;
    let customer = shop.customer("customer").await;
    let lamp = shop.product(&admin, "Lamp", "19.90", 10).await;
    let desk = shop.product(&admin, "Desk", "250", 5).await;

    for (token, reason) in [("tok_declined", "card declined"), ("tok_insufficient_funds", "insufficient funds")] {
        let lines = json!([{ "product_id": lamp, "quantity": 3 }, { "product_id": desk, "quantity": 1 }]);
        let order = shop.place(&customer, &json!({ "lines": lines, "payment_method": token })).await;
        let ended = shop.ended(&customer, &order).await;
        assert_eq!(ended["status"], "cancelled");
        let said = ended["cancel_reason"].as_str().expect("a reason").to_lowercase();
        assert!(reason.split(' ').all(|word| said.contains(word)), "{said}");
        shop.payment(&customer, &order, "failed").await;
    }
    eventually(PATIENCE, async || shop.stock(&lamp).await == 10 && shop.stock(&desk).await == 5).await;

    // More than there is: said at once, and nothing is recorded.
    let events = shop.folder.events().await;
    let refused = shop.post(Role::Order, "/orders", &customer, &json!({ "product_id": lamp, "quantity": 11 })).await;
    assert_eq!((refused.status, refused.fields()), (400, vec!["quantity"]));
    assert_eq!(shop.folder.events().await, events);

    // A provider that answers late or loses its answers: each order ends all the same.
    for token in ["tok_flaky", "tok_timeout"] {
        let order = json!({ "product_id": lamp, "quantity": 1, "payment_method": token });
        let order = shop.place(&customer, &order).await;
        eprintln!("{token}: {}", shop.ended(&customer, &order).await["status"]);
    }
    shop.assert_clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_customer_cancels_before_and_after_the_payment() {
    let _room = room_for_a_small_shop().await;
    // Time enough to cancel while the provider is being asked.
    let shop = Up::start(&["--empty", "--payment-latency", "1500ms"]).await;
    let admin = shop.admin().await;
    let customer = shop.customer("customer").await;
    let lamp = shop.product(&admin, "Lamp", "19.90", 10).await;
    let order = json!({ "product_id": lamp, "quantity": 4 });
    let cancel = async |id: &str| {
        let request = shop.request(Method::POST, Role::Order, &format!("/orders/{id}/cancel"), &customer);
        shop.send(request).await.expect(202)
    };

    let early = shop.place(&customer, &order).await;
    assert_eq!(cancel(&early).await["cancel_requested"], true);
    let ended = shop.reaches(&customer, &early, "cancelled").await;
    assert!(ended["cancel_reason"].as_str().expect("a reason").contains("customer"), "{ended}");

    let late = shop.place(&customer, &order).await;
    shop.reaches(&customer, &late, "confirmed").await;
    cancel(&late).await;
    shop.reaches(&customer, &late, "cancelled").await;
    let payment = shop.payment(&customer, &late, "refunded").await;
    assert_eq!(payment["refunded"].to_string(), "79.60");

    eventually(PATIENCE, async || shop.stock(&lamp).await == 10).await;
    let kept = "provider_ledger WHERE outcome = 'captured' AND payment_id NOT IN \
                (SELECT payment_id FROM provider_ledger WHERE outcome = 'refunded')";
    eventually(PATIENCE, async || shop.folder.count(Role::Payment, kept).await == 0).await;
    // Once more is no harm.
    let again = shop.request(Method::POST, Role::Order, &format!("/orders/{late}/cancel"), &customer);
    assert!([202, 409].contains(&shop.send(again).await.status));
    shop.assert_clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_one_is_sold_once_however_many_want_it() {
    let _room = room_for_a_small_shop().await;
    let shop = Up::start(&["--empty"]).await;
    let admin = shop.admin().await;
    let customer = shop.customer("customer").await;
    let last = shop.product(&admin, "The last one", "999.99", 1).await;
    let order = json!({ "product_id": last, "quantity": 1 });

    let answers = join_all((0..50).map(|_| shop.post(Role::Order, "/orders", &customer, &order))).await;
    let mut outcomes: BTreeMap<String, usize> = BTreeMap::new();
    for answer in answers {
        let outcome = match answer.status {
            201 => {
                let ended = shop.ended(&customer, answer.body["id"].as_str().expect("an id")).await;
                if ended["status"] == "cancelled" {
                    let reason = ended["cancel_reason"].as_str().expect("a reason");
                    assert!(reason.contains("stock"), "{reason}");
                }
                ended["status"].as_str().expect("a status").to_owned()
            }
            // Those who came after it was reserved were told so.
            400 => {
                assert_eq!(answer.fields(), ["quantity"], "{answer:?}");
                "refused".to_owned()
            }
            _ => panic!("{answer:?}"),
        };
        *outcomes.entry(outcome).or_default() += 1;
    }
    eprintln!("{outcomes:?}");
    assert_eq!(outcomes.get("confirmed"), Some(&1), "{outcomes:?}");
    assert_eq!(outcomes.values().sum::<usize>(), 50);
    eventually(PATIENCE, async || shop.stock(&last).await == 0).await;
    assert_eq!(shop.folder.count(Role::Payment, "provider_ledger WHERE outcome = 'captured'").await, 1);
    shop.assert_clean().await;
}
