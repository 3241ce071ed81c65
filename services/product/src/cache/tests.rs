use std::sync::atomic::AtomicUsize;

use poem_openapi::types::Example;
use testkit::eventually;

use super::*;

fn cache(redis_url: Option<&str>) -> Arc<Cache> {
    let cache = Cache::new(redis_url).unwrap();
    cache.is_of(Some(0));
    Arc::new(cache)
}

fn entry(id: Uuid, stock: i64) -> Entry {
    Entry { id, stock, ..Entry::example() }
}

async fn stock(cache: &Arc<Cache>, id: Uuid, stored: i64) -> i64 {
    cache.get(id, move || async move { Ok(Some(entry(id, stored))) }).await.unwrap().unwrap().entry.stock
}

#[tokio::test]
async fn an_entry_is_kept_until_it_changes() {
    let (cache, id) = (cache(None), Uuid::now_v7());
    assert_eq!(stock(&cache, id, 5).await, 5);
    assert_eq!(stock(&cache, id, 4).await, 5);
    cache.changed(vec![id]);
    assert_eq!(stock(&cache, id, 3).await, 3);
    cache.forget_all();
    assert_eq!(stock(&cache, id, 2).await, 2);
}

#[tokio::test]
async fn what_was_read_before_a_change_is_not_kept_after_it() {
    let (cache, id) = (cache(None), Uuid::now_v7());
    let changing = Arc::clone(&cache);
    let load = move || async move {
        changing.changed(vec![id]);
        Ok(Some(entry(id, 5)))
    };
    assert_eq!(cache.get(id, load).await.unwrap().unwrap().entry.stock, 5);
    assert_eq!(stock(&cache, id, 4).await, 4);
}

#[tokio::test]
async fn that_there_is_none_is_not_kept() {
    let (cache, id) = (cache(None), Uuid::now_v7());
    assert!(cache.get(id, || async { Ok(None) }).await.unwrap().is_none());
    assert_eq!(stock(&cache, id, 1).await, 1);
}

#[tokio::test]
async fn those_who_miss_a_product_at_once_wait_for_one_load() {
    let (cache, id, loads) = (cache(None), Uuid::now_v7(), Arc::new(AtomicUsize::new(0)));
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let ask = || {
        let (cache, loads, gate) = (Arc::clone(&cache), Arc::clone(&loads), Arc::clone(&gate));
        async move {
            let load = move || async move {
                loads.fetch_add(1, Ordering::SeqCst);
                let _open = gate.acquire().await;
                Ok(Some(entry(id, 5)))
            };
            cache.get(id, load).await.unwrap().unwrap().entry.stock
        }
    };
    let first = tokio::spawn(ask());
    let asked: Vec<_> = (0..100).map(|_| tokio::spawn(ask())).collect();
    eventually(Duration::from_secs(10), || async { loads.load(Ordering::SeqCst) == 1 }).await;
    // The one who began goes away: the others still get what they wait for.
    first.abort();
    gate.add_permits(1);
    for asked in asked {
        assert_eq!(asked.await.unwrap(), 5);
    }
    assert_eq!(loads.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn who_comes_after_a_change_does_not_wait_for_a_load_from_before() {
    let (cache, id) = (cache(None), Uuid::now_v7());
    let (gate, reached) = (Arc::new(tokio::sync::Semaphore::new(0)), Arc::new(tokio::sync::Semaphore::new(0)));
    let slow = tokio::spawn({
        let (cache, gate, reached) = (Arc::clone(&cache), Arc::clone(&gate), Arc::clone(&reached));
        async move {
            let load = move || async move {
                reached.add_permits(1);
                let _open = gate.acquire().await;
                Ok(Some(entry(id, 5)))
            };
            cache.get(id, load).await.unwrap().unwrap().entry.stock
        }
    });
    let _begun = reached.acquire().await.unwrap();
    cache.changed(vec![id]);
    assert_eq!(stock(&cache, id, 4).await, 4);
    gate.add_permits(1);
    assert_eq!(slow.await.unwrap(), 5);
    cache.local.invalidate(&id);
    assert_eq!(stock(&cache, id, 3).await, 3, "nothing is left of the old load");
}

#[tokio::test]
async fn an_error_reaches_all_who_wait_and_is_not_kept() {
    let (cache, id) = (cache(None), Uuid::now_v7());
    let failed = cache.get(id, || async { Err(Error::UnknownCursor(Uuid::nil())) }).await;
    assert!(matches!(*failed.unwrap_err(), Error::UnknownCursor(_)));
    let died = cache.get(id, || async { panic!("as a test") }).await;
    assert!(matches!(*died.unwrap_err(), Error::Interrupted));
    assert_eq!(stock(&cache, id, 1).await, 1);
}

/// A Redis that accepts connections and never says anything.
#[tokio::test]
async fn a_hung_redis_costs_little_and_then_nothing() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let cache = cache(Some(&format!("redis://{}", listener.local_addr().unwrap())));
    let started = Instant::now();
    for n in 0..100 {
        assert_eq!(stock(&cache, Uuid::now_v7(), n).await, n);
    }
    let took = started.elapsed();
    assert!(took < redis::CALL_TIMEOUT * 3 + Duration::from_secs(1), "{took:?}");
    drop(listener);
}
