//! Webhooks against an HTTP server of the test's own: signed, tried again, listed once dead, and never led astray.

mod support;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kernel::{OrderId, UserId};
use notification_service::{Config, Webhooks};
use serde_json::{Value, json};
use support::{Fixture, PATIENCE, RETRY, Running, config, id, now, order_cancelled, order_confirmed, user_registered};
use testkit::eventually;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use web::auth::Role;
use web::{SIGNATURE_TOLERANCE, WebhookKey};

#[tokio::test]
async fn a_call_is_signed_and_made_again_until_it_is_taken() {
    let fixture = Fixture::new().await;
    let hook = Hook::start(&["500", "302 http://127.0.0.1:1/elsewhere", "200"]).await;
    let service = start(&fixture, true).await;
    let admin = fixture.token(UserId(id()), Role::Admin);
    let registered = register(&fixture, &service, &admin, &hook.url("/hooks?k=v"), &["order_confirmed"]).await;
    let (ada, order) = (UserId(id()), OrderId(id()));
    fixture.publish("order_events", vec![order_cancelled(OrderId(id()), ada, "r"), order_confirmed(order, ada)]).await;
    // The log's two, and the call; what the webhook did not ask for it is not told.
    fixture.eventually_rows("sent", 3).await;

    let calls = hook.calls();
    assert_eq!(calls.len(), 3, "{calls:?}");
    let path = format!("/notifications/webhooks/{registered}/secret");
    let (status, secret) = fixture.call(&service, "GET", &path, Some(&admin), None).await;
    assert_eq!((status, &secret["generation"]), (200, &json!(1)));
    let key = WebhookKey::new(secret["secret"].as_str().unwrap()).unwrap();
    for call in &calls {
        key.verify(&call.headers["sagashop-signature"], &call.body, now(), SIGNATURE_TOLERANCE).unwrap();
        assert!(key.verify(&call.headers["sagashop-signature"], b"{}", now(), SIGNATURE_TOLERANCE).is_err());
        assert_eq!((&*call.line, &*call.body), ("POST /hooks?k=v HTTP/1.1", &*calls[0].body));
        assert_eq!(
            (&*call.headers["content-type"], &*call.headers["sagashop-event"]),
            ("application/json", "order_confirmed")
        );
    }
    let body: Value = serde_json::from_slice(&calls[0].body).unwrap();
    assert_eq!(
        (&body["type"], &body["id"]),
        (&json!("order_confirmed"), &json!(calls[0].headers["sagashop-delivery"]))
    );
    let data: Value =
        serde_json::from_str(&format!(r#"{{"user_id":"{ada}","order_id":"{order}","amount":20.50,"currency":"EUR"}}"#))
            .unwrap();
    assert_eq!(body["data"], data);
    assert!(!fixture.stored().await.contains(secret["secret"].as_str().unwrap()));

    // A customer sees what they were told, and not what others were told of them.
    let customer = fixture.token(ada, Role::Customer);
    let (_, own) = fixture.call(&service, "GET", "/notifications", Some(&customer), None).await;
    assert!(own.as_array().unwrap().iter().all(|one| one["channel"] == json!("log")), "{own}");
    let call = format!("/notifications/{}", calls[0].headers["sagashop-delivery"]);
    assert_eq!(fixture.call(&service, "GET", &call, Some(&customer), None).await.0, 404);
    assert_eq!(fixture.call(&service, "GET", &call, Some(&admin), None).await.0, 200);
    service.stop().await;
}

/// A transaction that is open anywhere in the cluster holds the read model up, and nobody's news.
#[tokio::test]
async fn a_webhook_hears_of_all_that_comes_after_it_was_registered_and_of_nothing_after_it_was_removed() {
    let fixture = Fixture::new().await;
    let hook = Hook::start(&[]).await;
    let service = start(&fixture, true).await;
    let admin = fixture.token(UserId(id()), Role::Admin);
    let mut older = fixture.database.pool.begin().await.unwrap();
    sqlx::query("SELECT pg_current_xact_id()").execute(&mut *older).await.unwrap();

    let one = register(&fixture, &service, &admin, &hook.url("/"), &["user_registered"]).await;
    fixture.publish("user_events", vec![user_registered(UserId(id()))]).await;
    eventually(PATIENCE, async || hook.calls().len() == 1).await;
    let path = format!("/notifications/webhooks/{one}");
    assert_eq!(fixture.call(&service, "DELETE", &path, Some(&admin), None).await.0, 204);
    fixture.publish("user_events", vec![user_registered(UserId(id()))]).await;
    let listed = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM webhooks").fetch_one(&fixture.database.pool).await;
    assert_eq!(listed.unwrap(), 0, "the read model has not come to it");
    older.rollback().await.unwrap();
    // The log's two, and the call.
    fixture.eventually_rows("sent", 3).await;
    assert_eq!((hook.calls().len(), fixture.rows("skipped").await), (1, 0));
    service.stop().await;
}

#[tokio::test]
async fn what_is_never_taken_is_listed_as_dead_and_can_be_sent_again() {
    let fixture = Fixture::new().await;
    let hook = Hook::start(&["500", "404", "503", "429", "200"]).await;
    let service = start(&fixture, true).await;
    let admin = fixture.token(UserId(id()), Role::Admin);
    let registered = register(&fixture, &service, &admin, &hook.url("/"), &["user_registered"]).await;
    fixture.publish("user_events", vec![user_registered(UserId(id()))]).await;
    fixture.eventually_rows("failed", 1).await;

    let path = format!("/notifications?status=failed&channel=webhook&webhook_id={registered}");
    let (_, list) = fixture.call(&service, "GET", &path, Some(&admin), None).await;
    let [dead] = list.as_array().unwrap().as_slice() else { panic!("{list}") };
    assert_eq!((&dead["why"], &dead["attempts"]), (&json!("refused_for_now"), &json!(4)));
    let one = format!("/notifications/{}", dead["id"].as_str().unwrap());
    let (_, story) = fixture.call(&service, "GET", &one, Some(&admin), None).await;
    let codes: Vec<&Value> = story["history"].as_array().unwrap().iter().filter_map(|step| step.get("code")).collect();
    assert_eq!(codes, [&json!(500), &json!(404), &json!(503), &json!(429)]);

    let (status, _) = fixture.call(&service, "POST", &format!("{one}/resend"), Some(&admin), None).await;
    assert_eq!(status, 202);
    fixture.eventually_rows("sent", 2).await;
    let calls = hook.calls();
    assert_eq!((calls.len(), &calls[4].body), (5, &calls[0].body));
    service.stop().await;
}

#[tokio::test]
async fn an_address_that_is_gone_for_good_is_not_called_again() {
    let fixture = Fixture::new().await;
    let hook = Hook::start(&["410"]).await;
    let service = start(&fixture, true).await;
    let admin = fixture.token(UserId(id()), Role::Admin);
    register(&fixture, &service, &admin, &hook.url("/"), &["user_registered"]).await;
    fixture.publish("user_events", vec![user_registered(UserId(id()))]).await;
    fixture.eventually_rows("failed", 1).await;
    assert_eq!(hook.calls().len(), 1);
    service.stop().await;
}

#[tokio::test]
async fn a_slow_address_runs_out_of_time_and_keeps_nobody_else_waiting() {
    let fixture = Fixture::new().await;
    let (slow, fast) = (Hook::start(&["hang"; 64]).await, Hook::start(&[]).await);
    let service = start(&fixture, true).await;
    let admin = fixture.token(UserId(id()), Role::Admin);
    register(&fixture, &service, &admin, &slow.url("/"), &["user_registered"]).await;
    register(&fixture, &service, &admin, &fast.url("/"), &["user_registered"]).await;
    fixture.publish("user_events", (0..30).map(|_| user_registered(UserId(id()))).collect()).await;
    // Long before the slow one's ten seconds are over.
    tokio::time::timeout(Duration::from_secs(8), eventually(PATIENCE, async || fast.calls().len() == 30))
        .await
        .unwrap();
    assert!(slow.calls().len() <= 8, "{} at once", slow.calls().len());
    eventually(PATIENCE, async || {
        let query = "SELECT count(*) FROM notifications WHERE why = 'timed_out' AND attempts > 0";
        sqlx::query_scalar::<_, i64>(query).fetch_one(&fixture.database.pool).await.unwrap() > 0
    })
    .await;
    service.stop().await;
}

#[tokio::test]
async fn private_addresses_are_refused_unless_they_are_allowed() {
    let fixture = Fixture::new().await;
    let hook = Hook::start(&[]).await;
    let open = start(&fixture, true).await;
    let admin = fixture.token(UserId(id()), Role::Admin);
    // Registered while it was allowed; a name, so that only looking it up tells.
    let by_name = hook.url("/").replace("127.0.0.1", "localhost");
    register(&fixture, &open, &admin, &by_name, &["user_registered"]).await;
    register(&fixture, &open, &admin, &hook.url("/"), &["user_registered"]).await;
    open.stop().await;

    let closed = start(&fixture, false).await;
    fixture.publish("user_events", vec![user_registered(UserId(id()))]).await;
    fixture.eventually_rows("failed", 2).await;
    let why: Vec<String> = sqlx::query_scalar("SELECT DISTINCT why FROM notifications WHERE channel = 'webhook'")
        .fetch_all(&fixture.database.pool)
        .await
        .unwrap();
    assert_eq!((why, hook.calls().len()), (vec!["forbidden_address".to_owned()], 0));
    for url in [
        &*hook.url("/"),
        "http://169.254.169.254/latest",
        "https://[::1]/",
        "ftp://example.org/",
        "x",
        "http://u:p@example.org/",
    ] {
        let (status, problem) =
            fixture.call(&closed, "POST", "/notifications/webhooks", Some(&admin), Some(json!({ "url": url }))).await;
        assert_eq!((status, &problem["errors"][0]["field"]), (400, &json!("url")), "{url}: {problem}");
    }
    closed.stop().await;
}

#[tokio::test]
async fn webhooks_are_changed_switched_off_and_removed() {
    let fixture = Fixture::new().await;
    let hook = Hook::start(&[]).await;
    let service = start(&fixture, true).await;
    let admin = fixture.token(UserId(id()), Role::Admin);
    let call = async |method: &str, path: &str, body: Option<Value>| {
        fixture.call(&service, method, path, Some(&admin), body).await
    };
    let one = register(&fixture, &service, &admin, &hook.url("/"), &["user_registered"]).await;
    let path = format!("/notifications/webhooks/{one}");
    let secret = format!("{path}/secret");
    let old = call("GET", &secret, None).await.1["secret"].clone();
    let (status, _) = call("POST", &format!("{path}/rotate-secret"), None).await;
    let new = call("GET", &secret, None).await.1["secret"].clone();
    assert!(status == 200 && new != old);
    fixture.publish("user_events", vec![user_registered(UserId(id()))]).await;
    eventually(PATIENCE, async || hook.calls().len() == 1).await;
    // For a day both secrets do.
    let sent = &hook.calls()[0];
    for secret in [&old, &new] {
        let key = WebhookKey::new(secret.as_str().unwrap()).unwrap();
        key.verify(&sent.headers["sagashop-signature"], &sent.body, now(), SIGNATURE_TOLERANCE).unwrap();
    }

    let off =
        json!({ "url": hook.url("/other"), "kinds": ["order_confirmed"], "description": "slips", "enabled": false });
    let (status, changed) = call("PUT", &path, Some(off)).await;
    assert_eq!((status, &changed["enabled"], &changed["description"]), (200, &json!(false), &json!("slips")));
    let (_, list) = call("GET", "/notifications/webhooks", None).await;
    assert_eq!((list.as_array().unwrap().len(), &list[0]["kinds"]), (1, &json!(["order_confirmed"])));
    fixture.publish("order_events", vec![order_confirmed(OrderId(id()), UserId(id()))]).await;
    fixture.eventually_rows("sent", 3).await;
    assert_eq!(hook.calls().len(), 1);
    assert_eq!(call("DELETE", &path, None).await.0, 204);
    assert_eq!(call("DELETE", &path, None).await.0, 204);
    for (method, path) in [("GET", &path), ("GET", &secret), ("POST", &format!("{path}/rotate-secret"))] {
        assert_eq!(call(method, path, None).await.0, 404, "{path}");
    }
    assert_eq!(call("GET", "/notifications/webhooks", None).await.1, json!([]));
    service.stop().await;
}

async fn start(fixture: &Fixture, allow_private: bool) -> Running {
    let webhooks = Webhooks { key: "k".repeat(32), allow_private, retry: RETRY };
    fixture.start_configured(Config { webhooks: Some(webhooks), ..config() }).await
}

async fn register(fixture: &Fixture, service: &Running, admin: &str, url: &str, kinds: &[&str]) -> String {
    let body = json!({ "url": url, "kinds": kinds });
    let (status, webhook) = fixture.call(service, "POST", "/notifications/webhooks", Some(admin), Some(body)).await;
    assert_eq!((status, &webhook["enabled"]), (201, &json!(true)), "{webhook}");
    webhook["id"].as_str().unwrap().to_owned()
}

/// A call as the server got it.
#[derive(Debug, Clone)]
struct Call {
    line: String,
    headers: HashMap<String, String>,
    body: Vec<u8>,
}

/// An HTTP server that answers as it is told: a status, with where a redirect leads to, or `hang`; then 200.
struct Hook {
    address: String,
    kept: Arc<Mutex<(Vec<&'static str>, Vec<Call>)>>,
}

impl Hook {
    async fn start(answers: &[&'static str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let kept = Arc::new(Mutex::new((answers.iter().rev().copied().collect(), Vec::new())));
        let shared = Arc::clone(&kept);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, Arc::clone(&shared)));
            }
        });
        Self { address, kept }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn calls(&self) -> Vec<Call> {
        self.kept.lock().unwrap().1.clone()
    }
}

async fn answer(stream: TcpStream, kept: Arc<Mutex<(Vec<&'static str>, Vec<Call>)>>) -> std::io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    loop {
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            match line.trim_end() {
                "" => break,
                line => head.push(line.to_owned()),
            }
        }
        let line = head.remove(0);
        let headers: HashMap<String, String> = head
            .iter()
            .filter_map(|header| header.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        let mut body = vec![0; headers["content-length"].parse().unwrap()];
        reader.read_exact(&mut body).await?;
        let answer = {
            let mut kept = kept.lock().unwrap();
            kept.1.push(Call { line, headers, body });
            kept.0.pop().unwrap_or("200")
        };
        if answer == "hang" {
            std::future::pending::<()>().await;
        }
        let (status, location) = answer.split_once(' ').unwrap_or((answer, ""));
        let answer = format!("HTTP/1.1 {status} Whatever\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n");
        writer.write_all(answer.as_bytes()).await?;
    }
}
