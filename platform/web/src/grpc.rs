//! The gRPC server and client.

use std::time::Duration;

use anyhow::Context;
use poem::http::{HeaderMap, StatusCode};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::metadata::{AsciiMetadataValue, MetadataMap};
use tonic::service::Routes;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Code, Request, Status};
use tracing::Span;

use crate::auth::Identity;
use crate::context::CORRELATION_ID;
use crate::{EdgeOptions, Problem, RequestContext};

/// A connection is made within this.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// A call is answered within this, on either side.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// A silent connection is asked whether it lives this often, and given up after as long again.
const KEEPALIVE: Duration = Duration::from_secs(10);
/// Calls in flight on one connection; more wait.
const STREAMS_MAX: u32 = 1_024;
/// Calls in flight at shutdown have this long to end.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

/// Serves gRPC until `shutdown`; calls then in flight have five seconds to end. Each call has a span that goes on with
/// the caller's trace.
///
/// # Errors
/// The listener fails.
pub async fn serve(
    listener: TcpListener,
    routes: Routes,
    _options: EdgeOptions,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true)).with_keepalive(Some(KEEPALIVE * 6));
    let server = Server::builder()
        .timeout(CALL_TIMEOUT)
        .max_concurrent_streams(STREAMS_MAX)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE))
        .trace_fn(|request| span(request.uri().path(), request.headers()))
        .add_routes(routes)
        .serve_with_incoming_shutdown(incoming, shutdown.clone().cancelled_owned());
    let overtime = async {
        shutdown.cancelled().await;
        tokio::time::sleep(SHUTDOWN_TIMEOUT).await;
    };
    tokio::select! {
        served = server => served.context("the gRPC server failed"),
        () = overtime => Ok(()),
    }
}

fn span(path: &str, headers: &HeaderMap) -> Span {
    let context = RequestContext::of_headers(headers);
    let name = path.trim_start_matches('/');
    let span = tracing::info_span!(
        "grpc.request",
        otel.name = name,
        otel.kind = "server",
        rpc.system = "grpc",
        rpc.method = name,
        request.correlation_id = %context.correlation_id,
    );
    telemetry::set_parent(&span, context.traceparent.as_deref());
    span
}

/// A channel to `endpoint` (`host:port`, or a URL), connected at the first call and again whenever it breaks.
///
/// # Errors
/// A text that is no address.
pub fn channel(endpoint: &str) -> anyhow::Result<Channel> {
    let url = if endpoint.contains("://") { endpoint.to_owned() } else { format!("http://{endpoint}") };
    let endpoint = Endpoint::from_shared(url).with_context(|| format!("{endpoint:?} is no host:port"))?;
    Ok(endpoint
        .tcp_nodelay(true)
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(CALL_TIMEOUT)
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE)
        .keep_alive_while_idle(true)
        .connect_lazy())
}

/// A call with the trace and correlation id of `context`, in the name of `caller`.
pub fn request<T>(message: T, context: &RequestContext, caller: Option<&Identity>) -> Request<T> {
    let mut request = Request::new(message);
    let mut set = |name: &'static str, value: Option<String>| {
        if let Some(value) = value.and_then(|value| AsciiMetadataValue::try_from(value).ok()) {
            request.metadata_mut().insert(name, value);
        }
    };
    set(CORRELATION_ID, Some(context.correlation_id.to_string()));
    set("traceparent", telemetry::traceparent().or_else(|| context.traceparent.clone()));
    set("authorization", caller.and_then(Identity::token).map(|token| format!("Bearer {token}")));
    request
}

/// The context that a call came with.
pub fn context(metadata: &MetadataMap) -> RequestContext {
    let mut context = RequestContext::of_headers(metadata.as_ref());
    context.traceparent = telemetry::traceparent().or(context.traceparent);
    context
}

/// The access token of a call.
pub(crate) fn bearer(metadata: &MetadataMap) -> Option<&str> {
    let (scheme, token) = metadata.get("authorization")?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

impl From<Problem> for Status {
    /// The gRPC status that says the same.
    fn from(problem: Problem) -> Self {
        let code = match problem.status_code() {
            StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY => Code::InvalidArgument,
            StatusCode::UNAUTHORIZED => Code::Unauthenticated,
            StatusCode::FORBIDDEN => Code::PermissionDenied,
            StatusCode::NOT_FOUND | StatusCode::GONE => Code::NotFound,
            StatusCode::CONFLICT => Code::FailedPrecondition,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::PAYLOAD_TOO_LARGE => Code::ResourceExhausted,
            StatusCode::SERVICE_UNAVAILABLE => Code::Unavailable,
            _ => Code::Internal,
        };
        Self::new(code, problem.detail())
    }
}
