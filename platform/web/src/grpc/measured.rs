//! Calls counted, timed and logged when they have ended: what became of one stands in its trailers.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use poem::http::{HeaderMap, Response};
use telemetry::Span;
use tokio::time::Instant;
use tonic::body::Body;
use tonic::{Code, Status};

use crate::AccessLog;
use crate::context::{RequestContext, Seen};
use crate::measures::{GRPC_REQUESTS, GRPC_SECONDS};

/// Methods that the server does not have count together.
const UNMATCHED: &str = "unmatched";

/// One call until its end.
pub(super) struct Call {
    path: String,
    started: Instant,
    context: RequestContext,
    seen: Seen,
    access_log: AccessLog,
    span: Span,
}

impl Call {
    pub(super) fn new(
        path: String,
        started: Instant,
        context: RequestContext,
        seen: Seen,
        access_log: AccessLog,
        span: Span,
    ) -> Self {
        Self { path, started, context, seen, access_log, span }
    }

    fn ended(mut self, code: Code) {
        let took = self.started.elapsed();
        // A path that stands for nothing is the caller's own text, and no label.
        let known = if code == Code::Unimplemented { None } else { self.path.trim_start_matches('/').split_once('/') };
        let (service, method) = known.unwrap_or((UNMATCHED, UNMATCHED));
        GRPC_REQUESTS.with(&[service, method, name(code)]).inc();
        GRPC_SECONDS.with(&[service, method]).observe(took.as_secs_f64());
        let failed = matches!(code, Code::Internal | Code::Unavailable | Code::Unknown | Code::DataLoss);
        self.span.set("rpc.grpc.status_code", i64::from(i32::from(code)));
        if failed {
            self.span.fail(name(code));
        }
        let wanted = match self.access_log {
            AccessLog::Off => false,
            AccessLog::Failures => failed,
            AccessLog::All => true,
        };
        if !wanted {
            return;
        }
        let duration_ms = took.as_secs_f64() * 1_000.0;
        let remote = self.context.remote.map(tracing::field::display);
        let user = self.seen.user.map(tracing::field::display);
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    target: "access",
                    {
                        rpc.system = "grpc",
                        rpc.service = service,
                        rpc.method = method,
                        rpc.grpc.status_code = name(code),
                        duration_ms,
                        client.address = remote,
                        user.id = user,
                        request.id = self.context.request_id.as_deref(),
                        correlation.id = %self.context.correlation_id,
                        trace.id = self.context.trace_id(),
                    },
                    "call answered"
                )
            };
        }
        if failed { line!(warn) } else { line!(info) }
    }
}

/// The body of an answer, watched until its trailers.
pub(super) struct Measured {
    body: Body,
    call: Option<Call>,
}

impl Measured {
    /// Watches an answer. One without a body has its status in its head.
    pub fn around(response: Response<Body>, call: Call) -> Response<Body> {
        if let Some(status) = Status::from_header_map(response.headers()) {
            call.ended(status.code());
            return response;
        }
        response.map(|body| Body::new(Self { body, call: Some(call) }))
    }

    fn ended(&mut self, code: Code) {
        if let Some(call) = self.call.take() {
            call.ended(code);
        }
    }
}

impl http_body::Body for Measured {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(trailers) = frame.trailers_ref() {
                    self.ended(code(trailers));
                }
            }
            Poll::Ready(Some(Err(status))) => self.ended(status.code()),
            Poll::Ready(None) => self.ended(Code::Ok),
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Measured {
    /// Who hangs up before the end has cancelled the call.
    fn drop(&mut self) {
        self.ended(Code::Cancelled);
    }
}

fn code(trailers: &HeaderMap) -> Code {
    Status::from_header_map(trailers).map_or(Code::Ok, |status| status.code())
}

/// The name that the protocol gives a code.
fn name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
