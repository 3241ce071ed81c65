//! The Jaeger to test against.

/// A Jaeger that runs.
#[derive(Debug, Clone)]
pub struct Jaeger {
    /// Its API: `http://host:port`.
    pub query: String,
    /// Where it takes OTLP over gRPC.
    pub otlp_grpc: String,
    /// Where it takes OTLP over HTTP.
    pub otlp_http: String,
}

/// The one in `JAEGER_QUERY`, `JAEGER_OTLP_GRPC` and `JAEGER_OTLP_HTTP`; without one the test says that it is skipped
/// and returns early.
///
/// # Panics
/// Without one while `SAGASHOP_REQUIRE_JAEGER=1`: where it is required (CI), a missing one is a failure and not a skip.
pub fn jaeger() -> Option<Jaeger> {
    let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let found = variable("JAEGER_QUERY").zip(variable("JAEGER_OTLP_GRPC")).zip(variable("JAEGER_OTLP_HTTP"));
    if found.is_none() {
        assert!(
            variable("SAGASHOP_REQUIRE_JAEGER").is_none_or(|value| value == "0"),
            "SAGASHOP_REQUIRE_JAEGER is set but JAEGER_QUERY, JAEGER_OTLP_GRPC or JAEGER_OTLP_HTTP is not: run the tests by \
             .ci/with-jaeger"
        );
        let test = std::thread::current().name().unwrap_or("test").to_owned();
        eprintln!("skipped: {test} needs a Jaeger: run it by .ci/with-jaeger");
    }
    found.map(|((query, otlp_grpc), otlp_http)| Jaeger { query, otlp_grpc, otlp_http })
}
