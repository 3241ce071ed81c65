//! Answers that are worth it are compressed (gzip) for those who can read it.

use std::io::Write;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http_body::Body as _;
use http_body_util::BodyExt;
use http_body_util::combinators::BoxBody;
use poem::http::{HeaderMap, HeaderValue, StatusCode, header};
use poem::{Body, Response};

/// Shorter answers fit into a packet as they are.
const BYTES_MIN: usize = 1_024;
/// Longer ones are compressed away from the threads that serve.
const BYTES_INLINE_MAX: usize = 64 * 1_024;
/// And these are sent as they are: whoever wants so much at once can bear it.
const BYTES_MAX: usize = 16 * 1_024 * 1_024;

/// Whether `Accept-Encoding` admits gzip.
pub(super) fn accepts_gzip(headers: &HeaderMap) -> bool {
    let encodings = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    encodings.flat_map(|value| value.split(',')).any(|encoding| {
        let (name, parameters) = encoding.split_once(';').unwrap_or((encoding, ""));
        let weight = parameters.trim().strip_prefix("q=").and_then(|weight| weight.parse::<f32>().ok());
        matches!(name.trim(), "gzip" | "x-gzip" | "*") && weight.is_none_or(|weight| weight > 0.0)
    })
}

/// Compresses an answer if it is long enough, is text, and is here as a whole: a stream is sent as it comes.
pub(super) async fn finish(response: Response, gzip: bool) -> Response {
    if !is_text(response.headers()) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let body: BoxBody<Bytes, std::io::Error> = body.into();
    let length = body.size_hint().exact().and_then(|bytes| usize::try_from(bytes).ok());
    let worth = length.is_some_and(|bytes| (BYTES_MIN..=BYTES_MAX).contains(&bytes));
    if !worth || parts.headers.contains_key(header::CONTENT_ENCODING) || parts.status == StatusCode::PARTIAL_CONTENT {
        return Response::from_parts(parts, Body::from(body));
    }
    parts.headers.append(header::VARY, HeaderValue::from_static("accept-encoding"));
    if !gzip {
        return Response::from_parts(parts, Body::from(body));
    }
    let Ok(plain) = body.collect().await.map(http_body_util::Collected::to_bytes) else {
        return crate::Problem::internal("an answer could not be read").into_answer();
    };
    let packed = if plain.len() <= BYTES_INLINE_MAX {
        pack(&plain)
    } else {
        let plain = plain.clone();
        tokio::task::spawn_blocking(move || pack(&plain)).await.ok().flatten()
    };
    let Some(packed) = packed else { return Response::from_parts(parts, Body::from_bytes(plain)) };
    parts.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    parts.headers.remove(header::CONTENT_LENGTH);
    weaken(&mut parts.headers);
    Response::from_parts(parts, Body::from_bytes(packed))
}

fn pack(plain: &[u8]) -> Option<Bytes> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(plain.len() / 3), Compression::fast());
    encoder.write_all(plain).ok()?;
    encoder.finish().ok().map(Bytes::from)
}

/// The same thing in other bytes: a strong `ETag` would say that they are the same.
fn weaken(headers: &mut HeaderMap) {
    let Some(tag) = headers.get(header::ETAG).and_then(|tag| tag.to_str().ok()) else { return };
    if tag.starts_with('"')
        && let Ok(weak) = HeaderValue::try_from(format!("W/{tag}"))
    {
        headers.insert(header::ETAG, weak);
    }
}

fn is_text(headers: &HeaderMap) -> bool {
    let media_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = crate::routes::essence(media_type);
    let text = essence.starts_with("text/") || essence.starts_with("application/");
    text && essence != "text/event-stream" && essence != "application/octet-stream" && essence != "application/gzip"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_sent_to_who_can_read_it() {
        for (value, expected) in [
            ("gzip", true),
            ("br, gzip;q=0.5", true),
            ("*", true),
            ("gzip;q=0", false),
            ("br", false),
            ("identity", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(value));
            assert_eq!(accepts_gzip(&headers), expected, "{value}");
        }
        assert!(!accepts_gzip(&HeaderMap::new()));
    }
}
