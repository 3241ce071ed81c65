//! What operators do to sagas, sent twice under one key.

use reqwest::Method;
use sagashop::ports::Role;
use serde_json::{Value, json};
use testkit::eventually;

use crate::http::Answer;
use crate::up::{Up, settled};
use crate::{PATIENCE, room_for_a_small_shop};

async fn act(shop: &Up, token: &str, path: &str, key: &str, body: &Value) -> Answer {
    let request = shop.request(Method::POST, Role::Orchestrator, path, token).header("idempotency-key", key);
    shop.send(request.json(body)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operators_act_is_done_once_and_told_again_as_it_was() {
    let _room = room_for_a_small_shop().await;
    let shop = Up::start(&["--empty"]).await;
    let accounts = shop.accounts();
    let admin = shop.login(&accounts.admin_email, &accounts.admin_password).await;
    let customer = shop.customer("customer").await;
    let product = shop.product(&admin, "Lamp", "19.90", 10).await;
    // The provider takes its time for this one: the saga waits for the charge.
    let slow = json!({ "product_id": product, "quantity": 1, "payment_method": "tok_timeout" });
    let order = shop.place(&customer, &slow).await;
    let saga = format!("/sagas/{order}");
    eventually(PATIENCE, async || {
        let saga = shop.get(Role::Orchestrator, &saga, &admin).await;
        (saga.status == 200 && saga.body["state"] == "charging").then_some(())
    })
    .await;

    let (cancel, why) = (format!("{saga}/cancel"), json!({ "reason": "ordered by mistake" }));
    let first = act(&shop, &admin, &cancel, "once", &why).await;
    assert_eq!((first.status, first.header("idempotency-replayed")), (200, ""), "{}", first.body);
    let moments = |answer: &Answer| answer.body["timeline"].as_array().map_or(0, Vec::len);
    // Later the saga is another one, and the answer is not.
    eventually(PATIENCE, async || {
        let now = shop.get(Role::Orchestrator, &saga, &admin).await;
        (moments(&now) > moments(&first)).then_some(())
    })
    .await;
    let again = act(&shop, &admin, &cancel, "once", &why).await;
    assert_eq!((again.status, again.header("idempotency-replayed")), (200, "true"));
    assert_eq!((&again.body, &again.content_type), (&first.body, &first.content_type));
    let other = act(&shop, &admin, &cancel, "once", &json!({ "reason": "another" })).await;
    assert_eq!((other.status, &other.body["type"]), (422, &json!("/problems/idempotency-key-reused")));
    let late = act(&shop, &admin, &cancel, "another-key", &why).await;
    assert_eq!(late.status, 409, "{}", late.body);

    settled(&shop.folder).await;
    let acts = "events WHERE event_type = 'operator_cancelled'";
    assert_eq!(shop.folder.count(Role::Orchestrator, acts).await, 1);
    assert_eq!(shop.ended(&customer, &order).await["status"], "cancelled");
    // The key is kept with where to look alone.
    let kept = shop.folder.query(Role::Orchestrator, "SELECT length(body) AS bytes FROM idempotency_keys").await;
    assert!(kept.as_array().is_some_and(|kept| kept.len() == 1 && kept[0]["bytes"].as_i64() < Some(60)), "{kept}");
}
