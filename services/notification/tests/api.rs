//! The API: who may do what, preferences, resends, keys of idempotency.

mod support;

use kernel::UserId;
use notification_service::{Config, LogChannel, Webhooks};
use serde_json::{Value, json};
use std::sync::Arc;
use support::{Fixture, PATIENCE, RETRY, config, id, user_registered};
use testkit::eventually;
use web::auth::Role;

#[tokio::test]
async fn preferences_are_ones_own_and_what_is_mandatory_stays_on() {
    let fixture = Fixture::new().await;
    let service = fixture.start(vec![Arc::new(LogChannel)]).await;
    let (ada, bob) = (fixture.token(UserId(id()), Role::Customer), fixture.token(UserId(id()), Role::Customer));
    let call = async |method: &str, by: Option<&str>, body: Option<Value>| {
        fixture.call(&service, method, "/notifications/preferences", by, body).await
    };
    let enabled = |shown: &Value, kind: &str| {
        let all = shown["preferences"].as_array().unwrap();
        all.iter().find(|one| one["kind"] == json!(kind)).unwrap()["enabled"].as_bool().unwrap()
    };
    let wish = |kind: &str| json!({ "kind": kind, "channel": "email", "enabled": false });
    let wishes =
        |kinds: &[&str]| Some(json!({ "preferences": kinds.iter().map(|kind| wish(kind)).collect::<Vec<_>>() }));

    let (status, shown) = call("GET", Some(&ada), None).await;
    assert_eq!((status, shown["preferences"].as_array().unwrap().len()), (200, 7));
    assert!(enabled(&shown, "order_created") && shown.get("changed_at").is_none());
    let (status, shown) = call("PUT", Some(&ada), wishes(&["order_created"])).await;
    assert_eq!((status, enabled(&shown, "order_created"), enabled(&shown, "payment_failed")), (200, false, true));
    let (_, shown) = call("GET", Some(&ada), None).await;
    assert!(!enabled(&shown, "order_created") && shown["changed_at"].is_string());
    assert!(enabled(&call("GET", Some(&bob), None).await.1, "order_created"));

    let (status, problem) = call("PUT", Some(&ada), wishes(&["order_confirmed"])).await;
    assert_eq!((status, &problem["type"]), (422, &json!("/problems/mandatory-notification")), "{problem}");
    let (status, problem) = call("PUT", Some(&ada), wishes(&["order_created", "order_created"])).await;
    assert_eq!((status, &problem["errors"][0]["field"]), (400, &json!("preferences[1]")));
    for wrong in [
        json!({}),
        json!({ "preferences": [{ "kind": "of_tomorrow", "channel": "email", "enabled": false }] }),
        json!({ "preferences": [{ "kind": "order_created", "channel": "log", "enabled": false }] }),
        json!({ "preferences": [], "user_id": id() }),
    ] {
        let (status, problem) = call("PUT", Some(&ada), Some(wrong)).await;
        assert!(status == 400 || status == 422, "{problem}");
    }
    assert!(!enabled(&call("GET", Some(&ada), None).await.1, "order_created"));
    assert_eq!((call("GET", None, None).await.0, call("PUT", None, wishes(&[])).await.0), (401, 401));
    service.stop().await;
}

#[tokio::test]
async fn what_is_the_administrators_is_closed_to_customers() {
    let fixture = Fixture::new().await;
    let webhooks = Webhooks { key: "k".repeat(32), allow_private: true, retry: RETRY };
    let service = fixture.start_configured(Config { webhooks: Some(webhooks), ..config() }).await;
    let (ada, bob) = (UserId(id()), UserId(id()));
    fixture.publish("user_events", vec![user_registered(ada)]).await;
    fixture.eventually_rows("sent", 1).await;
    let admin = fixture.token(UserId(id()), Role::Admin);
    let (_, list) = fixture.call(&service, "GET", &format!("/notifications?user_id={ada}"), Some(&admin), None).await;
    let one = format!("/notifications/{}", list[0]["id"].as_str().unwrap());
    let hook = format!("/notifications/webhooks/{}", id());
    let url = Some(json!({ "url": "https://hooks.example.org/" }));
    for (method, path, body) in [
        ("POST", format!("{one}/resend"), None),
        ("GET", "/notifications/webhooks".to_owned(), None),
        ("POST", "/notifications/webhooks".to_owned(), url.clone()),
        ("GET", hook.clone(), None),
        ("PUT", hook.clone(), url),
        ("DELETE", hook.clone(), None),
        ("GET", format!("{hook}/secret"), None),
        ("POST", format!("{hook}/rotate-secret"), None),
    ] {
        let customer = fixture.token(ada, Role::Customer);
        assert_eq!(fixture.call(&service, method, &path, None, body.clone()).await.0, 401, "{method} {path}");
        assert_eq!(fixture.call(&service, method, &path, Some(&customer), body).await.0, 403, "{method} {path}");
    }
    let (ada_token, bob_token) = (fixture.token(ada, Role::Customer), fixture.token(bob, Role::Customer));
    assert_eq!(fixture.call(&service, "GET", &one, Some(&ada_token), None).await.0, 200);
    assert_eq!(fixture.call(&service, "GET", &one, Some(&bob_token), None).await.0, 404);
    assert_eq!(fixture.call(&service, "GET", &one, None, None).await.0, 401);
    let of_ada = format!("/notifications?user_id={ada}");
    assert_eq!(fixture.call(&service, "GET", &of_ada, Some(&ada_token), None).await.0, 200);
    assert_eq!(fixture.call(&service, "GET", &of_ada, Some(&bob_token), None).await.0, 403);
    let unknown = format!("/notifications/{}/resend", id());
    assert_eq!(fixture.call(&service, "POST", &unknown, Some(&admin), None).await.0, 404);
    service.stop().await;
}

