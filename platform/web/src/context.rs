//! What is known of the request being handled.

use std::cell::Cell;
use std::net::IpAddr;
use std::sync::Arc;

use futures::FutureExt;
use kernel::UserId;
use poem::http::{HeaderMap, HeaderValue};
use poem::{FromRequest, Request, RequestBody};
use telemetry::logs::{self, Ids};
use tokio::time::Instant;
use uuid::Uuid;

use crate::Problem;
use crate::limits::{Allowance, Limits, Refused, scarcer};

/// The header that carries the correlation id, in and out.
pub const CORRELATION_ID: &str = "x-correlation-id";
/// The header that carries the request id, in and out.
pub const REQUEST_ID: &str = "x-request-id";
/// The header that tells an answer's trace.
pub const TRACE_ID: &str = "trace-id";
const TRACEPARENT: &str = "traceparent";
/// An id of the caller's own making is read up to this length.
const FOREIGN_ID_BYTES_MAX: usize = 256;

tokio::task_local! {
    static CURRENT: Scope;
}

/// Identifies a request across services; a handler takes it as an argument, other code asks [`context()`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestContext {
    /// The id of the whole undertaking: the caller's `X-Correlation-Id`, else what its `X-Request-Id` stands for, else a
    /// new UUIDv7.
    pub correlation_id: Uuid,
    /// The caller's `X-Request-Id`, if there was one. Where there was none the correlation id is the request's too.
    pub request_id: Option<Arc<str>>,
    /// The trace to go on with: this request's own span where spans are recorded, else the caller's.
    pub traceparent: Option<String>,
    /// The address of the caller: the connection's other end, or whom a trusted proxy names.
    pub remote: Option<IpAddr>,
    /// When nobody waits for the answer any more.
    pub deadline: Option<Instant>,
}

/// A request in flight: its context, and what is counted while it is handled.
pub(crate) struct Scope {
    context: RequestContext,
    limits: Arc<Limits>,
    seen: Cell<Seen>,
}

/// What was learnt of the caller on the way.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Seen {
    /// Whose token was shown.
    pub user: Option<UserId>,
    /// What that account has left.
    pub allowance: Option<Allowance>,
}

/// The context of the request that the current task handles.
pub fn context() -> Option<RequestContext> {
    CURRENT.try_with(|scope| scope.context.clone()).ok()
}

/// Remembers what the caller of the request that the current task handles has left.
///
/// # Errors
/// 429: nothing.
pub(crate) fn count(counted: Result<Option<Allowance>, Refused>) -> Result<(), Problem> {
    let allowance = match &counted {
        Ok(allowance) => *allowance,
        Err(refused) => Some(refused.allowance),
    };
    let _ = CURRENT.try_with(|scope| {
        let seen = scope.seen.get();
        scope.seen.set(Seen { allowance: scarcer(seen.allowance, allowance), ..seen });
    });
    counted.map(|_| ()).map_err(|refused| refused.problem)
}

/// Counts the request that the current task handles as one of this account's.
///
/// # Errors
/// 429: the account has sent too many.
pub(crate) fn charge(user: UserId) -> Result<(), Problem> {
    let counted = CURRENT.try_with(|scope| {
        scope.seen.set(Seen { user: Some(user), ..scope.seen.get() });
        scope.limits.account(user)
    });
    counted.map_or(Ok(()), count)
}

impl RequestContext {
    /// A context that no request gave: for work begun by the service itself.
    pub fn fresh() -> Self {
        Self {
            correlation_id: Uuid::now_v7(),
            request_id: None,
            traceparent: telemetry::traceparent(),
            remote: None,
            deadline: None,
        }
    }

    /// The id of the trace that this request belongs to, in W3C's form: the caller's, else the correlation id's digits.
    pub fn trace_id(&self) -> String {
        let given = self.traceparent.as_deref().and_then(|text| text.trim().split('-').nth(1));
        match given.filter(|id| id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit())) {
            Some(id) => id.to_owned(),
            None => self.correlation_id.simple().to_string(),
        }
    }

    /// [`RequestContext::trace_id`] as a header.
    pub(crate) fn trace_id_header(&self) -> HeaderValue {
        HeaderValue::from_str(&self.trace_id()).unwrap_or(HeaderValue::from_static(""))
    }

    /// The request's id as a header.
    pub(crate) fn request_id_header(&self) -> HeaderValue {
        match self.request_id.as_deref().map(HeaderValue::from_str) {
            Some(Ok(id)) => id,
            _ => uuid_header(self.correlation_id),
        }
    }

    pub(crate) fn of_headers(headers: &HeaderMap) -> Self {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let request_id = text(REQUEST_ID).map(str::trim).filter(|id| is_foreign_id(id));
        let correlation_id = text(CORRELATION_ID).or(request_id).and_then(correlation_id);
        Self {
            correlation_id: correlation_id.unwrap_or_else(Uuid::now_v7),
            request_id: request_id.map(Arc::from),
            traceparent: text(TRACEPARENT).map(str::to_owned),
            remote: None,
            deadline: None,
        }
    }

    pub(crate) fn of_request(request: &Request) -> Self {
        let remote = request.remote_addr().as_socket_addr().map(std::net::SocketAddr::ip);
        Self { remote, ..Self::of_headers(request.headers()) }
    }

    /// Runs `future` with this as its [`context()`]; tells what was learnt of the caller beside its result.
    pub(crate) fn scope<F: Future>(self, limits: Arc<Limits>, future: F) -> impl Future<Output = (F::Output, Seen)> {
        let ids = Ids::new(self.correlation_id, self.traceparent.as_deref());
        let scope = Scope { context: self, limits, seen: Cell::default() };
        let seen = future.map(|result| (result, CURRENT.with(|scope| scope.seen.get())));
        logs::scope(ids, CURRENT.scope(scope, seen))
    }
}

/// A UUID as a header, with nothing copied twice.
pub(crate) fn uuid_header(id: Uuid) -> HeaderValue {
    let mut text = Uuid::encode_buffer();
    HeaderValue::from_str(id.hyphenated().encode_lower(&mut text)).unwrap_or(HeaderValue::from_static(""))
}

fn is_foreign_id(text: &str) -> bool {
    !text.is_empty() && text.len() <= FOREIGN_ID_BYTES_MAX
}

/// A UUID as it is; any other text stands for one, the same at each asking.
fn correlation_id(text: &str) -> Option<Uuid> {
    let text = text.trim();
    if !is_foreign_id(text) {
        return None;
    }
    Some(Uuid::parse_str(text).unwrap_or_else(|_| Uuid::new_v5(&Uuid::NAMESPACE_OID, text.as_bytes())))
}

impl<'a> FromRequest<'a> for RequestContext {
    async fn from_request(request: &'a Request, _body: &mut RequestBody) -> poem::Result<Self> {
        Ok(context().unwrap_or_else(|| Self::of_request(request)))
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

    #[test]
    fn the_trace_is_the_callers_where_it_has_one() {
        let mut context = RequestContext::fresh();
        assert_eq!(context.trace_id(), context.correlation_id.simple().to_string());
        context.traceparent = Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned());
        assert_eq!(context.trace_id(), "0af7651916cd43dd8448eb211c80319c");
        context.traceparent = Some("00-short-b7ad6b7169203331-01".to_owned());
        assert_eq!(context.trace_id(), context.correlation_id.simple().to_string());
    }
}
