//! Where spans are sent.

/// The port on which collectors, Jaeger among them, take OTLP over gRPC.
const OTLP_GRPC_PORT: u16 = 4317;
/// The port of Jaeger's own, retired protocol.
const JAEGER_COLLECTOR_PORT: &str = "14268";

/// The OTLP/gRPC address that a configured one stands for.
///
/// `JAEGER_ENDPOINT` used to name Jaeger's collector, `http://host:14268/api/traces`. That protocol is retired, and the
/// same Jaeger takes OTLP on port 4317: such an address is read as `http://host:4317`. Any other is taken as it is, with
/// `http://` in front where the scheme is missing.
pub fn otlp_endpoint(configured: &str) -> String {
    let configured = configured.trim().trim_end_matches('/');
    let (scheme, rest) = configured.split_once("://").unwrap_or(("http", configured));
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (host, port) = match authority.rsplit_once(':') {
        // A colon inside brackets belongs to an IPv6 address.
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    if port == Some(JAEGER_COLLECTOR_PORT) || path == "api/traces" {
        return format!("{scheme}://{host}:{OTLP_GRPC_PORT}");
    }
    format!("{scheme}://{rest}")
}

#[cfg(test)]
mod tests {
    use super::otlp_endpoint;

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
            assert_eq!(otlp_endpoint(configured), expected);
        }
    }
}
