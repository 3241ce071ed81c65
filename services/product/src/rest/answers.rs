//! Answers with an entity tag.

use std::fmt::Display;
use std::sync::Arc;

use poem::http::{HeaderName, HeaderValue, StatusCode, header};
use poem::{Body, IntoResponse, Request, Response};
use poem_openapi::ApiResponse;
use poem_openapi::payload::{Json, Payload};
use poem_openapi::registry::{MetaHeader, MetaMediaType, MetaResponse, MetaResponses, MetaSchemaRef, Registry};
use poem_openapi::types::{ToJSON, Type};
use web::Problem;

use super::bodies::Message;
use crate::entry::{Entry, Shown, Version};
use crate::history::Movement;

const JSON: &str = "application/json; charset=utf-8";
const PROBLEM: &str = "application/problem+json";

/// One product, or that the caller has it already.
pub(super) enum Found {
    Product(Arc<Shown>),
    NotModified(Arc<Shown>),
}

/// A product as a change has left it.
pub(super) struct Changed(pub Entry);

/// A product that was created.
pub(super) struct Created(pub Entry);

/// A product is no more.
pub(super) struct Deleted;

impl IntoResponse for Found {
    fn into_response(self) -> Response {
        let (shown, response) = match self {
            // The bytes are shared, not copied.
            Self::Product(shown) => {
                let mut response = Response::from(Body::from_bytes(shown.json.clone()));
                response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(JSON));
                (shown, response)
            }
            Self::NotModified(shown) => (shown, Response::from(StatusCode::NOT_MODIFIED)),
        };
        let mut response = response;
        let headers = response.headers_mut();
        headers.insert(header::ETAG, shown.etag.clone());
        // May be kept, and is asked for again each time.
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        response
    }
}

impl ApiResponse for Found {
    fn meta() -> MetaResponses {
        let found = with(200, "The product.", Json::<Entry>::CONTENT_TYPE, Entry::schema_ref());
        let same = MetaResponse { content: vec![], ..with(304, "The caller has it already.", "", Entry::schema_ref()) };
        MetaResponses { responses: vec![tagged(found), tagged(same)] }
    }

    fn register(registry: &mut Registry) {
        Entry::register(registry);
    }
}

impl IntoResponse for Changed {
    fn into_response(self) -> Response {
        answer(StatusCode::OK, &self.0)
    }
}

impl ApiResponse for Changed {
    fn meta() -> MetaResponses {
        let changed = with(200, "The product as it is now.", Json::<Entry>::CONTENT_TYPE, Entry::schema_ref());
        MetaResponses { responses: vec![tagged(changed), stale()] }
    }

    fn register(registry: &mut Registry) {
        Entry::register(registry);
        Problem::register(registry);
    }
}

impl IntoResponse for Created {
    fn into_response(self) -> Response {
        let mut response = answer(StatusCode::CREATED, &self.0);
        set(&mut response, header::LOCATION, format!("/products/{}", self.0.id));
        response
    }
}

impl ApiResponse for Created {
    fn meta() -> MetaResponses {
        let mut created = tagged(with(201, "The new product.", Json::<Entry>::CONTENT_TYPE, Entry::schema_ref()));
        created.headers.push(header_of("Location", "Where it can be read."));
        MetaResponses { responses: vec![created] }
    }

    fn register(registry: &mut Registry) {
        Entry::register(registry);
    }
}

impl IntoResponse for Deleted {
    fn into_response(self) -> Response {
        Json(Message { message: "Product deleted successfully".to_owned() }).into_response()
    }
}

impl ApiResponse for Deleted {
    fn meta() -> MetaResponses {
        let deleted = with(200, "It is out of the catalogue.", Json::<Message>::CONTENT_TYPE, Message::schema_ref());
        MetaResponses { responses: vec![deleted, stale()] }
    }

    fn register(registry: &mut Registry) {
        Message::register(registry);
        Problem::register(registry);
    }
}

fn answer(status: StatusCode, entry: &Entry) -> Response {
    let mut response = Response::builder().status(status).content_type(JSON).body(entry.to_json_string());
    if let Ok(version) = entry.version.parse::<Version>() {
        set(&mut response, header::ETAG, version.etag());
    }
    response
}

fn set(response: &mut Response, name: HeaderName, value: String) {
    if let Ok(value) = HeaderValue::try_from(value) {
        response.headers_mut().insert(name, value);
    }
}

fn with(status: u16, says: &'static str, content_type: &'static str, schema: MetaSchemaRef) -> MetaResponse {
    MetaResponse {
        description: says,
        status: Some(status),
        status_range: None,
        content: vec![MetaMediaType { content_type, schema }],
        headers: vec![],
    }
}

fn tagged(mut response: MetaResponse) -> MetaResponse {
    response.headers.push(header_of("ETag", "The version, for `If-Match` and `If-None-Match`."));
    response
}

pub(super) fn header_of(name: &str, says: &str) -> MetaHeader {
    MetaHeader {
        name: name.to_owned(),
        description: Some(says.to_owned()),
        required: true,
        deprecated: false,
        schema: String::schema_ref(),
    }
}

/// 412, as every change of what the caller saw may be answered.
fn stale() -> MetaResponse {
    let says = "It is no longer what `If-Match` says; `version` is the present one.";
    with(412, says, PROBLEM, MetaSchemaRef::Reference("Problem".to_owned()))
}

/// A page of products, in the bare array that the shop's first clients know.
#[derive(ApiResponse)]
pub(super) enum ProductsPage {
    /// The products.
    #[oai(status = 200)]
    Page(
        Json<Vec<Entry>>,
        /// `<…>; rel="next"` where there are more: relative to this request's own address.
        #[oai(header = "Link")]
        Option<String>,
    ),
}

/// A page of what became of a product's stock.
#[derive(ApiResponse)]
pub(super) enum MovementsPage {
    /// The newest first.
    #[oai(status = 200)]
    Page(
        Json<Vec<Movement>>,
        /// `<…>; rel="next"` where there are more: relative to this request's own address.
        #[oai(header = "Link")]
        Option<String>,
    ),
}

/// The same question from elsewhere on. Only its query: that fits wherever the request came in.
pub(super) fn next_page(request: &Request, cursor: &str, from: &impl Display) -> String {
    let asked = request.uri().query().unwrap_or_default().split('&');
    let other = |pair: &&str| !pair.is_empty() && pair.split('=').next() != Some(cursor);
    let kept: String = asked.filter(other).flat_map(|pair| [pair, "&"]).collect();
    format!("<?{kept}{cursor}={from}>; rel=\"next\"")
}
