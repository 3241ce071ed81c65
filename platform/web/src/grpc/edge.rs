//! What every call passes, once, on its way in and out.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use poem::http::{Request, Response};
use telemetry::{Kind, Span, Tracer, trace};
use tokio::time::Instant;
use tonic::Status;
use tonic::body::Body;
use tonic::transport::server::TcpConnectInfo;
use tower::{Layer, Service};

use super::limited::Limited;
use super::measured::{Call, Measured};
use super::{CALL_TIMEOUT, timeout};
use crate::context::RequestContext;
use crate::gate::Gate;
use crate::limits::Limits;
use crate::{AccessLog, EdgeOptions};

/// Frames of gRPC have a head of five bytes beside their message.
const FRAME_HEAD_BYTES: usize = 5;
/// So much earlier than the caller gives up it is told.
const EARLIER: Duration = Duration::from_millis(2);
/// Health is answered whatever else is going on.
const HEALTH: &str = "/grpc.health.v1.Health/";

/// Puts the edge around the routes of a server.
#[derive(Clone)]
pub(super) struct EdgeLayer(Arc<Shared>);

struct Shared {
    tracer: Tracer,
    gate: Gate,
    limits: Arc<Limits>,
    message_bytes_max: usize,
    access_log: AccessLog,
}

impl EdgeLayer {
    pub fn new(service: &'static str, options: &EdgeOptions) -> Self {
        Self(Arc::new(Shared {
            tracer: Tracer::of(service),
            gate: Gate::new("grpc", options),
            limits: Arc::new(Limits::new(&options.rate_limits)),
            message_bytes_max: options.body_bytes_max,
            access_log: options.access_log,
        }))
    }
}

impl<S> Layer<S> for EdgeLayer {
    type Service = EdgeService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        EdgeService { shared: Arc::clone(&self.0), inner }
    }
}

/// A server's routes with the edge around them.
#[derive(Clone)]
pub(super) struct EdgeService<S> {
    shared: Arc<Shared>,
    inner: S,
}

impl<S> Service<Request<Body>> for EdgeService<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // The one that was found ready is used, its copy stays.
        let inner = self.inner.clone();
        let inner = std::mem::replace(&mut self.inner, inner);
        let shared = Arc::clone(&self.shared);
        async move { Ok(shared.pass(inner, request).await) }.boxed()
    }
}

impl Shared {
    async fn pass<S>(&self, mut inner: S, request: Request<Body>) -> Response<Body>
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Send,
        S::Future: Send,
    {
        let started = Instant::now();
        let path = request.uri().path().to_owned();
        let mut context = RequestContext::of_headers(request.headers());
        let limit = timeout::of_headers(request.headers()).map_or(CALL_TIMEOUT, |limit| limit.min(CALL_TIMEOUT));
        // A little earlier than the framework, which would call it a cancellation.
        let limit = limit.saturating_sub(EARLIER.min(limit / 10));
        context.deadline = Some(started + limit);
        let info = request.extensions().get::<TcpConnectInfo>();
        context.remote = info.and_then(TcpConnectInfo::remote_addr).map(|remote| remote.ip().to_canonical());
        let span = self.span(&path, &mut context);

        let bytes_max = self.message_bytes_max + FRAME_HEAD_BYTES;
        let request = request.map(|body| Body::new(Limited::new(body, bytes_max)));
        let work = async {
            let _slot = match path.starts_with(HEALTH) {
                true => None,
                false => match self.gate.enter().await {
                    Ok(slot) => Some(slot),
                    Err(problem) => return super::status(&problem).into_http(),
                },
            };
            match tokio::time::timeout_at(started + limit, inner.call(request)).await {
                Ok(Ok(response)) => response,
                Ok(Err(never)) => match never {},
                Err(_) => too_late(limit).into_http(),
            }
        };
        let work = context.clone().scope(Arc::clone(&self.limits), work);
        let (response, seen) = trace::scope(span.clone(), work).await;
        let span = span.map_or_else(Span::none, trace::Current::into_span);
        let call = Call::new(path, started, context, seen, self.access_log, span);
        Measured::around(response, call)
    }
}

impl Shared {
    /// The call's span, with which the caller's trace goes on. Health is asked too often to be told.
    fn span(&self, path: &str, context: &mut RequestContext) -> Option<trace::Current> {
        if !self.tracer.is_on() || path.starts_with(HEALTH) {
            return None;
        }
        let name = path.trim_start_matches('/');
        let mut span = self.tracer.resume(Kind::Server, name, context.traceparent.as_deref());
        span.set("rpc.system", "grpc");
        if let Some((service, method)) = name.split_once('/').filter(|_| span.is_recorded()) {
            span.set("rpc.service", service);
            span.set("rpc.method", method);
        }
        context.traceparent = span.traceparent();
        span.into_current()
    }
}

fn too_late(limit: Duration) -> Status {
    Status::deadline_exceeded(format!("there was no answer within {limit:?}"))
}