#[tokio::test]
async fn pages_follow_one_another_without_gap_or_double() {
    let fixture = Fixture::new().await;
    let service = fixture.start(vec![Arc::new(LogChannel)]).await;
    let admin = fixture.token(UserId(id()), Role::Admin);
    fixture.publish("user_events", (0..25).map(|_| user_registered(UserId(id()))).collect()).await;
    fixture.eventually_rows("sent", 25).await;
    let client = web::http_client().build().unwrap();
    let mut seen = Vec::new();
    let mut query = "?limit=10&channel=log".to_owned();
    loop {
        let url = format!("{}/api/v1/notifications{query}", service.url);
        let response = client.get(url).bearer_auth(&admin).send().await.unwrap();
        let link = response.headers().get("link").map(|link| link.to_str().unwrap().to_owned());
        let page: Value = response.json().await.unwrap();
        seen.extend(page.as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap().to_owned()));
        let Some(link) = link else { break };
        query = link.trim_start_matches('<').split('>').next().unwrap().to_owned();
    }
    let distinct: std::collections::BTreeSet<_> = seen.iter().collect();
    assert_eq!((seen.len(), distinct.len()), (25, 25));
    service.stop().await;
}

#[tokio::test]
async fn a_request_under_one_key_takes_effect_once() {
    let fixture = Fixture::new().await;
    let webhooks = Webhooks { key: "k".repeat(32), allow_private: false, retry: RETRY };
    let service = fixture.start_configured(Config { webhooks: Some(webhooks), ..config() }).await;
    let admin = fixture.token(UserId(id()), Role::Admin);
    fixture.publish("user_events", vec![user_registered(UserId(id()))]).await;
    fixture.eventually_rows("sent", 1).await;
    let (_, list) = fixture.call(&service, "GET", "/notifications", Some(&admin), None).await;
    let client = web::http_client().build().unwrap();
    let post = async |path: &str, key: &str, body: Option<Value>| {
        let request = client.post(format!("{}/api/v1{path}", service.url)).bearer_auth(&admin);
        let request = request.header("Idempotency-Key", key).json(&body);
        let response = request.send().await.unwrap();
        let replayed = response.headers().contains_key("idempotency-replayed");
        (response.status().as_u16(), replayed, response.text().await.unwrap())
    };
    let resend = format!("/notifications/{}/resend", list[0]["id"].as_str().unwrap());
    let first = post(&resend, "k1", None).await;
    eventually(PATIENCE, async || fixture.stored().await.matches("notification_sent").count() >= 2).await;
    let again = post(&resend, "k1", None).await;
    assert_eq!((first.0, first.1, again.0, again.1, &first.2), (202, false, 202, true, &again.2));
    let requeued: i64 = sqlx::query_scalar("SELECT count(*) FROM events WHERE event_type = 'notification_requeued'")
        .fetch_one(&fixture.database.pool)
        .await
        .unwrap();
    assert_eq!(requeued, 1);

    let hook = Some(json!({ "url": "https://hooks.example.org/" }));
    let first = post("/notifications/webhooks", "k2", hook.clone()).await;
    let again = post("/notifications/webhooks", "k2", hook).await;
    assert_eq!((first.0, again.1, &first.2), (201, true, &again.2));
    let other = post("/notifications/webhooks", "k2", Some(json!({ "url": "https://hooks.example.com/" }))).await;
    assert_eq!(other.0, 422, "{}", other.2);
    // The list may lag behind what was answered.
    eventually(PATIENCE, async || {
        let (_, list) = fixture.call(&service, "GET", "/notifications/webhooks", Some(&admin), None).await;
        list.as_array().unwrap().len() == 1
    })
    .await;
    service.stop().await;
}

#[tokio::test]
async fn without_a_key_there_are_no_webhooks() {
    let fixture = Fixture::new().await;
    let service = fixture.start_configured(config()).await;
    let admin = fixture.token(UserId(id()), Role::Admin);
    let body = Some(json!({ "url": "https://hooks.example.org/" }));
    let (status, problem) = fixture.call(&service, "POST", "/notifications/webhooks", Some(&admin), body).await;
    assert_eq!((status, &problem["type"]), (409, &json!("/problems/webhooks-off")));
    service.stop().await;
}

#[test]
fn the_document_describes_every_operation() {
    let document: Value = serde_json::from_str(&notification_service::openapi()).unwrap();
    let mut ids = Vec::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let of = |member: &str| operation[member].clone();
            assert!(of("summary").is_string() && of("tags").is_array(), "{method} {path}");
            assert!(of("security").is_array(), "{method} {path} is open");
            ids.push(of("operationId").as_str().unwrap_or_else(|| panic!("{method} {path} has no id")).to_owned());
        }
    }
    ids.sort();
    assert_eq!(
        ids,
        [
            "createWebhook",
            "deleteWebhook",
            "getLogLevel",
            "getNotification",
            "getNotificationPreferences",
            "getWebhook",
            "getWebhookSecret",
            "listNotifications",
            "listWebhooks",
            "putNotificationPreferences",
            "resendNotification",
            "rotateWebhookSecret",
            "setLogLevel",
            "updateWebhook",
        ]
    );
}
