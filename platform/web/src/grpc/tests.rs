use std::task::{Context, Poll};

use futures::FutureExt;
use futures::future::BoxFuture;
use tonic::client::{Grpc, GrpcService};
use tonic::metadata::MetadataMap;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_health::ServingStatus;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_prost::ProstCodec;
use tower::Layer;

use super::*;
use crate::{Problem, RequestContext};

mod secure;

/// A service without a contract: what it is asked stands in the path.
#[derive(Clone)]
struct Service;

impl NamedService for Service {
    const NAME: &'static str = "test.Test";
}

impl tower::Service<Request<Body>> for Service {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, asked: Request<Body>) -> Self::Future {
        let path = asked.uri().path().to_owned();
        let context = context(&MetadataMap::from_headers(asked.headers().clone()));
        async move {
            let status = match path.as_str() {
                "/test.Test/Hold" => std::future::pending().await,
                // What it would say to the next one.
                "/test.Test/Onward" => {
                    let onward = request((), &context, None);
                    let timeout = onward.metadata().get("grpc-timeout").unwrap().to_str().unwrap().to_owned();
                    Status::aborted(timeout)
                }
                "/test.Test/Refuse" => Problem::not_found("There is none").into(),
                _ => Status::unimplemented("there is no such method"),
            };
            Ok(status.into_http())
        }
        .boxed()
    }
}

async fn started(options: EdgeOptions) -> (Channel, tonic_health::server::HealthReporter, CancellationToken) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let channel = channel(&listener.local_addr().unwrap().to_string()).unwrap();
    let shutdown = CancellationToken::new();
    let (reporter, health) = tonic_health::server::health_reporter();
    let routes = Routes::new(Service).add_service(health);
    tokio::spawn(serve("test", listener, routes, options, shutdown.clone()));
    (channel, reporter, shutdown)
}

async fn call<S>(server: &S, method: &'static str, request: tonic::Request<()>) -> Status
where
    S: GrpcService<Body> + Clone,
    S::ResponseBody: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    <S::ResponseBody as http_body::Body>::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    S::Error: std::fmt::Debug,
{
    let mut client = Grpc::new(server.clone());
    client.ready().await.unwrap();
    let codec = ProstCodec::<(), ()>::default();
    client.unary(request, poem::http::uri::PathAndQuery::from_static(method), codec).await.unwrap_err()
}

fn within(timeout: Duration) -> tonic::Request<()> {
    let mut request = tonic::Request::new(());
    request.set_timeout(timeout);
    request
}

#[tokio::test]
async fn a_call_ends_with_its_callers_patience_and_says_so_to_the_next() {
    // Through a channel the client would end it by itself.
    let edge = edge::EdgeLayer::new("test", &EdgeOptions::default()).layer(Service);
    let status = call(&edge, "/test.Test/Hold", within(Duration::from_millis(100))).await;
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");

    let (channel, ..) = started(EdgeOptions::default()).await;
    let status = call(&channel, "/test.Test/Onward", within(Duration::from_secs(2))).await;
    let left: u64 = status.message().trim_end_matches(char::is_alphabetic).parse().unwrap();
    let left = if status.message().ends_with('u') { Duration::from_micros(left) } else { Duration::from_nanos(left) };
    assert!(left <= Duration::from_secs(2) && left > Duration::from_secs(1), "{status}");
}

#[tokio::test]
async fn a_stream_is_not_cut_when_the_time_for_an_answer_is_over() {
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_service_status("shop", ServingStatus::NotServing).await;
    let edge = edge::EdgeLayer::new("test", &EdgeOptions::default()).layer(Routes::new(health));
    let mut request = tonic::Request::new(HealthCheckRequest { service: "shop".to_owned() });
    let patience = Duration::from_millis(200);
    request.set_timeout(patience);
    let mut stream = HealthClient::new(edge).watch(request).await.unwrap().into_inner();
    stream.message().await.unwrap().unwrap();
    tokio::time::sleep(patience * 2).await;
    reporter.set_service_status("shop", ServingStatus::Serving).await;
    let next = tokio::time::timeout(Duration::from_secs(10), stream.message()).await.unwrap();
    assert_eq!(next.unwrap().unwrap().status, 1);
}

#[tokio::test]
async fn a_message_has_its_limit() {
    let (channel, ..) = started(EdgeOptions { body_bytes_max: 10_000, ..EdgeOptions::default() }).await;
    let mut client = HealthClient::new(channel);
    let mut ask = async |bytes: usize| {
        let request = HealthCheckRequest { service: "x".repeat(bytes) };
        client.check(request).await.unwrap_err().code()
    };
    // The name's own head has three bytes.
    assert_eq!(ask(9_997).await, Code::NotFound);
    assert_eq!(ask(9_998).await, Code::ResourceExhausted);
}

#[tokio::test]
async fn calls_are_counted_by_method_and_code() {
    let (channel, ..) = started(EdgeOptions::default()).await;
    call(&channel, "/test.Test/Refuse", tonic::Request::new(())).await;
    call(&channel, "/test.Test/secret@example.org", tonic::Request::new(())).await;
    HealthClient::new(channel).check(HealthCheckRequest::default()).await.unwrap();
    let counted = |line: &str| telemetry::metrics::render().contains(line);
    assert!(counted(r#"grpc_requests_total{code="NOT_FOUND",rpc_method="Refuse",rpc_service="test.Test"}"#));
    assert!(counted(r#"grpc_requests_total{code="OK",rpc_method="Check",rpc_service="grpc.health.v1.Health"}"#));
    assert!(counted(r#"grpc_requests_total{code="UNIMPLEMENTED",rpc_method="unmatched",rpc_service="unmatched"}"#));
    assert!(!counted("secret@example.org"));
}

#[tokio::test]
async fn what_is_too_much_is_turned_away_and_health_is_answered() {
    let options = EdgeOptions { concurrency_max: 1, queue_max: 0, ..EdgeOptions::default() };
    let (channel, ..) = started(options).await;
    let holding = tokio::spawn({
        let channel = channel.clone();
        async move { call(&channel, "/test.Test/Hold", tonic::Request::new(())).await }
    });
    let refused = async {
        loop {
            let status = call(&channel, "/test.Test/Refuse", tonic::Request::new(())).await;
            if status.code() != Code::NotFound {
                return status;
            }
        }
    };
    let status = tokio::time::timeout(Duration::from_secs(10), refused).await.unwrap();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    HealthClient::new(channel).check(HealthCheckRequest::default()).await.unwrap();
    holding.abort();
}

#[tokio::test]
async fn it_is_served_and_shut_down() {
    let (channel, _, shutdown) = started(EdgeOptions::default()).await;
    let status = call(&channel, "/test.Test/Refuse", tonic::Request::new(())).await;
    assert_eq!(status.code(), Code::NotFound);
    shutdown.cancel();
    let refused = async {
        while call(&channel, "/test.Test/Refuse", within(Duration::from_secs(1))).await.code() == Code::NotFound {}
    };
    tokio::time::timeout(Duration::from_secs(8), refused).await.unwrap();
    assert!(super::channel("not an address").is_err());
}

#[test]
fn a_call_carries_the_ids_of_what_it_is_made_for() {
    let context = RequestContext { request_id: Some("r-1".into()), ..RequestContext::fresh() };
    let request = request((), &context, None);
    let id = context.correlation_id.to_string();
    assert_eq!(request.metadata().get("x-correlation-id").unwrap(), id.as_str());
    assert_eq!(request.metadata().get("x-request-id").unwrap(), "r-1");
    assert!(request.metadata().get("grpc-timeout").is_none());
}
