//! A collector that takes connections and never answers keeps nobody waiting, and what it does not take is counted.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use telemetry::trace::{Kind, Tracer};

/// As in the shop: within the runtime that must not wait.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_waits_for_a_collector_that_never_answers() {
    let collector = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", collector.local_addr().unwrap());
    let traces = telemetry::Collector { endpoint, alone: true };
    let guard =
        telemetry::init(telemetry::Options { traces: Some(traces), filter: "off", ..telemetry::Options::default() })
            .unwrap();

    let tracer = Tracer::of("order");
    let began = Instant::now();
    for _ in 0..20_000 {
        let mut span = tracer.start(Kind::Internal, "work", None);
        span.set("order.id", "1");
        assert!(span.is_recorded());
    }
    assert!(began.elapsed() < Duration::from_secs(2), "spans took {:?}", began.elapsed());
    let metrics = telemetry::metrics::render();
    let dropped = "sagashop_telemetry_spans_dropped_total{reason=\"queue_full\"} ";
    let line = metrics.lines().find_map(|line| line.strip_prefix(dropped)).unwrap();
    assert!(line.parse::<u64>().unwrap() >= 20_000 - 16_384 - 1, "{line} were dropped");

    let began = Instant::now();
    drop(guard);
    assert!(began.elapsed() < Duration::from_secs(4), "the last flush took {:?}", began.elapsed());
}
