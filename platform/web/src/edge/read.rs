//! Taking in a request: its head and its body, within their limits.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use http_body_util::BodyStream;
use http_body_util::combinators::BoxBody;
use poem::http::{HeaderMap, StatusCode, header};
use poem::{Body, Request};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::body;
use crate::{EdgeOptions, Problem};

/// Bodies up to this length are taken in without asking for room.
const SMALL_BYTES: usize = 64 * 1024;
/// Room for the longer ones that are in memory at once, of all servers of the process, in KiB.
const ROOM_KIB: usize = 256 * 1024;
/// How long one waits for room.
const ROOM_TIMEOUT: Duration = Duration::from_secs(1);
/// Of a body that is too large so much is taken in before the answer, for no longer than this.
const DISCARD_BYTES_MAX: usize = 8 * 1024 * 1024;
const DISCARD_TIMEOUT: Duration = Duration::from_secs(1);

static ROOM: Semaphore = Semaphore::const_new(ROOM_KIB);

/// A body in memory, and the room that it takes.
pub(super) struct Taken {
    pub body: Bytes,
    _room: Option<SemaphorePermit<'static>>,
}

/// Refuses a head that is longer than allowed.
pub(super) fn check_head(request: &Request, options: &EdgeOptions) -> Result<(), Problem> {
    let headers = request.headers();
    let bytes = |headers: &HeaderMap| -> usize {
        // A line has a colon, a space and its end, too.
        headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum()
    };
    if headers.len() > options.headers_max || bytes(headers) > options.header_bytes_max {
        return Err(Problem::headers_too_large(options.headers_max, options.header_bytes_max));
    }
    let Some(path) = request.uri().path_and_query().map(poem::http::uri::PathAndQuery::as_str) else { return Ok(()) };
    if path.len() > options.header_bytes_max {
        return Err(Problem::of_status(StatusCode::URI_TOO_LONG));
    }
    // PostgreSQL stores it in no text.
    if path.contains("%00") {
        return Err(Problem::bad_request("The path or query contains a NUL character"));
    }
    Ok(())
}

/// The body, within its limits of size and time, and of what can be stored.
pub(super) async fn take(request: &mut Request, bytes_max: usize, options: &EdgeOptions) -> Result<Taken, Problem> {
    let body = request.take_body();
    if body.is_empty() {
        return Ok(Taken { body: Bytes::new(), _room: None });
    }
    let announced = request.header(header::CONTENT_LENGTH).and_then(|length| length.parse::<usize>().ok());
    if announced.is_some_and(|bytes| bytes > bytes_max) {
        if request.header(header::EXPECT).is_none() {
            let discarding = collect(body, DISCARD_BYTES_MAX, false);
            let _ = tokio::time::timeout(DISCARD_TIMEOUT, discarding).await;
        }
        return Err(Problem::too_large(bytes_max));
    }
    let room = room(announced.unwrap_or(bytes_max)).await?;
    // A route that takes longer bodies gives them more time.
    let times = u32::try_from(bytes_max.div_ceil(options.body_bytes_max.max(1))).unwrap_or(u32::MAX).max(1);
    let collecting = collect(body, bytes_max, true);
    let body = match tokio::time::timeout(options.body_timeout.saturating_mul(times), collecting).await {
        Ok(Ok(body)) => body,
        Ok(Err(TooLarge::Yes)) => return Err(Problem::too_large(bytes_max)),
        Ok(Err(TooLarge::Broken)) => return Err(Problem::bad_request("The body cannot be read")),
        Err(_) => return Err(Problem::too_slow()),
    };
    body::check(&body)?;
    Ok(Taken { body, _room: room })
}

/// Room for a body of that length.
async fn room(bytes: usize) -> Result<Option<SemaphorePermit<'static>>, Problem> {
    if bytes <= SMALL_BYTES {
        return Ok(None);
    }
    let kib = u32::try_from(bytes.div_ceil(1024).min(ROOM_KIB)).unwrap_or(u32::MAX);
    let room = tokio::time::timeout(ROOM_TIMEOUT, ROOM.acquire_many(kib)).await;
    room.ok().and_then(Result::ok).map(Some).ok_or_else(Problem::overloaded)
}

/// Why a body was not taken in.
enum TooLarge {
    Yes,
    Broken,
}

/// A body up to that length. One that comes in one piece is not copied.
///
/// What is not kept is taken in all the same: a client that is still sending when the connection is closed may never
/// read the answer.
async fn collect(body: Body, bytes_max: usize, keep: bool) -> Result<Bytes, TooLarge> {
    let body: BoxBody<Bytes, std::io::Error> = body.into();
    let mut frames = BodyStream::new(body);
    let (mut first, mut rest, mut bytes) = (Bytes::new(), BytesMut::new(), 0);
    while let Some(frame) = frames.next().await {
        let frame = frame.map_err(|_| TooLarge::Broken)?;
        let Ok(data) = frame.into_data() else { continue };
        bytes += data.len();
        if bytes > bytes_max {
            return Err(TooLarge::Yes);
        }
        if !keep || data.is_empty() {
            continue;
        }
        if first.is_empty() {
            first = data;
        } else {
            if rest.is_empty() {
                rest.extend_from_slice(&first);
            }
            rest.extend_from_slice(&data);
        }
    }
    Ok(if rest.is_empty() { first } else { rest.freeze() })
}
