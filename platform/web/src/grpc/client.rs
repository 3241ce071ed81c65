//! Calls to others.

use std::time::Duration;

use anyhow::Context;
use hyper_util::client::legacy::connect::HttpConnector;
use telemetry::{Kind, Span, trace as spans};
use tokio::time::Instant;
use tonic::metadata::{AsciiMetadataValue, MetadataMap};
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Request, Status};

use super::{CALL_TIMEOUT, KEEPALIVE, timeout};
use crate::auth::Identity;
use crate::context::{CORRELATION_ID, REQUEST_ID};
use crate::{RequestContext, Rotation};

/// A connection is made within this.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// A channel to `endpoint` (`host:port`, or a URL; `https://…` for TLS, with the roots of this machine or those in
/// `SSL_CERT_FILE`), connected at the first call and again whenever it breaks: each time to the next of the instances
/// behind the name.
///
/// # Errors
/// A text that is no address, or no roots to trust.
pub fn channel(endpoint: &str) -> anyhow::Result<Channel> {
    let url = if endpoint.contains("://") { endpoint.to_owned() } else { format!("http://{endpoint}") };
    let secure = url.starts_with("https://");
    let mut endpoint = Endpoint::from_shared(url).with_context(|| format!("{endpoint:?} is no host:port"))?;
    if secure {
        crate::client::choose_tls_provider();
        endpoint = endpoint.tls_config(ClientTlsConfig::new().with_native_roots()).context("no TLS roots")?;
    }
    let mut connector = HttpConnector::new_with_resolver(Rotation);
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
    Ok(endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(CALL_TIMEOUT)
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE)
        .keep_alive_while_idle(true)
        .connect_with_connector_lazy(connector))
}

/// A call with the trace, the ids and the remaining time of `context`, in the name of `caller`.
pub fn request<T>(message: T, context: &RequestContext, caller: Option<&Identity>) -> Request<T> {
    let mut request = Request::new(message);
    let mut set = |name: &'static str, value: Option<String>| {
        if let Some(value) = value.and_then(|value| AsciiMetadataValue::try_from(value).ok()) {
            request.metadata_mut().insert(name, value);
        }
    };
    set(CORRELATION_ID, Some(context.correlation_id.to_string()));
    set(REQUEST_ID, context.request_id.as_deref().map(str::to_owned));
    set("traceparent", telemetry::traceparent().or_else(|| context.traceparent.clone()));
    set("authorization", caller.and_then(Identity::token).map(|token| format!("Bearer {token}")));
    if let Some(deadline) = context.deadline {
        // Nobody waits for no time at all: where it is over, the other end is to say so.
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        request.set_timeout(left.min(CALL_TIMEOUT));
    }
    request
}

/// Gives a call the trace of the current span, where it has nothing else of a request.
pub fn trace<T>(request: &mut Request<T>) {
    if let Some(value) = telemetry::traceparent().and_then(|text| AsciiMetadataValue::try_from(text).ok()) {
        request.metadata_mut().insert("traceparent", value);
    }
}

/// Makes a call of this method, `shop.Service/Method`, in a span of its own; the request is to be made within it.
///
/// # Errors
/// Those of the call.
pub async fn traced<T>(method: &'static str, call: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    let mut span = spans::child(Kind::Client, method);
    if let Some((service, name)) = method.split_once('/') {
        span.set("rpc.system", "grpc");
        span.set("rpc.service", service);
        span.set("rpc.method", name);
    }
    let span = span.into_current();
    let answer = spans::scope(span.clone().or_else(spans::current_span), call).await;
    let mut span = span.map_or_else(Span::none, spans::Current::into_span);
    let code = answer.as_ref().err().map_or(Code::Ok, Status::code);
    span.set("rpc.grpc.status_code", i64::from(i32::from(code)));
    if code != Code::Ok {
        span.fail(code.description());
    }
    answer
}

/// The context that a call came with.
pub fn context(metadata: &MetadataMap) -> RequestContext {
    crate::context().unwrap_or_else(|| {
        let headers = metadata.as_ref();
        let mut context = RequestContext::of_headers(headers);
        context.traceparent = telemetry::traceparent().or(context.traceparent);
        context.deadline = timeout::of_headers(headers).map(|left| Instant::now() + left);
        context
    })
}

/// The access token of a call.
pub(crate) fn bearer(metadata: &MetadataMap) -> Option<&str> {
    let (scheme, token) = metadata.get("authorization")?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}
