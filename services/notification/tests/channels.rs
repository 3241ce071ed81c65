//! Who is told what, how often, and what happens when a channel fails.

mod support;

use std::sync::Arc;

use chrono::TimeDelta;
use domain::notification::{Channel as Kind, Command, Error, Event, Failure, Letter, Notification, Status};
use event_store::{EventStore, PgStore, StoreOptions, clock};
use kernel::{NotificationId, OrderId, UserId};
use notification_service::{Channel, LogChannel};
use runtime::{Commands, Origin};
use serde_json::{Value, json};
use support::{CORRELATION, Fixture, PATIENCE, Recording, id, now, order_confirmed, record, user_registered};
use testkit::eventually;
use web::auth::Role;

/// Tests write as services do.
const LIVE: kernel::Live = kernel::Live::because("a test");

#[tokio::test]
async fn each_message_is_told_once_per_channel_despite_duplicates() {
    let fixture = Fixture::new().await;
    let (log, email) = (Recording::new(Kind::Log), Recording::new(Kind::Email));
    let channels: Vec<Arc<dyn Channel>> = vec![log.clone(), email.clone()];
    let service = fixture.start(channels.clone()).await;

    let (user, order, product) = (UserId(id()), OrderId(id()), id());
    let key = order.to_string();
    let of_order = |kind: &str, data: Value| {
        let mut all = json!({ "order_id": order, "user_id": user });
        all.as_object_mut().unwrap().extend(data.as_object().unwrap().clone());
        record(id(), kind, &key, all)
    };
    let payment = |status: &str| {
        json!({
            "payment_id": id(), "amount": 20.5, "currency": "EUR", "status": status, "transaction_id": "t", "reason": "r"
        })
    };
    let line = json!({ "product_id": product, "quantity": 1, "unit_price": 20.5 });
    let created = json!({
        "lines": [line], "status": "pending", "total_price": 20.5, "currency": "EUR", "payment_method": "tok_ok"
    });
    let batches = [
        ("user_events", vec![user_registered(user)]),
        (
            "order_events",
            vec![
                of_order("order_created", created),
                of_order("order_cancel_requested", json!({})),
                order_confirmed(order, user),
                of_order("order_cancelled", json!({ "reason": "r", "status": "cancelled" })),
            ],
        ),
        (
            "payment_events",
            vec![
                of_order("payment_success", payment("success")),
                of_order("payment_failed", payment("failed")),
                of_order("payment_refunded", payment("success")),
                // Nobody had been asked to pay.
                record(id(), "payment_refunded", &key, {
                    json!({ "payment_id": id(), "order_id": order, "amount": 0, "transaction_id": "" })
                }),
            ],
        ),
        ("saga_events", vec![of_order("saga_started", json!({}))]),
        (
            "product_events",
            vec![record(id(), "product_deleted", &product.to_string(), json!({ "product_id": product }))],
        ),
    ];
    for (topic, records) in &batches {
        fixture.publish(topic, [records.clone(), records.clone()].concat()).await;
    }
    fixture.eventually_rows("sent", 14).await;

    // Once more, to another instance of the service.
    service.stop().await;
    let service = fixture.start(channels).await;
    for (topic, records) in &batches {
        fixture.publish(topic, records.clone()).await;
    }
    fixture.publish("user_events", vec![user_registered(UserId(id()))]).await;
    fixture.eventually_rows("sent", 16).await;
    consumed_all(&fixture).await;

    let expected = [
        "order_cancelled",
        "order_confirmed",
        "order_created",
        "payment_failed",
        "payment_refunded",
        "payment_success",
        "user_registered",
        "user_registered",
    ];
    assert_eq!(log.sent(), expected);
    assert_eq!(email.sent(), expected);
    assert_eq!((log.attempts(), email.attempts()), (8, 8));
    assert_eq!(dead_letters(&fixture).await, 0);

    let correlations: Vec<String> = sqlx::query_scalar("SELECT DISTINCT metadata->>'correlation_id' FROM events")
        .fetch_all(&fixture.database.pool)
        .await
        .unwrap();
    assert_eq!(correlations, [CORRELATION.to_string()]);
    service.stop().await;
}

