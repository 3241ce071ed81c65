//! What a request under a key is answered: now, or as before.

use event_store::Answer;
use poem::http::{HeaderName, HeaderValue, StatusCode};
use poem::{Body, IntoResponse, Response};
use poem_openapi::ApiResponse;
use poem_openapi::registry::{MetaHeader, MetaResponses, Registry};
use poem_openapi::types::Type;
use tonic::Status;

use crate::Problem;

/// Set to `true` where an answer was given before.
const REPLAYED: &str = "Idempotency-Replayed";

/// An answer, of just now or of the request that this one repeats.
#[derive(Debug)]
pub enum Answered<T> {
    /// The request was carried out.
    Now(T),
    /// It had been carried out before.
    Before(Answer),
}

impl<T: IntoResponse> IntoResponse for Answered<T> {
    fn into_response(self) -> Response {
        match self {
            Self::Now(answer) => answer.into_response(),
            Self::Before(answer) => replay(answer),
        }
    }
}

fn replay(answer: Answer) -> Response {
    let mut response = Response::builder()
        .status(StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK))
        .body(Body::from_vec(answer.body));
    for (name, value) in answer.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            response.headers_mut().append(name, value);
        }
    }
    response.headers_mut().insert(HeaderName::from_static("idempotency-replayed"), HeaderValue::from_static("true"));
    response
}

impl<T: ApiResponse> ApiResponse for Answered<T> {
    fn meta() -> MetaResponses {
        let mut meta = T::meta();
        for response in &mut meta.responses {
            response.headers.push(MetaHeader {
                name: REPLAYED.to_owned(),
                description: Some("`true` where the request had been carried out before".to_owned()),
                required: false,
                deprecated: false,
                schema: bool::schema_ref(),
            });
        }
        meta
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }
}

impl<M: prost::Message + Default> Answered<M> {
    /// The answer to a gRPC call.
    ///
    /// # Errors
    /// What was kept is no such message: another version of the service wrote it.
    pub fn into_message(self) -> Result<tonic::Response<M>, Status> {
        match self {
            Self::Now(message) => Ok(tonic::Response::new(message)),
            Self::Before(answer) => {
                let message = M::decode(answer.body.as_slice()).map_err(Problem::internal)?;
                let mut response = tonic::Response::new(message);
                response
                    .metadata_mut()
                    .insert("idempotency-replayed", tonic::metadata::MetadataValue::from_static("true"));
                Ok(response)
            }
        }
    }
}
