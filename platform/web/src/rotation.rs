//! Connections that are shared out among the instances behind a name.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::SocketAddr;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use hyper_util::client::legacy::connect::dns::Name;
use tower::Service;

/// Looks a name up for each new connection, and begins with another of its addresses each time. The system's own order
/// is the same each time, and prefers one instance to all others. The other addresses follow: an instance that is gone,
/// but still in the name service, is passed over.
#[derive(Clone, Copy, Debug)]
pub struct Rotation;

/// Of the process: connections that are made one after another go to different instances, those to one name from
/// several processes too.
static TURN: LazyLock<AtomicUsize> =
    LazyLock::new(|| AtomicUsize::new(usize::try_from(RandomState::new().hash_one(0_u8) >> 33).unwrap_or_default()));

impl Service<Name> for Rotation {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Self::Response>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let turn = TURN.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            Ok(rotated(found.collect(), turn).into_iter())
        })
    }
}

/// The addresses, beginning with the one whose turn it is. The family that the system prefers stays before the other.
fn rotated(found: Vec<SocketAddr>, turn: usize) -> Vec<SocketAddr> {
    let preferred = found.first().map(SocketAddr::is_ipv4);
    let (mut first, mut then): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|address| Some(address.is_ipv4()) == preferred);
    for family in [&mut first, &mut then] {
        family.sort_unstable();
        family.dedup();
        if !family.is_empty() {
            let places = turn % family.len();
            family.rotate_left(places);
        }
    }
    first.append(&mut then);
    first
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| format!("{text}:0").parse().expect("an address")).collect()
    }

    #[test]
    fn each_address_has_its_turn_and_the_others_follow() {
        let found = ["10.0.0.3", "10.0.0.1", "10.0.0.2", "10.0.0.1"];
        for (turn, order) in [
            (0, ["10.0.0.1", "10.0.0.2", "10.0.0.3"]),
            (1, ["10.0.0.2", "10.0.0.3", "10.0.0.1"]),
            (5, ["10.0.0.3", "10.0.0.1", "10.0.0.2"]),
        ] {
            assert_eq!(rotated(addresses(&found), turn), addresses(&order));
        }
        assert!(rotated(Vec::new(), 7).is_empty());
    }

    #[test]
    fn the_preferred_family_stays_first() {
        let found = ["[::2]", "10.0.0.1", "[::1]", "10.0.0.2"];
        assert_eq!(rotated(addresses(&found), 1), addresses(&["[::2]", "[::1]", "10.0.0.2", "10.0.0.1"]));
    }

    #[tokio::test]
    async fn a_name_is_looked_up() {
        let name: Name = "localhost".parse().expect("a name");
        let found: Vec<_> = Rotation.call(name).await.expect("known").collect();
        assert!(!found.is_empty() && found.iter().all(|address| address.ip().is_loopback()), "{found:?}");
    }
}
