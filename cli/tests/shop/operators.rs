//! What operators do to sagas over REST: done once under a key, refused where it does not fit, and recorded.

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

/// A shop whose provider takes its time for one order: its saga waits for the charge.
struct Charging {
    shop: Up,
    admin: String,
    customer: String,
    order: String,
}

impl Charging {
    async fn start() -> Self {
        let shop = Up::start(&["--empty"]).await;
        let admin = shop.admin().await;
        let customer = shop.customer("customer").await;
        let product = shop.product(&admin, "Lamp", "19.90", 10).await;
        let slow = json!({ "product_id": product, "quantity": 1, "payment_method": "tok_timeout" });
        let order = shop.place(&customer, &slow).await;
        let charging = Self { shop, admin, customer, order };
        eventually(PATIENCE, async || {
            let saga = charging.saga().await;
            if saga.body["state"] == "charging" { Ok(()) } else { Err(saga.body) }
        })
        .await;
        charging
    }

    async fn saga(&self) -> Answer {
        self.shop.get(Role::Orchestrator, &format!("/sagas/{}", self.order), &self.admin).await
    }

    /// An administrator's act, under a key of its own.
    async fn act(&self, what: &str, body: Value) -> Answer {
        let key = uuid::Uuid::now_v7().to_string();
        act(&self.shop, &self.admin, &format!("/sagas/{}/{what}", self.order), &key, &body).await
    }

    async fn refused(&self, what: &str, body: Value, status: u16, text: &str) {
        let answer = self.act(what, body.clone()).await;
        assert_eq!(answer.status, status, "{what} {body}: {}", answer.body);
        assert!(answer.body.to_string().contains(text), "{what} {body}: {}", answer.body);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_saga_is_restarted_paused_and_resumed_with_a_reason_each() {
    let _room = room_for_a_small_shop().await;
    let charging = Charging::start().await;
    let why = |reason: &str| json!({ "reason": reason });
    let from = |step: &str, reason: &str| json!({ "step": step, "reason": reason });

    let restarted = charging.act("restart-from", from("charge_payment", " the provider is back ")).await;
    assert_eq!((restarted.status, &restarted.body["state"]), (200, &json!("charging")), "{}", restarted.body);
    let paused = charging.act("pause", why("the provider moves")).await;
    assert_eq!((paused.status, &paused.body["state"]), (200, &json!("paused")), "{}", paused.body);
    for (what, body, text) in [
        ("pause", why("twice"), "paused: resume it first"),
        ("retry", why("too early"), "paused: resume it first"),
        ("restart-from", from("charge_payment", "too early"), "paused: resume it first"),
    ] {
        charging.refused(what, body, 409, text).await;
    }
    for (what, body, status, text) in [
        ("pause", json!({}), 400, "reason"),
        ("pause", why(" "), 400, "reason"),
        ("resume", json!({ "reason": "x", "by": "somebody else" }), 422, "by"),
        ("restart-from", from("charge", "no such step"), 400, "step"),
        ("restart-from", why("no step"), 400, "step"),
        ("retry", json!({ "reason": "x".repeat(501) }), 400, "reason"),
    ] {
        charging.refused(what, body, status, text).await;
    }
    let nobodys = format!("/sagas/{}/pause", uuid::Uuid::nil());
    assert_eq!(act(&charging.shop, &charging.admin, &nobodys, "nobodys", &why("x")).await.status, 404);

    let resumed = charging.act("resume", why("it has moved")).await;
    assert_eq!(resumed.status, 200, "{}", resumed.body);
    charging.refused("resume", why("twice"), 409, "not paused").await;
    charging.refused("restart-from", from("refund_payment", "the other way"), 409, "goes forward").await;
    assert_eq!(charging.shop.ended(&charging.customer, &charging.order).await["status"], "confirmed");
    settled(&charging.shop.folder).await;
    charging.refused("pause", why("too late"), 409, "is over").await;

    // What was done is recorded beside the saga and in the record of all acts; what was refused is not.
    let saga = charging.saga().await.body;
    let moments = saga["timeline"].as_array().expect("moments");
    let acts: Vec<_> = moments
        .iter()
        .filter(|moment| moment["actor"].as_str().is_some_and(|actor| actor.starts_with("operator:")))
        .filter_map(|moment| moment["event"].as_str().filter(|event| event.starts_with("operator_")))
        .collect();
    assert_eq!(acts, ["operator_restarted", "operator_paused", "operator_resumed"], "{saga:#}");
    let recorded = charging
        .shop
        .folder
        .query(
            Role::Orchestrator,
            "SELECT payload ->> 'act' AS act, payload ->> 'reason' AS reason, metadata ->> 'actor' AS actor
               FROM events WHERE aggregate_type = 'operation' ORDER BY position",
        )
        .await;
    let told: Vec<_> =
        recorded.as_array().expect("rows").iter().map(|row| (row["act"].as_str(), row["reason"].as_str())).collect();
    let expected = [
        ("saga_restarted", "the provider is back"),
        ("saga_paused", "the provider moves"),
        ("saga_resumed", "it has moved"),
    ];
    assert_eq!(told, expected.map(|(act, reason)| (Some(act), Some(reason))), "{recorded:#}");
    let profile = charging.shop.get(Role::User, "/profile", &charging.admin).await.expect(200);
    let admin = format!("operator:{}", profile["id"].as_str().expect("an id"));
    assert!(recorded.as_array().expect("rows").iter().all(|row| row["actor"] == admin.as_str()), "{recorded:#}");
    charging.shop.assert_clean().await;
}
