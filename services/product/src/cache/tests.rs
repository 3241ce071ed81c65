use chrono::DateTime;
use kernel::{Currency, Money};
use testkit::eventually;

use super::*;

fn entry(id: Uuid, stock: i64) -> Entry {
    let at = DateTime::from_timestamp(1_800_000_000, 123_456_000).unwrap();
    Entry {
        id,
        name: "Laptop".to_owned(),
        price: Money::new(99_999, Currency::EUR).into(),
        currency: "EUR".to_owned(),
        stock,
        category: None,
        created_at: at.into(),
        updated_at: at.into(),
    }
}

async fn stock(cache: &Cache, id: Uuid, stored: i64) -> i64 {
    let load = async { Ok::<_, ()>(Some(entry(id, stored))) };
    cache.get(id, load).await.unwrap().unwrap().stock
}

#[tokio::test]
async fn an_entry_is_kept_until_it_changes() {
    let (cache, id) = (Cache::new(None).unwrap(), Uuid::now_v7());
    assert_eq!(stock(&cache, id, 5).await, 5);
    assert_eq!(stock(&cache, id, 4).await, 5);
    cache.changed(vec![id]);
    assert_eq!(stock(&cache, id, 3).await, 3);
}

#[tokio::test]
async fn what_was_read_before_a_change_is_not_kept_after_it() {
    let (cache, id) = (Cache::new(None).unwrap(), Uuid::now_v7());
    let load = async {
        cache.changed(vec![id]);
        Ok::<_, ()>(Some(entry(id, 5)))
    };
    assert_eq!(cache.get(id, load).await.unwrap().unwrap().stock, 5);
    assert_eq!(stock(&cache, id, 4).await, 4);
}

#[tokio::test]
async fn that_there_is_none_is_not_kept() {
    let (cache, id) = (Cache::new(None).unwrap(), Uuid::now_v7());
    assert_eq!(cache.get(id, async { Ok::<_, ()>(None) }).await, Ok(None));
    assert_eq!(stock(&cache, id, 1).await, 1);
}

/// A Redis that accepts connections and never says anything.
#[tokio::test]
async fn a_hung_redis_costs_little_and_then_nothing() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let cache = Cache::new(Some(&format!("redis://{}", listener.local_addr().unwrap()))).unwrap();
    let started = Instant::now();
    for n in 0..100 {
        assert_eq!(stock(&cache, Uuid::now_v7(), n).await, n);
    }
    let took = started.elapsed();
    assert!(took < redis::CALL_TIMEOUT * 3 + Duration::from_secs(1), "{took:?}");
    drop(listener);
}

/// With a real Redis in `REDIS_URL`.
#[tokio::test]
async fn redis_is_shared_and_covered_by_tombstones() {
    let Some(url) = std::env::var("REDIS_URL").ok().filter(|url| !url.is_empty()) else {
        eprintln!("skipped: redis_is_shared_and_covered_by_tombstones needs a Redis in REDIS_URL");
        return;
    };
    let (one, other) = (Cache::new(Some(&url)).unwrap(), Cache::new(Some(&url)).unwrap());
    let id = Uuid::now_v7();
    assert_eq!(stock(&one, id, 5).await, 5);
    assert_eq!(stock(&other, id, 4).await, 5, "found in Redis");

    // A reader whose row is old by the time that it comes to cache it.
    one.begin_change(&[id]).await;
    one.changed(vec![id]);
    assert_eq!(stock(&one, id, 5).await, 5);
    let third = Cache::new(Some(&url)).unwrap();
    assert_eq!(stock(&third, id, 3).await, 3, "nobody caches over a tombstone");

    let (third, url) = (&third, &url);
    eventually(redis::TOMBSTONE_LIFETIME * 3, || async move {
        third.local.invalidate(&id);
        stock(third, id, 3).await;
        stock(&Cache::new(Some(url)).unwrap(), id, 2).await == 3
    })
    .await;
}
