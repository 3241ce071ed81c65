//! The Kafka to test against.

/// The bootstrap address in `KAFKA_BROKER`; without one the test says that it is skipped and
/// returns early.
///
/// # Panics
/// Without `KAFKA_BROKER` while `SAGASHOP_REQUIRE_KAFKA=1`: where Kafka is required (CI), a
/// missing one is a failure and not a skip.
pub fn broker() -> Option<String> {
    let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let broker = variable("KAFKA_BROKER");
    if broker.is_none() {
        assert!(
            variable("SAGASHOP_REQUIRE_KAFKA").is_none_or(|value| value == "0"),
            "SAGASHOP_REQUIRE_KAFKA is set but KAFKA_BROKER is not: start a Kafka \
             (see compose/local/kafka) and set KAFKA_BROKER=host:port"
        );
        let test = std::thread::current().name().unwrap_or("test").to_owned();
        eprintln!("skipped: {test} needs a Kafka in KAFKA_BROKER");
    }
    broker
}
