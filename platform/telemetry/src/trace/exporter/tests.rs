//! Against collectors that are generated from OTLP's definition, or spoken to by hand.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_sdk::trace::Sampler;
use prost::Message;
use tokio::sync::mpsc;
use tonic::{Request as Call, Response, Status};

use super::super::pipeline::Pipeline;
use super::super::sampling::Sampling;
use super::super::{Kind, Tracer};
use super::*;

fn settings(endpoint: String, protocol: Protocol) -> Settings {
    let headers = vec![("Authorization".to_owned(), "Bearer of spans".to_owned())];
    let timeout = Duration::from_secs(10);
    let transport = Transport { endpoint, protocol, timeout, headers, certificate: None };
    Settings { transport, alone: false, instance: "here".to_owned(), version: "1.2.3" }
}

/// Ends so many spans and sends them: what became of them, and whether their buffer came back.
async fn sent(exporter: &mut Exporter, spans: usize) -> (u64, u64, bool) {
    let (pipeline, _) = Pipeline::new(Sampling::by(Sampler::AlwaysOn), 100, 100);
    let role = pipeline.role("order");
    (0..spans).for_each(|_| drop(Tracer::of_role(role).start(Kind::Internal, "work", None)));
    let before = (exporter.exported.get(), exporter.refused.get());
    let [waiting] = role.pending.lock().take().try_into().unwrap();
    let used = exporter.send(role, waiting).await;
    (exporter.exported.get() - before.0, exporter.refused.get() - before.1, used.is_some())
}

/// Says no first, takes what comes next, and of the third thing a part.
struct Moody {
    calls: AtomicU32,
    told: mpsc::UnboundedSender<(Option<String>, ExportTraceServiceRequest)>,
}

#[tonic::async_trait]
impl TraceService for Moody {
    async fn export(
        &self,
        call: Call<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let number = self.calls.fetch_add(1, Ordering::Relaxed);
        if number == 0 {
            return Err(Status::unavailable("in a moment"));
        }
        let key = call.metadata().get("authorization").map(|value| value.to_str().unwrap().to_owned());
        self.told.send((key, call.into_inner())).unwrap();
        let partial = ExportTracePartialSuccess { rejected_spans: 2, error_message: "too old".to_owned() };
        let partial_success = match number {
            1 => None,
            2 => Some(partial),
            _ => return Err(Status::invalid_argument("never")),
        };
        Ok(Response::new(ExportTraceServiceResponse { partial_success }))
    }
}

// The counters are the process's: one test after the other.
#[tokio::test]
async fn collectors_are_told_as_they_want_it() {
    over_grpc().await;
    over_http().await;
    nobody_is_there().await;
}

async fn over_grpc() {
    let (told, mut heard) = mpsc::unbounded_channel();
    let moody = TraceServiceServer::new(Moody { calls: AtomicU32::new(0), told });
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    let incoming = tonic::transport::server::TcpIncoming::from(listener);
    tokio::spawn(tonic::transport::Server::builder().add_service(moody).serve_with_incoming(incoming));

    let mut exporter = Exporter::new(settings(format!("http://{address}"), Protocol::Grpc)).unwrap();
    assert_eq!(sent(&mut exporter, 3).await, (3, 0, true), "what may be repeated is");
    let (key, request) = heard.recv().await.unwrap();
    assert_eq!(key.as_deref(), Some("Bearer of spans"));
    let [of] = request.resource_spans.try_into().unwrap();
    assert_eq!(of.scope_spans[0].spans.len(), 3);
    let attributes = of.resource.unwrap().attributes;
    let name = attributes.iter().find(|attribute| attribute.key == "service.name").unwrap();
    assert!(format!("{name:?}").contains("sagashop-order"), "{name:?}");
    assert_eq!(sent(&mut exporter, 3).await, (1, 2, true), "what is refused of a request is counted");
    assert_eq!(sent(&mut exporter, 3).await, (0, 3, true), "what is refused for good is not repeated");
    drop(exporter);
    heard.close();
    assert_eq!(std::iter::from_fn(|| heard.try_recv().ok()).count(), 2);
}

/// A request's head and body.
type Heard = (String, Vec<u8>);

/// A server that answers each request with the next of these, and gives back what it was sent.
fn answering(answers: &'static [&'static str]) -> (String, std::thread::JoinHandle<Vec<Heard>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}/v1/traces", listener.local_addr().unwrap());
    let serving = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let exchange = |answer: &&str| {
            let lines = reader.by_ref().lines().map(Result::unwrap).take_while(|line| !line.is_empty());
            let head = lines.collect::<Vec<_>>().join("\n").to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
            let mut body = vec![0; length.parse().unwrap()];
            reader.read_exact(&mut body).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
            (head, body)
        };
        answers.iter().map(exchange).collect()
    });
    (endpoint, serving)
}

async fn over_http() {
    let (endpoint, serving) = answering(&[
        "HTTP/1.1 503 Service Unavailable\r\nretry-after: 0\r\ncontent-length: 4\r\n\r\nlate",
        "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n",
    ]);
    let mut exporter = Exporter::new(settings(endpoint, Protocol::Http)).unwrap();
    assert_eq!(sent(&mut exporter, 2).await, (2, 0, true));
    assert_eq!(sent(&mut exporter, 2).await, (0, 2, true));
    let requests = serving.join().unwrap();
    for (head, body) in &requests {
        assert!(head.starts_with("post /v1/traces http/1.1"), "{head}");
        assert!(head.contains("authorization: bearer of spans"), "{head}");
        assert!(head.contains("content-type: application/x-protobuf"), "{head}");
        let request = ExportTraceServiceRequest::decode(body.as_slice()).unwrap();
        assert_eq!(request.resource_spans[0].scope_spans[0].spans.len(), 2);
    }
}

async fn nobody_is_there() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for protocol in [Protocol::Grpc, Protocol::Http] {
        let mut settings = settings(format!("http://{free}"), protocol);
        settings.transport.timeout = Duration::from_millis(50);
        let mut exporter = Exporter::new(settings).unwrap();
        assert_eq!(sent(&mut exporter, 1).await, (0, 1, true));
        assert!(exporter.away);
    }
    let mut nonsense = settings("http://".to_owned(), Protocol::Http);
    assert!(Exporter::new(nonsense.clone()).is_err());
    nonsense.transport = Transport { headers: vec![("no name".to_owned(), String::new())], ..nonsense.transport };
    nonsense.transport.endpoint = format!("http://{free}");
    let error = Exporter::new(nonsense).err().map(|error| format!("{error:#}")).unwrap();
    assert!(error.contains("OTEL_EXPORTER_OTLP_HEADERS"), "{error}");
}
