use poem_openapi::payload::Json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;

use super::*;
use crate::{Problem, document, grpc};

struct Api;

#[OpenApi]
impl Api {
    #[oai(path = "/echo", method = "post")]
    async fn echo(&self, body: Json<Value>) -> Result<Json<Value>, Problem> {
        Ok(body)
    }
}

#[test]
fn an_api_is_described_as_it_is_served() {
    assert_eq!(document::<Api>("Test"), App::new("test-service", "Test", Api).openapi());
}

async fn started(shutdown: CancellationToken) -> (TcpStream, JoinHandle<io::Result<()>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(serve(listener, App::new("test-service", "Test", Api), shutdown));
    (TcpStream::connect(address).await.unwrap(), server)
}

async fn answer(stream: &mut TcpStream) -> String {
    let mut answer = vec![0; 4096];
    let bytes = stream.read(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer[..bytes]).into_owned()
}

#[tokio::test]
async fn a_body_without_a_length_is_limited_while_it_is_read() {
    let (mut stream, _server) = started(CancellationToken::new()).await;
    let head = "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
    for _ in 0..17 {
        // The server may have answered and closed before the last chunk.
        let _ = stream.write_all(chunk.as_bytes()).await;
    }
    let answer = answer(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}

#[tokio::test]
async fn shutdown_ends_the_server() {
    let shutdown = CancellationToken::new();
    let (mut stream, server) = started(shutdown.clone()).await;
    stream.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    assert!(answer(&mut stream).await.starts_with("HTTP/1.1 200"));
    shutdown.cancel();
    // The connection is idle, so nothing has to be waited for.
    tokio::time::timeout(Duration::from_secs(3), server).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn grpc_is_served_and_shut_down() {
    let shutdown = CancellationToken::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = tokio::spawn(grpc::serve(listener, tonic::service::Routes::default(), EdgeOptions::default(), shutdown.clone()));

    let channel = grpc::channel(&address).unwrap();
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.unwrap();
    shutdown.cancel();
    drop(client);
    tokio::time::timeout(Duration::from_secs(8), server).await.unwrap().unwrap().unwrap();
    assert!(grpc::channel("not an address").is_err());
}
