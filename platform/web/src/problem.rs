//! What went wrong, as RFC 9457 has it: `application/problem+json`.

use std::fmt::{self, Write};
use std::time::Duration;

use poem::error::ResponseError;
use poem::http::{StatusCode, header};
use poem::{Body, Response};
use poem_openapi::registry::{MetaMediaType, MetaResponse, MetaResponses, Registry};
use poem_openapi::types::Type;
use poem_openapi::{ApiResponse, Object};
use serde_json::{Map, Value, json};

use crate::context;

/// The media type of every error.
pub(crate) const CONTENT_TYPE: &str = "application/problem+json";
/// What a caller reads of an error that is ours.
const INTERNAL: &str = "Something went wrong on our side. Tell us the correlation id if it stays so.";

/// The error of every handler: a status, what kind of problem it is, and a sentence for the caller.
///
/// It never holds SQL, paths or causes: [`Problem::internal`] logs the cause and answers a generic sentence. The answer
/// also has the member `error`, the detail once more, which is all that the shop's first clients read.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem(Box<Inner>);

#[derive(Debug, Clone, PartialEq)]
struct Inner {
    status: StatusCode,
    kind: &'static str,
    title: &'static str,
    detail: String,
    errors: Vec<FieldError>,
    members: Map<String, Value>,
    retry_after: Option<Duration>,
}

/// One field that was refused, and why.
#[derive(Debug, Clone, PartialEq, Eq, Object)]
pub struct FieldError {
    /// The field's path: `lines[0].quantity`, or the name of a parameter.
    pub field: String,
    /// Where it stands in the body, as a JSON Pointer: `#/lines/0/quantity`. A parameter stands in none.
    #[oai(skip_serializing_if_is_none)]
    pub pointer: Option<String>,
    /// What is wrong with it.
    pub message: String,
}

