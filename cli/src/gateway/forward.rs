//! One request to one service, over connections that are kept.

use super::Upstreams;
use super::pools::Pools;
use super::watched::Watched;
use crate::ports::Role;
use anyhow::Context;
use bytes::Bytes;
use http_body_util::BodyExt;
use http_body_util::combinators::BoxBody;
use poem::Body;
use poem::http::uri::{Authority, PathAndQuery, Scheme};
use poem::http::{Request, Response, Uri};
use std::collections::BTreeMap;
use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use web::Problem;

/// Requests that are underway at once; further ones are told to come again.
const IN_FLIGHT_MAX: usize = 4096;
/// Longer than the longest that a service lets a request take, its long polls included.
const ANSWER_MAX: Duration = Duration::from_secs(60);
/// A caller's body goes on within this.
const REQUEST_PAUSE_MAX: Duration = Duration::from_secs(15);
/// An answer goes on within this; streams of events are quiet for long.
const ANSWER_PAUSE_MAX: Duration = Duration::from_secs(120);
/// What those who come at a bad moment are told to wait.
const RETRY_AFTER: Duration = Duration::from_secs(1);

pub(super) type Through = BoxBody<Bytes, io::Error>;

/// The services, and the connections to them.
pub(super) struct Forwarder {
    upstreams: BTreeMap<Role, (Authority, Pools)>,
    places: Arc<Semaphore>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    #[error("too many requests are underway")]
    Full,
    #[error("the service cannot be reached: {0}")]
    Away(String),
    #[error("the service did not answer in time")]
    Slow,
    #[error("the caller's body did not go on")]
    CallerSlow,
    #[error("the connection broke before the answer: {0}")]
    Broken(String),
}

impl Trouble {
    /// As a label of metrics.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Away(_) => "away",
            Self::Slow => "slow",
            Self::CallerSlow => "caller_slow",
            Self::Broken(_) => "broken",
        }
    }

    /// What the caller is told.
    pub(super) fn problem(&self, role: Role) -> Problem {
        let title = role.title();
        match self {
            Self::Full => Problem::unavailable("Too many requests are underway", RETRY_AFTER),
            Self::Away(_) => Problem::unavailable(format!("The {title} is away"), RETRY_AFTER),
            Self::Slow => Problem::unavailable(format!("The {title} did not answer in time"), RETRY_AFTER),
            Self::CallerSlow => Problem::too_slow(),
            Self::Broken(_) => Problem::unavailable(
                format!("The {title} broke off: whether the request was carried out is not known"),
                RETRY_AFTER,
            ),
        }
    }
}

impl Forwarder {
    pub(super) fn new(upstreams: &Upstreams) -> anyhow::Result<Self> {
        let upstream = |role: &Role, url: &String| {
            let uri: Uri = url.trim_end_matches('/').parse().ok()?;
            let plain = uri.scheme() == Some(&Scheme::HTTP) && matches!(uri.path(), "" | "/");
            let authority = uri.into_parts().authority.filter(|_| plain)?;
            let pools = Pools::to(&authority);
            Some((*role, (authority, pools)))
        };
        let upstreams = upstreams
            .iter()
            .map(|(role, url)| {
                upstream(role, url).with_context(|| {
                    format!("the address of the {} is not of the form http://host:port: {url}", role.title())
                })
            })
            .collect::<anyhow::Result<_>>()?;
        Ok(Self { upstreams, places: Arc::new(Semaphore::new(IN_FLIGHT_MAX)) })
    }

    /// Sends a request on; the answer's body comes as the service sends it.
    pub(super) async fn send(&self, role: Role, head: Request<()>, body: Body) -> Result<Response<Through>, Trouble> {
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| Trouble::Full)?;
        let (upstream, pools) = self.upstreams.get(&role).ok_or_else(|| Trouble::Away("no address".to_owned()))?;
        let (mut parts, ()) = head.into_parts();
        parts.uri = onward(&parts.uri, upstream).ok_or_else(|| Trouble::Away("no such path".to_owned()))?;
        let body = Watched::new(BoxBody::from(body), REQUEST_PAUSE_MAX, None).boxed();
        let answering = pools.next().request(Request::from_parts(parts, body));
        match tokio::time::timeout(ANSWER_MAX, answering).await {
            Ok(Ok(answer)) => Ok(answer.map(|body| Watched::new(body, ANSWER_PAUSE_MAX, Some(place)).boxed())),
            Ok(Err(error)) if error.is_connect() => Err(Trouble::Away(chain(&error))),
            Ok(Err(error)) if is_timeout(&error) => Err(Trouble::CallerSlow),
            Ok(Err(error)) => Err(Trouble::Broken(chain(&error))),
            Err(_) => Err(Trouble::Slow),
        }
    }
}

fn onward(uri: &Uri, upstream: &Authority) -> Option<Uri> {
    let path = uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    Uri::builder().scheme(Scheme::HTTP).authority(upstream.clone()).path_and_query(path).build().ok()
}

/// Whether an error goes back to [`Watched`]'s: only the caller's body has one before the answer.
fn is_timeout(error: &(dyn Error + 'static)) -> bool {
    let io = error.downcast_ref::<io::Error>();
    io.is_some_and(|error| error.kind() == io::ErrorKind::TimedOut) || error.source().is_some_and(is_timeout)
}

fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_is_none_is_refused_at_the_start() {
        for bad in ["localhost:8082", "https://orders:443", "http://orders:8082/base", ""] {
            let upstreams = Upstreams::from([(Role::Order, bad.to_owned())]);
            let error = Forwarder::new(&upstreams).err().expect("refused").to_string();
            assert!(error.contains("order service") && error.contains("http://host:port"), "{error}");
        }
        assert!(Forwarder::new(&Upstreams::from([(Role::Order, "http://orders:8082/".to_owned())])).is_ok());
    }
}
