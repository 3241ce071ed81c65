//! Pages of other origins (CORS, as the Fetch Standard has it): none may call unless they are named.

use poem::http::header;
use poem::http::{HeaderMap, HeaderValue, Method, StatusCode};
use poem::{Request, Response};

use crate::routes::Route;

const REQUEST_HEADERS: HeaderValue = HeaderValue::from_static(
    "authorization, content-type, idempotency-key, if-match, if-none-match, last-event-id, x-correlation-id, \
     x-request-id, traceparent",
);
const ANSWER_HEADERS: HeaderValue = HeaderValue::from_static(
    "etag, location, retry-after, idempotency-replayed, ratelimit-limit, ratelimit-remaining, ratelimit-reset, \
     x-correlation-id, x-request-id, trace-id",
);
/// How long a browser need not ask again, in seconds.
const PREFLIGHT_S: HeaderValue = HeaderValue::from_static("600");

/// The origins that may call.
pub(super) struct Cors {
    origins: Vec<HeaderValue>,
    any: bool,
}

impl Cors {
    /// Origins that are no header values are left out; nobody could send them.
    pub fn new(origins: &[String]) -> Self {
        let any = origins.iter().any(|origin| origin == "*");
        let origins = origins.iter().map(|origin| origin.trim_end_matches('/').to_ascii_lowercase());
        Self { origins: origins.filter_map(|origin| HeaderValue::try_from(origin).ok()).collect(), any }
    }

    pub fn enabled(&self) -> bool {
        self.any || !self.origins.is_empty()
    }

    /// The answer to a browser that asks whether a page may call; `None` where the request is something else.
    pub fn preflight(&self, request: &Request, route: Option<&Route>) -> Option<Response> {
        let asked = request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        if !self.enabled() || request.method() != Method::OPTIONS || !asked {
            return None;
        }
        let mut response = Response::builder().status(StatusCode::NO_CONTENT).finish();
        let (Some(route), true) = (route, self.allows(request.headers().get(header::ORIGIN))) else {
            return Some(response);
        };
        let headers = response.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, route.allow.clone());
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS);
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_S);
        Some(response)
    }

    /// Says to the browser that the page may read the answer.
    pub fn finish(&self, headers: &mut HeaderMap, origin: Option<&HeaderValue>) {
        if !self.enabled() {
            return;
        }
        if !self.any {
            headers.append(header::VARY, HeaderValue::from_static("origin"));
        }
        let Some(origin) = origin.filter(|origin| self.allows(Some(origin))) else { return };
        let allowed = if self.any { HeaderValue::from_static("*") } else { origin.clone() };
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, ANSWER_HEADERS);
    }

    fn allows(&self, origin: Option<&HeaderValue>) -> bool {
        origin.is_some_and(|origin| self.any || self.origins.contains(origin))
    }
}
