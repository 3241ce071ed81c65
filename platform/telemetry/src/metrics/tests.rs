use super::*;

const RESULT: Label = Label::one_of("result", &["good", "bad"]);

static THINGS: Counters = Counters::new("test_things_total", "Things.", &[SERVICE, RESULT]);
static WAITING: Gauges = Gauges::new("test_waiting", "Waiting.", &[SERVICE]);
static AGE: FloatGauges = FloatGauges::new("test_age_seconds", "Age.", &[]);
static TIME: Histograms = Histograms::new("test_seconds", "Time.", &[SERVICE], SECONDS);

#[test]
fn what_is_counted_is_seen() {
    THINGS.init(&["order"]);
    THINGS.with(&["order", "good"]).inc();
    THINGS.with(&["order", "good"]).inc();
    WAITING.with(&["order"]).set(7);
    AGE.with(&[]).set(1.5);
    TIME.with(&["order"]).observe(0.02);
    let text = render();
    for line in [
        "test_things_total{result=\"good\",service=\"order\"} 2",
        "test_things_total{result=\"bad\",service=\"order\"} 0",
        "test_waiting{service=\"order\"} 7",
        "test_age_seconds 1.5",
        "test_seconds_bucket{service=\"order\",le=\"0.01\"} 0",
        "test_seconds_bucket{service=\"order\",le=\"0.025\"} 1",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    WAITING.remove(&["order"]);
    WAITING.remove(&["nobody"]);
    assert!(!render().contains("test_waiting{"));
}

#[tokio::test]
async fn the_process_and_its_runtime_are_looked_at() {
    let value = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(&format!("{name} ")));
        line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
    };
    let text = render();
    for name in ["tokio_workers", "tokio_alive_tasks", "tokio_global_queue_depth", "tokio_workers_busy_seconds_total"] {
        assert!(value(&text, name).is_some(), "{name} is not in\n{text}");
    }
    #[cfg(target_os = "linux")]
    {
        for name in ["process_cpu_seconds_total", "process_max_fds", "process_threads"] {
            assert!(value(&text, name).is_some(), "{name} is not in\n{text}");
        }
        let megabyte = 1024.0 * 1024.0;
        assert!(value(&text, "process_resident_memory_bytes").is_some_and(|bytes| bytes > megabyte), "{text}");
        assert!(value(&text, "process_open_fds").is_some_and(|count| count >= 3.0), "{text}");
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
        let started = value(&text, "process_start_time_seconds").unwrap();
        assert!((now - 3_600.0..=now + 1.0).contains(&started), "{started} is not just before {now}");
    }
}

#[test]
fn roles_are_named_alike() {
    assert_eq!(role("order-service"), "order");
    assert_eq!(role("orchestrator"), "orchestrator");
}

#[test]
fn a_table_tells_of_each() {
    let table = markdown(&[THINGS.family(), TIME.family()]);
    assert!(table.contains("| `test_things_total` | counter | `service`: the role"), "{table}");
    assert!(table.contains("`result`: good, bad | Things. |"), "{table}");
    assert!(table.contains("| `test_seconds` | histogram, 0.0005 to 10 |"), "{table}");
}
