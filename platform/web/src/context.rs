//! What is known of the request being handled.

use std::net::IpAddr;

use poem::http::HeaderMap;
use poem::{FromRequest, Request, RequestBody};
use uuid::Uuid;

/// The header that carries the correlation id, in and out.
pub const CORRELATION_ID: &str = "x-correlation-id";
const TRACEPARENT: &str = "traceparent";
/// A correlation id of the caller's own making is read up to this length.
const FOREIGN_ID_BYTES_MAX: usize = 256;

tokio::task_local! {
    static CURRENT: RequestContext;
}

/// Identifies a request across services; a handler takes it as an argument, other code asks [`context()`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestContext {
    /// The id of the whole undertaking: the caller's `X-Correlation-Id`, else a new UUIDv7.
    pub correlation_id: Uuid,
    /// The trace to go on with: this request's own span where spans are recorded, else the caller's.
    pub traceparent: Option<String>,
    /// The address of the connection's other end.
    pub remote: Option<IpAddr>,
}

/// The context of the request that the current task handles.
pub fn context() -> Option<RequestContext> {
    CURRENT.try_with(Clone::clone).ok()
}

impl RequestContext {
    /// A context that no request gave: for work begun by the service itself.
    pub fn fresh() -> Self {
        Self { correlation_id: Uuid::now_v7(), traceparent: telemetry::traceparent(), remote: None }
    }

    pub(crate) fn of_headers(headers: &HeaderMap) -> Self {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let correlation_id = text(CORRELATION_ID).and_then(correlation_id).unwrap_or_else(Uuid::now_v7);
        Self { correlation_id, traceparent: text(TRACEPARENT).map(str::to_owned), remote: None }
    }

    pub(crate) fn of_request(request: &Request) -> Self {
        let remote = request.remote_addr().as_socket_addr().map(std::net::SocketAddr::ip);
        Self { remote, ..Self::of_headers(request.headers()) }
    }

    /// Runs `future` with this as its [`context()`].
    pub(crate) async fn scope<F: Future>(self, future: F) -> F::Output {
        CURRENT.scope(self, future).await
    }
}

/// A UUID as it is; any other text stands for one, the same at each asking.
fn correlation_id(text: &str) -> Option<Uuid> {
    let text = text.trim();
    if text.is_empty() || text.len() > FOREIGN_ID_BYTES_MAX {
        return None;
    }
    Some(Uuid::parse_str(text).unwrap_or_else(|_| Uuid::new_v5(&Uuid::NAMESPACE_OID, text.as_bytes())))
}

impl<'a> FromRequest<'a> for RequestContext {
    async fn from_request(request: &'a Request, _body: &mut RequestBody) -> poem::Result<Self> {
        Ok(request.data::<Self>().cloned().unwrap_or_else(|| Self::of_request(request)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_callers_own_id_stands_for_one_uuid() {
        let id = Uuid::now_v7();
        assert_eq!(correlation_id(&id.to_string()), Some(id));
        assert_eq!(correlation_id("cart-17"), correlation_id(" cart-17 "));
        assert_ne!(correlation_id("cart-17"), correlation_id("cart-18"));
        assert_eq!(correlation_id(""), None);
        assert_eq!(correlation_id(&"x".repeat(257)), None);
    }
}
