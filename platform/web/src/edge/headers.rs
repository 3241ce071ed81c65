//! The headers that every answer has.

use poem::http::header::{self, HeaderName};
use poem::http::{HeaderMap, HeaderValue};
use poem::{Request, Response};

use crate::context::{CORRELATION_ID, REQUEST_ID, RequestContext, TRACE_ID, uuid_header};
use crate::limits::Allowance;
use crate::routes::{Own, Route};

const CORRELATION: HeaderName = HeaderName::from_static(CORRELATION_ID);
const REQUEST: HeaderName = HeaderName::from_static(REQUEST_ID);
const TRACE: HeaderName = HeaderName::from_static(TRACE_ID);
const LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("ratelimit-reset");

/// An answer is data: no browser is to run it, frame it, or guess what it is.
const DATA_POLICY: HeaderValue = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
/// The page of the documents carries its own script and style, and asks nobody but this origin.
const PAGE_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src 'self' data:; \
     connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
);
/// A year.
const TRANSPORT_POLICY: HeaderValue = HeaderValue::from_static("max-age=31536000; includeSubDomains");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// What of a request its answer's headers depend on.
pub(super) struct Asker {
    pub authorized: bool,
    pub gzip: bool,
    pub head: bool,
    pub origin: Option<HeaderValue>,
}

impl Asker {
    pub fn of(request: &Request) -> Self {
        let headers = request.headers();
        Self {
            authorized: headers.contains_key(header::AUTHORIZATION),
            gzip: super::compression::accepts_gzip(headers),
            head: request.method() == poem::http::Method::HEAD,
            origin: headers.get(header::ORIGIN).cloned(),
        }
    }
}

/// Sets what every answer has.
pub(super) fn finish(
    response: &mut Response,
    asker: &Asker,
    context: &RequestContext,
    allowance: Option<Allowance>,
    route: Option<&Route>,
    tls: bool,
) {
    let failed = response.status().is_client_error() || response.status().is_server_error();
    let headers = response.headers_mut();
    let id = uuid_header(context.correlation_id);
    let request_id = if context.request_id.is_none() { id.clone() } else { context.request_id_header() };
    headers.insert(CORRELATION, id);
    headers.insert(REQUEST, request_id);
    headers.insert(TRACE, context.trace_id_header());
    if let Some(allowance) = allowance {
        limits(headers, allowance);
    }
    if (asker.authorized || failed) && !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, NO_STORE);
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    let page = route.is_some_and(|route| route.own == Some(Own::Docs));
    headers.insert(header::CONTENT_SECURITY_POLICY, if page { PAGE_POLICY } else { DATA_POLICY });
    if tls {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, TRANSPORT_POLICY);
    }
}

fn limits(headers: &mut HeaderMap, allowance: Allowance) {
    let reset_s = allowance.reset.as_millis().div_ceil(1_000);
    headers.insert(LIMIT, HeaderValue::from(allowance.limit));
    headers.insert(REMAINING, HeaderValue::from(allowance.remaining));
    headers.insert(RESET, HeaderValue::from(u64::try_from(reset_s).unwrap_or(u64::MAX)));
}
