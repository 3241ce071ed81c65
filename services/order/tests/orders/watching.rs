//! Server-sent events of an order.

use std::time::{Duration, Instant};

use futures::future::join_all;
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};
use testkit::eventually;
use uuid::Uuid;
use web::auth::Role;

use crate::catalogue::LAPTOP;
use crate::fixture::{PATIENCE, Shop, User};

/// A stream as a client reads it.
struct Stream {
    response: Response,
    read: String,
}

/// An event: id, type and data.
type Event = (String, String, Value);

impl Stream {
    async fn open(shop: &Shop, user: &User, id: Uuid, last: Option<&str>) -> Self {
        Self::open_at(&shop.http, user, id, last).await
    }

    async fn open_at(instance: &str, user: &User, id: Uuid, last: Option<&str>) -> Self {
        let request = web::http_client().build().unwrap().get(format!("{instance}/orders/{id}/events"));
        let request = request.bearer_auth(&user.token).header("accept-encoding", "gzip");
        let request = match last {
            Some(last) => request.header("last-event-id", last),
            None => request,
        };
        Self { response: request.send().await.unwrap(), read: String::new() }
    }

    /// The next event; `None` when the stream has ended.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some((event, rest)) = self.read.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.read = rest;
                let field = |name: &str| {
                    event.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim().to_owned()
                };
                if event.starts_with(':') {
                    continue;
                }
                return Some((field("id:"), field("event:"), serde_json::from_str(&field("data:")).unwrap()));
            }
            let chunk = tokio::time::timeout(PATIENCE, self.response.chunk()).await.expect("in time").unwrap()?;
            self.read.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    async fn all(mut self) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some(event) = self.next().await {
            events.push(event);
        }
        events
    }
}

async fn place(shop: &Shop, user: &User) -> Uuid {
    shop.post(user, "/orders", &json!({ "product_id": LAPTOP, "quantity": 1 })).await.id()
}

fn types(events: &[Event]) -> Vec<(&str, &str)> {
    events.iter().map(|(id, event, _)| (id.as_str(), event.as_str())).collect()
}

#[tokio::test]
async fn an_order_is_watched_to_its_end() {
    let shop = Shop::open().await;
    let user = shop.customer();
    let id = place(&shop, &user).await;
    let mut stream = Stream::open(&shop, &user, id, None).await;
    assert_eq!(stream.response.status(), StatusCode::OK);
    assert_eq!(stream.response.headers()["content-type"], "text/event-stream");
    assert_eq!(stream.response.headers().get("content-encoding"), None, "events do not wait for a compressor");
    let (sequence, event, data) = stream.next().await.unwrap();
    assert_eq!(
        (&*sequence, &*event, &data["sequence"], &data["status"]),
        ("1", "order_placed", &json!(1), &json!("pending"))
    );
    assert_eq!(data["text"], "The order was placed: 1 line, 999.99 EUR in all, to be paid with tok_ok");

    let asked_at = Instant::now();
    shop.confirm(id).await;
    let rest = stream.all().await;
    assert_eq!(types(&rest), [("2", "order_confirmed")]);
    assert_eq!(rest[0].2["status"], "confirmed");
    assert!(asked_at.elapsed() < Duration::from_secs(15), "woken, and ended with the order");

    // Whoever comes late is told all of it, and whoever knows all of it is told so.
    assert_eq!(
        types(&Stream::open(&shop, &user, id, None).await.all().await),
        [("1", "order_placed"), ("2", "order_confirmed")]
    );
    assert_eq!(types(&Stream::open(&shop, &user, id, Some("1")).await.all().await), [("2", "order_confirmed")]);
    assert_eq!(Stream::open(&shop, &user, id, Some("2")).await.response.status(), StatusCode::NO_CONTENT);
    shop.close().await;
}