impl Problem {
    fn new(status: StatusCode, kind: &'static str, title: &'static str, detail: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            status,
            kind,
            title,
            detail: detail.into(),
            errors: Vec::new(),
            members: Map::new(),
            retry_after: None,
        }))
    }

    /// 400: the request cannot be read, or a value in it is not allowed.
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "validation", "The request is not valid", detail)
    }

    /// 401: no access token, or none that is good.
    pub fn unauthenticated(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthenticated", "Authentication is needed", detail)
    }

    /// 403: known, and not allowed.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", "This is not allowed", detail)
    }

    /// 404: there is none, or none that this caller may see.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", "Not found", detail)
    }

    /// 405: the path is known, the method is not.
    pub fn method_not_allowed() -> Self {
        let detail = "This path does not know this method";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "Method not allowed", detail)
    }

    /// 406: none of the types that the caller can read is one that we can answer in.
    pub(crate) fn not_acceptable(types: &str) -> Self {
        let detail = format!("This can be answered as {types}");
        Self::new(StatusCode::NOT_ACCEPTABLE, "not-acceptable", "Not acceptable", detail)
    }

    /// 408: the request's body did not arrive in time.
    pub fn too_slow() -> Self {
        let detail = "The body of the request did not arrive in time";
        Self::new(StatusCode::REQUEST_TIMEOUT, "timeout", "Too slow", detail)
    }

    /// 409: it contradicts the present state.
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", "Conflict with the present state", detail)
    }

    /// 410: there was one once.
    pub fn gone(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::GONE, "gone", "Gone", detail)
    }

    /// 412: it is no longer what the caller last saw.
    pub fn precondition_failed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::PRECONDITION_FAILED, "precondition-failed", "It has changed meanwhile", detail)
    }

    /// 413: the body is larger than allowed.
    pub fn too_large(bytes_max: usize) -> Self {
        let detail = format!("The body of a request has at most {bytes_max} bytes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "Too large", detail)
    }

    /// 431: the headers are more, or longer, than allowed.
    pub(crate) fn headers_too_large(headers_max: usize, bytes_max: usize) -> Self {
        let detail = format!("A request has at most {headers_max} headers of together {bytes_max} bytes");
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        Self::new(status, "headers-too-large", "Headers too large", detail)
    }

    /// 415: the body is of a type that is not understood.
    pub fn unsupported_media_type(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", "Unsupported media type", detail)
    }

    /// 422: understood, and refused: a field that is unknown or not the caller's to set, or a rule of the shop.
    pub fn unprocessable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "unprocessable", "The request was refused", detail)
    }

    /// 429: too many requests; when to come again.
    pub fn too_many_requests(detail: impl Into<String>, retry_after: Duration) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "too-many-requests", "Too many requests", detail)
            .retry_after(retry_after)
    }

    /// 503: it passes; when to come again.
    pub fn unavailable(detail: impl Into<String>, retry_after: Duration) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Temporarily unavailable", detail)
            .retry_after(retry_after)
    }

    /// 503: more is asked for than can be done in time.
    pub(crate) fn overloaded() -> Self {
        Self::unavailable("More is asked for than can be done in time", Duration::from_secs(1))
            .kind("overloaded", "Overloaded")
    }

    /// 500: an error of ours. Its cause is logged here, once, under the request's correlation id, and never answered.
    pub fn internal(cause: impl fmt::Display) -> Self {
        tracing::error!(cause = format!("{cause:#}"), "request failed");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "Internal error", INTERNAL)
    }

    /// A status of the framework's for which there is no constructor.
    pub(crate) fn of_status(status: StatusCode) -> Self {
        let reason = status.canonical_reason().unwrap_or("The request was refused");
        match status {
            StatusCode::NOT_FOUND => Self::not_found("There is nothing at this path"),
            StatusCode::METHOD_NOT_ALLOWED => Self::method_not_allowed(),
            StatusCode::UNAUTHORIZED => Self::unauthenticated("An access token is needed"),
            StatusCode::FORBIDDEN => Self::forbidden("This is not allowed"),
            status if status.is_client_error() => Self::new(status, "refused", reason, reason),
            status => Self::new(status, "internal", "Internal error", INTERNAL),
        }
    }

    /// Names a field of the body and what is wrong with it.
    #[must_use]
    pub fn field(mut self, field: impl Into<String>, message: impl Into<String>) -> Self {
        let field = field.into();
        let pointer = Some(pointer(&field));
        self.0.errors.push(FieldError { field, pointer, message: message.into() });
        self
    }

    /// Names a parameter, of the path or the query or a header, and what is wrong with it.
    #[must_use]
    pub fn parameter(mut self, name: impl Into<String>, message: impl Into<String>) -> Self {
        self.0.errors.push(FieldError { field: name.into(), pointer: None, message: message.into() });
        self
    }

    /// Adds a member of the problem's own, such as `stock`.
    #[must_use]
    pub fn with(mut self, member: &str, value: impl Into<Value>) -> Self {
        self.0.members.insert(member.to_owned(), value.into());
        self
    }

    /// Says what kind of problem it is, more closely than its status: `out-of-stock` is `/problems/out-of-stock`.
    #[must_use]
    pub fn kind(mut self, kind: &'static str, title: &'static str) -> Self {
        self.0.kind = kind;
        self.0.title = title;
        self
    }

    /// When to come again, rounded up to seconds.
    #[must_use]
    pub fn retry_after(mut self, after: Duration) -> Self {
        self.0.retry_after = Some(after);
        self
    }

    /// Its status.
    pub fn status_code(&self) -> StatusCode {
        self.0.status
    }

    /// The sentence for the caller.
    pub fn detail(&self) -> &str {
        &self.0.detail
    }

    /// What kind of problem it is, in one word: `out-of-stock`.
    pub fn kind_name(&self) -> &'static str {
        self.0.kind
    }

    /// When to come again.
    pub fn retry_delay(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// Its members beside those that every problem has.
    pub fn members(&self) -> &Map<String, Value> {
        &self.0.members
    }

    /// The fields that were refused.
    pub fn errors(&self) -> &[FieldError] {
        &self.0.errors
    }

    /// The answer.
    pub(crate) fn into_answer(self) -> Response {
        self.as_response()
    }

    /// The body of the answer.
    pub fn to_json(&self) -> Value {
        let inner = &self.0;
        let mut body = inner.members.clone();
        body.insert("type".into(), format!("/problems/{}", inner.kind).into());
        body.insert("title".into(), inner.title.into());
        body.insert("status".into(), inner.status.as_u16().into());
        body.insert("detail".into(), inner.detail.as_str().into());
        body.insert("error".into(), inner.detail.as_str().into());
        if !inner.errors.is_empty() {
            body.insert("errors".into(), inner.errors.iter().map(FieldError::to_json).collect());
        }
        if let Some(context) = context() {
            body.insert("instance".into(), format!("urn:uuid:{}", context.correlation_id).into());
            body.insert("correlation_id".into(), context.correlation_id.to_string().into());
            let trace_id = context.trace_id();
            if let Some(url) = telemetry::trace_url(&trace_id) {
                body.insert("trace_url".into(), url.into());
            }
            body.insert("trace_id".into(), trace_id.into());
            let request_id =
                context.request_id.as_deref().map_or_else(|| context.correlation_id.to_string(), str::to_owned);
            body.insert("request_id".into(), request_id.into());
        }
        Value::Object(body)
    }
}

impl FieldError {
    fn to_json(&self) -> Value {
        match &self.pointer {
            Some(pointer) => json!({ "field": self.field, "pointer": pointer, "message": self.message }),
            None => json!({ "field": self.field, "message": self.message }),
        }
    }
}

