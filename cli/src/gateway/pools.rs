//! The connections to one service, shared out among its instances.

use super::forward::Through;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use poem::http::uri::Authority;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use web::Rotation;

/// Several, used in turn: requests that come one after another go to different instances.
const POOLS: usize = 8;
/// New connections after this, so that new instances get their part.
const RENEW_AFTER: Duration = Duration::from_secs(30);
/// A service that is there takes a connection within this, all of its instances together.
const CONNECT_MAX: Duration = Duration::from_secs(2);
/// A connection that was not used for so long is closed: before the service closes it under a request.
const IDLE_MAX: Duration = Duration::from_secs(15);
const IDLE_PER_SERVICE_MAX: usize = 256;

pub(super) type HttpClient = Client<HttpConnector<Rotation>, Through>;

/// Pools of connections. An address has one, which is kept: only behind a name there may be several instances.
pub(super) struct Pools {
    pools: Vec<Mutex<Pool>>,
    turn: AtomicUsize,
    renew_after: Option<Duration>,
}

struct Pool {
    client: HttpClient,
    renewed: Instant,
}

impl Pools {
    pub(super) fn to(authority: &Authority) -> Self {
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        match host.parse::<IpAddr>() {
            Ok(_) => Self::new(1, None),
            Err(_) => Self::new(POOLS, Some(RENEW_AFTER)),
        }
    }

    fn new(pools: usize, renew_after: Option<Duration>) -> Self {
        let pool = |_| Mutex::new(Pool { client: client(), renewed: Instant::now() });
        Self { pools: (0..pools).map(pool).collect(), turn: AtomicUsize::new(0), renew_after }
    }

    /// The client whose turn it is. What is underway on an older one ends there.
    pub(super) fn next(&self) -> HttpClient {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % self.pools.len();
        let mut pool = self.pools[turn].lock().unwrap_or_else(PoisonError::into_inner);
        if self.renew_after.is_some_and(|after| pool.renewed.elapsed() >= after) {
            *pool = Pool { client: client(), renewed: Instant::now() };
        }
        pool.client.clone()
    }
}

fn client() -> HttpClient {
    let mut connector = HttpConnector::new_with_resolver(Rotation);
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(CONNECT_MAX));
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_MAX)
        .pool_max_idle_per_host(IDLE_PER_SERVICE_MAX)
        .build(connector)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use http_body_util::{BodyExt, Empty};
    use poem::http::Request;
    use std::io;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    /// Answers every request; each connection is told.
    async fn service() -> (Authority, tokio::sync::mpsc::UnboundedReceiver<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound").to_string();
        let (told, connections) = tokio::sync::mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let _ = told.send(());
                tokio::spawn(async move {
                    let mut some = [0; 1024];
                    while stream.read(&mut some).await.is_ok_and(|read| read > 0) {
                        let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await;
                    }
                });
            }
        });
        (address.parse().expect("an authority"), connections)
    }

    async fn ask(pools: &Pools, authority: &Authority, times: usize) {
        for _ in 0..times {
            let body = Empty::<Bytes>::new().map_err(|never| -> io::Error { match never {} }).boxed();
            let request = Request::get(format!("http://{authority}/")).body(body).expect("a request");
            assert_eq!(pools.next().request(request).await.expect("an answer").status(), 204);
        }
    }

    #[tokio::test]
    async fn requests_one_after_another_are_shared_out() {
        let (authority, mut connections) = service().await;
        ask(&Pools::new(3, None), &authority, 9).await;
        let mut counted = 0;
        while connections.try_recv().is_ok() {
            counted += 1;
        }
        assert_eq!(counted, 3, "a connection of each pool, used again");
    }

    #[tokio::test]
    async fn connections_are_renewed_behind_a_name_and_kept_to_an_address() {
        let (authority, mut connections) = service().await;
        ask(&Pools::new(1, Some(Duration::ZERO)), &authority, 3).await;
        for _ in 0..3 {
            assert!(connections.recv().await.is_some());
        }
        ask(&Pools::to(&authority), &authority, 3).await;
        assert!(connections.recv().await.is_some());
        assert!(connections.try_recv().is_err(), "one was enough");
    }
}