#[tokio::test]
async fn a_message_of_an_unknown_type_is_put_aside() {
    let fixture = Fixture::new().await;
    let log = Recording::new(Kind::Log);
    let service = fixture.start(vec![log.clone()]).await;
    let user = UserId(id());
    let unknown = record(id(), "order_painted", "k", json!({}));
    let unreadable = record(id(), "user_registered", "l", json!({ "user_id": 7 }));
    fixture.publish("order_events", vec![unknown]).await;
    fixture.publish("user_events", vec![unreadable, user_registered(user)]).await;
    fixture.eventually_rows("sent", 1).await;
    eventually(PATIENCE, async || dead_letters(&fixture).await == 2).await;
    assert_eq!(log.sent(), ["user_registered"]);
    service.stop().await;
}

#[tokio::test]
async fn a_failed_attempt_is_made_again_until_it_succeeds() {
    let fixture = Fixture::new().await;
    let email = Recording::failing(Kind::Email, vec![Failure::Unreachable, Failure::RefusedForNow]);
    let service = fixture.start(vec![Arc::new(LogChannel), email.clone()]).await;
    fixture.publish("user_events", (0..5).map(|_| user_registered(UserId(id()))).collect()).await;
    fixture.eventually_rows("sent", 10).await;
    assert_eq!((email.attempts(), email.sent().len()), (15, 5));
    let attempts: Vec<i32> = sqlx::query_scalar("SELECT DISTINCT attempts FROM notifications WHERE channel = 'email'")
        .fetch_all(&fixture.database.pool)
        .await
        .unwrap();
    assert_eq!(attempts, [3]);

    let streams: Vec<Vec<String>> = sqlx::query_scalar(
        "SELECT array_agg(event_type ORDER BY sequence) FROM events GROUP BY aggregate_id HAVING count(*) > 2",
    )
    .fetch_all(&fixture.database.pool)
    .await
    .unwrap();
    assert_eq!(streams.len(), 5);
    for stream in streams {
        assert_eq!(stream, ["notification_queued", "attempt_failed", "attempt_failed", "notification_sent"]);
    }
    service.stop().await;
}

#[tokio::test]
async fn two_instances_send_nothing_twice() {
    let fixture = Fixture::new().await;
    let log = Recording::failing(Kind::Log, vec![Failure::Unreachable]);
    let one = fixture.start(vec![log.clone()]).await;
    let two = fixture.start(vec![log.clone()]).await;
    for _ in 0..10 {
        fixture.publish("user_events", (0..30).map(|_| user_registered(UserId(id()))).collect()).await;
    }
    fixture.eventually_rows("sent", 300).await;
    assert_eq!((log.attempts(), log.sent().len()), (600, 300));
    one.stop().await;
    two.stop().await;
}

#[tokio::test]
async fn the_last_failed_attempt_gives_it_up() {
    let fixture = Fixture::new().await;
    // One tires, the other is refused for good at once.
    let log = Recording::failing(Kind::Log, vec![Failure::TimedOut; 99]);
    let email = Recording::failing(Kind::Email, vec![Failure::NoRecipient; 99]);
    let service = fixture.start(vec![log.clone(), email.clone()]).await;
    fixture.publish("user_events", vec![user_registered(UserId(id()))]).await;
    fixture.eventually_rows("failed", 2).await;
    assert_eq!((log.attempts(), email.attempts()), (4, 1));
    let due: i64 = sqlx::query_scalar("SELECT count(*) FROM notifications WHERE next_attempt_at IS NOT NULL")
        .fetch_one(&fixture.database.pool)
        .await
        .unwrap();
    assert_eq!(due, 0);
    service.stop().await;
}

#[tokio::test]
async fn what_a_dead_process_left_is_sent_by_the_next() {
    let fixture = Fixture::new().await;
    fixture.start(vec![Recording::new(Kind::Log)]).await.stop().await;

    let (commands, origin) = commands(&fixture);
    let (stream, queue) = queued_long_ago();
    commands.create::<Notification>(&stream, &origin, queue).await.unwrap();

    let log = Recording::new(Kind::Log);
    let service = fixture.start(vec![log.clone()]).await;
    fixture.eventually_rows("sent", 1).await;
    assert_eq!(log.sent(), ["order_confirmed"]);
    service.stop().await;
}

