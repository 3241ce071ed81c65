//! Where spans are sent.

/// How OTLP is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// Over gRPC.
    Grpc,
    /// Over HTTP, as Protocol Buffers.
    Http,
}

/// The ports on which collectors, Jaeger among them, take OTLP over gRPC and over HTTP.
const OTLP_GRPC_PORT: u16 = 4317;
const OTLP_HTTP_PORT: u16 = 4318;
/// Where they take traces over HTTP.
const HTTP_PATH: &str = "v1/traces";
/// The port of Jaeger's own, retired protocol.
const JAEGER_COLLECTOR_PORT: &str = "14268";

/// `OTEL_EXPORTER_OTLP_PROTOCOL`, or that of traces alone: gRPC unless it says otherwise.
///
/// # Errors
/// A protocol that is none of those that are spoken here.
pub(crate) fn protocol() -> anyhow::Result<Protocol> {
    let given = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
    let named = given("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL").or_else(|| given("OTEL_EXPORTER_OTLP_PROTOCOL"));
    match named.as_deref() {
        None | Some("grpc") => Ok(Protocol::Grpc),
        Some("http/protobuf") => Ok(Protocol::Http),
        Some(other) => anyhow::bail!("OTEL_EXPORTER_OTLP_PROTOCOL is grpc or http/protobuf, not {other:?}"),
    }
}

/// The OTLP address that a configured one stands for, by the protocol that the environment names.
///
/// `JAEGER_ENDPOINT` used to name Jaeger's collector, `http://host:14268/api/traces`. That protocol is retired, and the
/// same Jaeger takes OTLP on port 4317, or 4318 over HTTP: such an address is read as `http://host:4317`. Any other is
/// taken as it is, with `http://` in front where the scheme is missing, and over HTTP with the path that traces have.
pub fn otlp_endpoint(configured: &str) -> String {
    endpoint_over(configured, protocol().unwrap_or(Protocol::Grpc))
}

pub(crate) fn endpoint_over(configured: &str, protocol: Protocol) -> String {
    let configured = configured.trim().trim_end_matches('/');
    let (scheme, rest) = configured.split_once("://").unwrap_or(("http", configured));
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (host, port) = match authority.rsplit_once(':') {
        // A colon inside brackets belongs to an IPv6 address.
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let base = if port == Some(JAEGER_COLLECTOR_PORT) || path == "api/traces" {
        let port = if protocol == Protocol::Grpc { OTLP_GRPC_PORT } else { OTLP_HTTP_PORT };
        format!("{scheme}://{host}:{port}")
    } else {
        format!("{scheme}://{rest}")
    };
    if protocol == Protocol::Grpc || base.ends_with(HTTP_PATH) { base } else { format!("{base}/{HTTP_PATH}") }
}

#[cfg(test)]
mod tests {
    use super::{Protocol, endpoint_over};

    #[test]
    fn jaegers_old_address_is_read_as_its_otlp_port() {
        for (configured, expected) in [
            ("http://localhost:14268/api/traces", "http://localhost:4317"),
            ("http://jaeger:14268/api/traces/", "http://jaeger:4317"),
            ("http://[::1]:14268/api/traces", "http://[::1]:4317"),
            ("http://jaeger/api/traces", "http://jaeger:4317"),
            ("http://collector:4317", "http://collector:4317"),
            ("https://collector.example/", "https://collector.example"),
            ("collector:4317", "http://collector:4317"),
        ] {
            assert_eq!(endpoint_over(configured, Protocol::Grpc), expected);
        }
    }

    #[test]
    fn over_http_traces_have_a_path() {
        for (configured, expected) in [
            ("http://localhost:14268/api/traces", "http://localhost:4318/v1/traces"),
            ("http://collector:4318", "http://collector:4318/v1/traces"),
            ("https://collector.example/otlp/", "https://collector.example/otlp/v1/traces"),
            ("http://collector:4318/v1/traces", "http://collector:4318/v1/traces"),
        ] {
            assert_eq!(endpoint_over(configured, Protocol::Http), expected);
        }
    }
}
