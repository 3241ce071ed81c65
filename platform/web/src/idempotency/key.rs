//! The key as a request carries it.

use poem::{Body, Request, RequestBody};
use poem_openapi::registry::{MetaParamIn, MetaSchema, MetaSchemaRef};
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};
use sha2::{Digest, Sha256};
use tonic::metadata::MetadataMap;

use crate::Problem;

/// The header, and the metadata entry of a gRPC call.
pub(super) const HEADER: &str = "Idempotency-Key";
const METADATA: &str = "idempotency-key";
const BYTES_MAX: usize = 255;

/// The header `Idempotency-Key` of a request, if it has one: an extractor, which has to stand before the body. The
/// argument is named by `#[oai(name = "Idempotency-Key")]`.
#[derive(Debug, Clone)]
pub struct IdempotencyKey(pub(super) Option<Asked>);

/// A key and the request that it came with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asked {
    pub key: String,
    /// SHA-256 of method, path with query, and body.
    pub fingerprint: [u8; 32],
    /// `POST /orders`, or the path of a gRPC method.
    pub operation: String,
}

impl IdempotencyKey {
    /// The key of a gRPC call of this method (`order.OrderService/CreateOrder`).
    ///
    /// # Errors
    /// The entry is no key.
    pub fn of_call(metadata: &MetadataMap, method: &str, message: &impl prost::Message) -> Result<Self, Problem> {
        let mut given = metadata.get_all(METADATA).iter().map(|value| value.to_str().ok());
        let Some(key) = read(given.next(), given.next().is_some())? else { return Ok(Self(None)) };
        let fingerprint = fingerprint(&[method.as_bytes(), &message.encode_to_vec()]);
        Ok(Self(Some(Asked { key, fingerprint, operation: method.to_owned() })))
    }
}

/// The key of a header's value (`None` where it is no text), if there is one.
fn read(given: Option<Option<&str>>, more: bool) -> Result<Option<String>, Problem> {
    let Some(given) = given else { return Ok(None) };
    let visible = |key: &&str| (1..=BYTES_MAX).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic());
    match given.filter(visible) {
        Some(key) if !more => Ok(Some(key.to_owned())),
        _ => {
            let message = "must be 1 to 255 visible ASCII characters, given once";
            Err(Problem::bad_request(format!("{HEADER} {message}")).field(HEADER, message))
        }
    }
}

/// Each part with its length, so that no two requests are taken for one.
pub(super) fn fingerprint(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

impl<'a> ApiExtractor<'a> for IdempotencyKey {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::Parameter];

    type ParamType = String;
    type ParamRawType = String;

    fn param_in() -> Option<MetaParamIn> {
        Some(MetaParamIn::Header)
    }

    fn param_schema_ref() -> Option<MetaSchemaRef> {
        Some(MetaSchemaRef::Inline(Box::new(MetaSchema {
            min_length: Some(1),
            max_length: Some(BYTES_MAX),
            pattern: Some("^[!-~]+$".to_owned()),
            ..MetaSchema::new("string")
        })))
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        _: ExtractParamOptions<Self::ParamType>,
    ) -> poem::Result<Self> {
        let mut given = request.headers().get_all(HEADER).iter().map(|value| value.to_str().ok());
        let Some(key) = read(given.next(), given.next().is_some())? else { return Ok(Self(None)) };
        let method = request.method().as_str();
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        // Whoever reads the body next finds it whole.
        let bytes = body.take()?.into_bytes().await?;
        let fingerprint = fingerprint(&[method.as_bytes(), path.as_bytes(), &bytes]);
        *body = RequestBody::new(Body::from_bytes(bytes));
        let operation = format!("{method} {}", request.uri().path());
        Ok(Self(Some(Asked { key, fingerprint, operation })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_short_visible_ascii_given_once() {
        let long = "k".repeat(BYTES_MAX);
        for good in ["k", "3f8e-…".trim_end_matches('…'), "\"quoted\"", &long] {
            assert_eq!(read(Some(Some(good)), false).unwrap().as_deref(), Some(good));
        }
        assert_eq!(read(None, false), Ok(None));
        for bad in [Some(""), Some(" "), Some("a b"), Some("é"), Some("a\tb"), Some(&*format!("{long}k")), None] {
            let problem = read(Some(bad), false).unwrap_err();
            assert_eq!((problem.status_code().as_u16(), &*problem.errors()[0].field), (400, HEADER), "{bad:?}");
        }
        assert!(read(Some(Some("k")), true).is_err(), "two of them");
    }

    #[test]
    fn parts_do_not_run_into_each_other() {
        assert_ne!(fingerprint(&[b"POST", b"/a", b"b"]), fingerprint(&[b"POST", b"/ab", b""]));
        assert_eq!(fingerprint(&[b"POST", b"/a"]), fingerprint(&[b"POST", b"/a"]));
    }
}