#[tokio::test]
async fn a_stream_is_taken_up_where_it_broke_off() {
    let shop = Shop::open().await;
    let user = shop.customer();
    let id = place(&shop, &user).await;
    let mut stream = Stream::open(&shop, &user, id, None).await;
    let (last, ..) = stream.next().await.unwrap();
    drop(stream);
    // While nobody watches, it goes on.
    shop.post(&user, &format!("/orders/{id}/cancel"), &json!({})).await;
    let mut stream = Stream::open(&shop, &user, id, Some(&last)).await;
    let (last, event, _) = stream.next().await.unwrap();
    assert_eq!((&*last, &*event), ("2", "cancellation_requested"));
    // Confirmed is not the end: its cancellation was asked for.
    shop.confirm(id).await;
    assert_eq!(stream.next().await.unwrap().1, "order_confirmed");
    shop.cancel(id, "changed my mind").await;
    let rest = stream.all().await;
    assert_eq!(types(&rest), [("4", "order_cancelled")]);
    assert_eq!(rest[0].2["status"], "cancelled");
}

#[tokio::test]
async fn many_watch_one_order() {
    let shop = Shop::open().await;
    let (user, admin) = (shop.customer(), shop.user(Role::Admin));
    let id = place(&shop, &user).await;
    let mut streams = Vec::new();
    for n in 0..20 {
        let mut stream = Stream::open(&shop, if n % 2 == 0 { &user } else { &admin }, id, None).await;
        assert_eq!(stream.next().await.unwrap().1, "order_placed");
        streams.push(stream);
    }
    shop.confirm(id).await;
    for events in join_all(streams.into_iter().map(Stream::all)).await {
        assert_eq!(types(&events), [("2", "order_confirmed")]);
    }
}

#[tokio::test]
async fn whoever_watches_another_instance_is_woken_too() {
    let shop = Shop::open().await;
    let (user, twin) = (shop.customer(), shop.twin().await);
    for round in 0..3 {
        let id = place(&shop, &user).await;
        let mut streams = Vec::new();
        for instance in [&shop.http, &twin] {
            let mut stream = Stream::open_at(instance, &user, id, None).await;
            assert_eq!(stream.next().await.unwrap().1, "order_placed");
            streams.push(stream);
        }
        shop.confirm(id).await;
        for events in join_all(streams.into_iter().map(Stream::all)).await {
            assert_eq!(types(&events), [("2", "order_confirmed")], "round {round}");
        }
    }
}

#[tokio::test]
async fn streams_are_ones_own_and_limited() {
    let shop = Shop::open().await;
    let (user, other) = (shop.customer(), shop.customer());
    let id = place(&shop, &user).await;
    let path = format!("/orders/{id}/events");
    assert_eq!(shop.get(&other, &path).await.status, StatusCode::NOT_FOUND);
    assert_eq!(shop.get(&user, &format!("/orders/{}/events", Uuid::now_v7())).await.status, StatusCode::NOT_FOUND);
    assert_eq!(shop.send(reqwest::Method::GET, None, &path, None).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(Stream::open(&shop, &user, id, Some("last")).await.response.status(), StatusCode::BAD_REQUEST);

    let mut streams = Vec::new();
    for _ in 0..20 {
        streams.push(Stream::open(&shop, &user, id, None).await);
    }
    let refused = Stream::open(&shop, &user, id, None).await.response;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert!(refused.headers().contains_key("retry-after"));
    streams.clear();
    // The server notices that they are gone when it writes to them, or their connections end.
    eventually(PATIENCE, || async { Stream::open(&shop, &user, id, None).await.response.status() == StatusCode::OK })
        .await;
}

#[tokio::test]
async fn a_shutdown_ends_the_streams() {
    let shop = Shop::open().await;
    let user = shop.customer();
    let id = place(&shop, &user).await;
    let mut stream = Stream::open(&shop, &user, id, None).await;
    assert_eq!(stream.next().await.unwrap().1, "order_placed");
    tokio::time::timeout(Duration::from_secs(10), shop.close()).await.expect("closes in time");
    assert!(stream.next().await.is_none());
}
