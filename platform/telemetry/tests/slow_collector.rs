//! A collector that takes connections and never answers.

use std::time::{Duration, Instant};

use telemetry::{Format, Options};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_waits_for_a_collector_that_hangs() {
    let collector = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", collector.local_addr().unwrap());
    let options =
        || Options { service: "test", otlp_endpoint: Some(endpoint.clone()), format: Format::Json, filter: "info" };
    let guard = telemetry::init(options()).unwrap();

    let started = Instant::now();
    for _ in 0..20_000 {
        tracing::info_span!("work").in_scope(telemetry::traceparent).expect("the span is recorded");
    }
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());

    assert!(telemetry::init(options()).is_err(), "a process is set up once");
    let started = Instant::now();
    drop(guard);
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

#[test]
fn a_filter_that_cannot_be_read_is_an_error() {
    let options = Options { service: "test", otlp_endpoint: None, format: Format::Pretty, filter: "sqlx=loud" };
    assert!(telemetry::init(options).is_err());
}
