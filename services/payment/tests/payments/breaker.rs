//! A provider that fails is left alone for a while.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use payment_service::provider::{Error, HttpProvider, HttpSettings, Provider};
use testkit::eventually;
use tokio::net::TcpListener;

use crate::fixture::PATIENCE;
use crate::psp::key;

/// Answers nobody, and counts them.
async fn hangs_up() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let called = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&called);
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::SeqCst);
            drop(connection);
        }
    });
    (url, called)
}

fn provider(url: &str) -> HttpProvider {
    let settings =
        HttpSettings { url: url.to_owned(), key: key(), timeout: Duration::from_millis(500), connections_max: 4 };
    HttpProvider::new(&settings, event_store::clock::system()).unwrap()
}

#[tokio::test]
async fn a_provider_that_fails_is_left_alone_and_tried_again_later() {
    let (url, called) = hangs_up().await;
    let provider = provider(&url);
    let mut refused = 0;
    for _ in 0..200 {
        match provider.find("p/charge").await.unwrap_err() {
            Error::Resting => refused += 1,
            Error::Unavailable(_) => {}
            other => panic!("{other}"),
        }
    }
    let calls = called.load(Ordering::SeqCst);
    assert!(refused > 100 && calls < 100, "{refused} refused, {calls} sent");
    eventually(PATIENCE, async || {
        let _ = provider.find("p/charge").await;
        called.load(Ordering::SeqCst) > calls
    })
    .await;
}

#[test]
fn what_is_no_url_is_refused() {
    for url in ["", "psp", "ftp://psp:8086"] {
        let settings =
            HttpSettings { url: url.to_owned(), key: key(), timeout: Duration::from_secs(1), connections_max: 1 };
        assert!(HttpProvider::new(&settings, event_store::clock::system()).is_err(), "{url}");
    }
}
