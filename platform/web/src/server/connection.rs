//! One connection: HTTP/1.1 or HTTP/2, in the open or in TLS.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::BoxBody;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use poem::http::uri::Scheme;
use poem::web::{LocalAddr, RemoteAddr};
use poem::{Endpoint, Response};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::tls::Tls;
use super::watched::{Flight, InFlight, Watched};
use crate::EdgeOptions;

/// Requests at once on one connection of HTTP/2.
const STREAMS_MAX: u32 = 256;
/// What HTTP/2 begins with, as far as it tells it from all else.
const HTTP2: &[u8] = b"PRI ";
/// So many more headers than the edge allows are read all the same, so that it can say what is wrong.
const HEADERS_MAX: usize = 100;

/// What all connections of a server share.
pub(super) struct Server<E> {
    pub endpoint: E,
    pub options: EdgeOptions,
    pub tls: Option<Tls>,
    pub local: LocalAddr,
    /// Ends each connection after the request that it carries.
    pub closing: CancellationToken,
}

impl<E: Endpoint<Output = Response> + 'static> Server<E> {
    /// Serves one connection to its end.
    pub async fn serve(self: Arc<Self>, stream: TcpStream, remote: SocketAddr) {
        // Refused only where the peer is gone already; then reading finds out.
        let _ = stream.set_nodelay(true);
        let Some(tls) = &self.tls else {
            if let Some(http2) = self.speaks_http2(&stream).await {
                self.converse(stream, remote, Scheme::HTTP, http2).await;
            }
            return;
        };
        match tls.accept(stream).await {
            Ok(stream) => {
                let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                self.converse(stream, remote, Scheme::HTTPS, http2).await;
            }
            Err(error) => tracing::debug!(%error, "no TLS connection"),
        }
    }

    /// Whether the first bytes are those of HTTP/2; `None` where none came in time.
    async fn speaks_http2(&self, stream: &TcpStream) -> Option<bool> {
        let mut first = [0; HTTP2.len()];
        let peeked = tokio::select! {
            peeked = tokio::time::timeout(self.options.idle_timeout, stream.peek(&mut first)) => peeked.ok()?.ok()?,
            () = self.closing.cancelled() => return None,
        };
        (peeked > 0).then(|| first == HTTP2)
    }

    async fn converse<S>(self: Arc<Self>, stream: S, remote: SocketAddr, scheme: Scheme, http2: bool)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let in_flight = InFlight::default();
        let stream = TokioIo::new(Watched::new(stream, in_flight.clone(), &self.options, !http2));
        let closing = self.closing.child_token();
        let server = Arc::clone(&self);
        let remote = RemoteAddr(remote.into());
        let service = service_fn(move |request: hyper::Request<Incoming>| {
            let flight = in_flight.begin();
            let (server, remote, scheme) = (Arc::clone(&server), remote.clone(), scheme.clone());
            async move {
                let request = poem::Request::from((request, server.local.clone(), remote, scheme));
                let answer = server.endpoint.call(request).await.unwrap_or_else(poem::Error::into_response);
                let answer: hyper::Response<BoxBody<Bytes, std::io::Error>> = answer.into();
                Ok::<_, Infallible>(answer.map(|body| Answer { body, _flight: flight }))
            }
        });
        if http2 {
            let mut builder = http2::Builder::new(TokioExecutor::new());
            builder.max_concurrent_streams(STREAMS_MAX);
            builder.max_header_list_size(u32::try_from(self.options.header_bytes_max * 2).unwrap_or(u32::MAX));
            let mut connection = pin!(builder.serve_connection(stream, service));
            let ended = tokio::select! {
                biased;
                ended = connection.as_mut() => Some(ended),
                () = closing.cancelled() => None,
            };
            if ended.is_none() {
                connection.as_mut().graceful_shutdown();
                let _ = connection.await;
            }
        } else {
            let mut builder = http1::Builder::new();
            if self.options.headers_max > HEADERS_MAX {
                builder.max_headers(self.options.headers_max);
            }
            let mut connection = pin!(builder.serve_connection(stream, service));
            let ended = tokio::select! {
                biased;
                ended = connection.as_mut() => Some(ended),
                () = closing.cancelled() => None,
            };
            if ended.is_none() {
                connection.as_mut().graceful_shutdown();
                let _ = connection.await;
            }
        }
    }
}

/// The body of an answer; the request is in flight as long as it is there.
struct Answer {
    body: BoxBody<Bytes, std::io::Error>,
    _flight: Flight,
}

impl Body for Answer {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