/// `lines[0].quantity` as a JSON Pointer in a URI fragment (RFC 6901): `#/lines/0/quantity`.
fn pointer(field: &str) -> String {
    let mut pointer = String::from("#");
    // Not `part.is_empty()`: the framework's trait of that name, which is never true, would be asked.
    for part in field.split(['.', '[', ']']).filter(|part| !str::is_empty(part)) {
        pointer.push('/');
        for character in part.chars() {
            match character {
                '~' => pointer.push_str("~0"),
                '/' => pointer.push_str("~1"),
                plain if plain.is_ascii_alphanumeric() || "-_@$!*+,;:=".contains(plain) => pointer.push(plain),
                other => {
                    let mut bytes = [0; 4];
                    for byte in other.encode_utf8(&mut bytes).bytes() {
                        let _ = write!(pointer, "%{byte:02X}");
                    }
                }
            }
        }
    }
    pointer
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.0.status.as_u16(), self.0.detail)
    }
}

impl std::error::Error for Problem {}

impl From<anyhow::Error> for Problem {
    /// [`Problem::internal`].
    fn from(cause: anyhow::Error) -> Self {
        Self::internal(cause)
    }
}

impl ResponseError for Problem {
    fn status(&self) -> StatusCode {
        self.0.status
    }

    fn as_response(&self) -> Response {
        let mut response = Response::builder().status(self.0.status).content_type(CONTENT_TYPE);
        if self.0.status == StatusCode::UNAUTHORIZED {
            response = response.header(header::WWW_AUTHENTICATE, "Bearer");
        }
        if let Some(after) = self.0.retry_after {
            response = response.header(header::RETRY_AFTER, after.as_millis().div_ceil(1000).to_string());
        }
        response.body(Body::from_string(self.to_json().to_string()))
    }
}

/// How the API's document describes a [`Problem`].
#[derive(Object)]
#[oai(rename = "Problem")]
#[allow(dead_code)]
struct Document {
    /// What kind of problem it is: a URI reference, such as `/problems/out-of-stock`. It never changes its meaning.
    r#type: String,
    /// The kind in words.
    title: String,
    /// The HTTP status.
    status: u16,
    /// What is the matter this time.
    detail: String,
    /// The detail once more.
    error: String,
    /// The fields that were refused.
    #[oai(skip_serializing_if_is_none)]
    errors: Option<Vec<FieldError>>,
    /// This occurrence: the correlation id as a URN.
    instance: String,
    /// The id to quote in a question: that of the whole undertaking.
    correlation_id: uuid::Uuid,
    /// The id of this request: its `X-Request-Id`.
    request_id: String,
    /// The trace that the request belongs to.
    trace_id: String,
    /// Where that trace can be looked at.
    #[oai(skip_serializing_if_is_none)]
    trace_url: Option<String>,
}

impl ApiResponse for Problem {
    fn meta() -> MetaResponses {
        MetaResponses {
            responses: vec![MetaResponse {
                description: "What went wrong (RFC 9457)",
                status: None,
                status_range: None,
                content: vec![MetaMediaType { content_type: CONTENT_TYPE, schema: Document::schema_ref() }],
                headers: vec![],
            }],
        }
    }

    fn register(registry: &mut Registry) {
        Document::register(registry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_says_what_is_wrong_in_both_tongues() {
        let problem =
            Problem::bad_request("Product not available").field("quantity", "must be positive").with("stock", 50);
        assert_eq!(
            problem.to_json(),
            json!({
                "type": "/problems/validation", "title": "The request is not valid", "status": 400,
                "detail": "Product not available", "error": "Product not available", "stock": 50,
                "errors": [{ "field": "quantity", "pointer": "#/quantity", "message": "must be positive" }],
            })
        );
    }

    #[test]
    fn a_field_of_the_body_is_pointed_at() {
        for (field, expected) in [
            ("lines[0].quantity", "#/lines/0/quantity"),
            ("name", "#/name"),
            ("", "#"),
            ("a/b~c", "#/a~1b~0c"),
            ("größe", "#/gr%C3%B6%C3%9Fe"),
        ] {
            assert_eq!(pointer(field), expected);
        }
        let problem = Problem::bad_request("no").parameter("limit", "too many");
        assert_eq!(problem.to_json()["errors"], json!([{ "field": "limit", "message": "too many" }]));
    }

    #[test]
    fn causes_are_not_answered() {
        let problem = Problem::from(anyhow::anyhow!("relation \"orders\" does not exist").context("/var/lib"));
        assert_eq!(problem.status_code(), StatusCode::INTERNAL_SERVER_ERROR);
        let text = problem.to_json().to_string();
        assert!(!text.contains("orders") && !text.contains("/var"), "{text}");
    }

    #[test]
    fn waiting_times_are_rounded_up() {
        let response = Problem::unavailable("Later", Duration::from_millis(1_200)).as_response();
        assert_eq!(response.headers()[header::RETRY_AFTER], "2");
    }
}