#[tokio::test]
async fn customers_see_their_own_notifications() {
    let fixture = Fixture::new().await;
    let service = fixture.start(vec![Recording::new(Kind::Log)]).await;
    let (ada, bob, order) = (UserId(id()), UserId(id()), OrderId(id()));
    fixture.publish("user_events", vec![user_registered(ada), user_registered(bob)]).await;
    fixture.publish("order_events", vec![order_confirmed(order, ada), order_confirmed(OrderId(id()), bob)]).await;
    fixture.eventually_rows("sent", 4).await;

    let client = web::http_client().build().unwrap();
    let get = async |query: &str, token: Option<String>| -> (u16, Value) {
        let mut request = client.get(format!("{}/api/v1/notifications{query}", service.url));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    };
    let customer = || Some(fixture.token(ada, Role::Customer));
    let admin = || Some(fixture.token(bob, Role::Admin));

    let (status, list) = get("", customer()).await;
    assert_eq!((status, list.as_array().unwrap().len()), (200, 2));
    let (_, list) = get(&format!("?order_id={order}"), customer()).await;
    let [only] = list.as_array().unwrap().as_slice() else { panic!("{list}") };
    assert_eq!(
        (&only["kind"], &only["status"], &only["channel"]),
        (&json!("order_confirmed"), &json!("sent"), &json!("log"))
    );
    assert_eq!((&only["order_id"], &only["user_id"], &only["attempts"]), (&json!(order), &json!(ada), &json!(1)));
    assert!(only["sent_at"].is_string() && only.get("next_attempt_at").is_none(), "{only}");

    assert_eq!(get("", admin()).await.1.as_array().unwrap().len(), 4);
    assert_eq!(get("?limit=3", admin()).await.1.as_array().unwrap().len(), 3);
    assert_eq!(get("", None).await.0, 401);
    for wrong in ["?limit=0", "?limit=501", "?limit=x", "?order_id=x", "?status=gone", "?channel=pigeon"] {
        let (status, problem) = get(wrong, customer()).await;
        assert_eq!(status, 400, "{wrong}: {problem}");
    }
    service.stop().await;
}

#[tokio::test]
async fn a_result_for_a_state_that_has_moved_on_is_decided_again() {
    let fixture = Fixture::new().await;
    runtime::service::migrate(&fixture.database.pool, &notification_service::MIGRATOR).await.unwrap();
    let (commands, origin) = commands(&fixture);
    let (stream, queue) = queued_long_ago();
    let queued = commands.create::<Notification>(&stream, &origin, queue).await.unwrap();
    let from_queued = |command| commands.execute_from(&stream, queued.state.clone(), 1, &origin, command);

    let (at, failure) = (now(), Failure::TimedOut);
    let again = Command::RecordFailure { failure, code: None, next_attempt_at: Some(at), at };
    assert_eq!(from_queued(again.clone()).await.unwrap().sequence, 2);
    let sent = from_queued(Command::RecordSent { at }).await.unwrap();
    assert_eq!((sent.sequence, sent.events), (3, vec![Event::NotificationSent { attempt: 2, at }]));
    let sent = from_queued(Command::RecordSent { at }).await.unwrap();
    assert_eq!((sent.sequence, sent.events), (3, vec![]));
    assert!(matches!(from_queued(again).await, Err(runtime::commands::Error::Denied(Error::Ended(Status::Sent)))));
}

fn commands(fixture: &Fixture) -> (Commands, Origin) {
    let store: Arc<dyn EventStore> = PgStore::new(fixture.database.pool.clone(), StoreOptions::default(), LIVE);
    (Commands::new(store, clock::system()), Origin::request(CORRELATION, id(), "service:test"))
}

/// A stream's id, and the command that begins it.
fn queued_long_ago() -> (String, Command) {
    let message_id = id();
    let notification_id = NotificationId::of_message(message_id, "log");
    let letter = Letter {
        channel: Kind::Log,
        recipient: UserId(id()),
        template: "order_confirmed".to_owned(),
        order_id: None,
        webhook_id: None,
        amount: None,
        reason: None,
    };
    let queue = Command::Queue { notification_id, message_id, letter, at: now() - TimeDelta::minutes(1) };
    (notification_id.to_string(), queue)
}

/// The log of the broker has been read to its end.
async fn consumed_all(fixture: &Fixture) {
    eventually(PATIENCE, async || {
        let offsets: Vec<(String, i32, i64)> = sqlx::query_as(
            "SELECT topic, partition, next_offset FROM consumer_offsets WHERE consumer = 'notification'",
        )
        .fetch_all(&fixture.database.pool)
        .await
        .unwrap();
        for (topic, partition, offset) in offsets {
            let of = broker::TopicPartition::new(topic, partition);
            if broker::Broker::bounds(&fixture.broker, &of).await.unwrap().1 != offset {
                return false;
            }
        }
        true
    })
    .await;
}

async fn dead_letters(fixture: &Fixture) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM dead_letters").fetch_one(&fixture.database.pool).await.unwrap()
}
