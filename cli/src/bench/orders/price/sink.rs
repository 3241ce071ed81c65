//! A collector that takes spans and forgets them: what it would do with them is not the shop's price.

use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::convert::Infallible;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

/// An empty message of gRPC.
const EMPTY: &[u8] = &[0; 5];
const STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// Takes OTLP over gRPC until it is dropped.
pub(super) struct Sink {
    pub(super) endpoint: String,
    _task: AbortOnDropHandle<()>,
}

impl Sink {
    pub(super) async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.context("no port for a collector")?;
        let endpoint = format!("http://{}", listener.local_addr()?);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(converse(stream));
            }
        });
        Ok(Self { endpoint, _task: AbortOnDropHandle::new(task) })
    }
}

async fn converse(stream: TcpStream) {
    // Refused only where the peer is gone already.
    let _ = stream.set_nodelay(true);
    let serving = http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service_fn(swallow));
    // A shop that goes takes its connections with it.
    let _ = serving.await;
}

async fn swallow(
    request: Request<Incoming>,
) -> Result<Response<impl hyper::body::Body<Data = Bytes, Error = Infallible>>, Infallible> {
    let mut body = request.into_body();
    while let Some(Ok(_)) = body.frame().await {}
    let trailers = HeaderMap::from_iter([(STATUS, HeaderValue::from_static("0"))]);
    let answer = Full::new(Bytes::from_static(EMPTY)).with_trailers(async { Some(Ok(trailers)) });
    let mut response = Response::new(answer);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    Ok(response)
}
