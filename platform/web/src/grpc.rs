//! The gRPC server and client.
//!
//! [`routes`] gives a service health and reflection, [`serve`] puts the edge around it: deadlines, limits, metrics, the
//! access log. [`channel`], [`request`] and [`traced`] call others, with the trace and the time that is left. [`status`] says a
//! [`Problem`](crate::Problem) as gRPC does.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use poem::http::{Request, Response};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::service::Routes;
use tonic::transport::Server;
use tower::Service;

use crate::EdgeOptions;
use crate::server::Tls;

mod client;
mod edge;
mod incoming;
mod limited;
mod measured;
mod status;
mod timeout;

pub(crate) use client::bearer;
pub use client::{channel, context, request, trace, traced};
pub use status::status;

/// A call is answered within this, on either side; a stream begins within it.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// A silent connection is asked whether it lives this often, and given up after as long again.
const KEEPALIVE: Duration = Duration::from_secs(10);
/// A connection is given up gently at this age, so that new instances get their part of the calls.
const CONNECTION_AGE_MAX: Duration = Duration::from_secs(60);
/// Calls in flight on one connection; more wait.
const STREAMS_MAX: u32 = 1_024;

/// A service with `grpc.health.v1` and server reflection beside it, the older version too, which some tools still ask
/// for. `descriptors` are those of its contract.
///
/// # Errors
/// Descriptors that cannot be read.
pub async fn routes<S>(service: S, descriptors: &'static [u8]) -> anyhow::Result<Routes>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>
        + NamedService
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send + 'static,
{
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_service_status(S::NAME, tonic_health::ServingStatus::Serving).await;
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(descriptors)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .with_service_name(S::NAME)
            .with_service_name("grpc.health.v1.Health")
    };
    let unreadable = "the descriptors cannot be read";
    Ok(Routes::new(service)
        .add_service(health_service)
        .add_service(reflection().build_v1().context(unreadable)?)
        .add_service(reflection().build_v1alpha().context(unreadable)?))
}

/// Serves gRPC until `shutdown`; calls then in flight have [`EdgeOptions::shutdown_timeout`] to end. Each call has a
/// span that goes on with the caller's trace.
///
/// # Errors
/// The listener fails, or the TLS files cannot be used.
pub async fn serve(
    service: &'static str,
    listener: TcpListener,
    routes: Routes,
    options: EdgeOptions,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let tls = options.tls.clone().map(|files| Tls::new(files, &["h2"])).transpose()?.map(Arc::new);
    let incoming = incoming::connections(listener, &options, tls);
    let stop = {
        let (shutdown, delay) = (shutdown.clone(), options.drain_delay);
        async move {
            shutdown.cancelled().await;
            tokio::time::sleep(delay).await;
        }
    };
    let server = Server::builder()
        .max_concurrent_streams(STREAMS_MAX)
        .max_connection_age(CONNECTION_AGE_MAX)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE))
        .http2_max_header_list_size(u32::try_from(options.header_bytes_max).unwrap_or(u32::MAX))
        .layer(edge::EdgeLayer::new(service, &options))
        .add_routes(routes)
        .serve_with_incoming_shutdown(incoming, stop);
    let overtime = async {
        shutdown.cancelled().await;
        tokio::time::sleep(options.drain_delay + options.shutdown_timeout).await;
    };
    tokio::select! {
        served = server => served.context("the gRPC server failed"),
        () = overtime => Ok(()),
    }
}

#[cfg(test)]
mod tests;
