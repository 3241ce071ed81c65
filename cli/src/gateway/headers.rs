//! Headers that concern one connection do not pass; what only a proxy may say, the gateway says itself.

use super::PREFIX;
use poem::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use std::net::IpAddr;

/// Between two neighbours only (RFC 9110, 7.6.1), whatever `Connection` says.
const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
/// What proxies say of the caller. A caller who says it claims to be somebody else.
const FORWARDED: [&str; 7] = [
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-real-ip",
];
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// The headers of a request as a service gets them. A neighbour that is trusted says whom the request is from.
pub(super) fn onward(mut headers: HeaderMap, from: Option<IpAddr>, is_trusted: bool) -> HeaderMap {
    remove_hop_by_hop(&mut headers);
    let before = headers.get(X_FORWARDED_FOR).filter(|_| is_trusted).and_then(|value| value.to_str().ok());
    let before = before.map(|before| format!("{before}, ")).unwrap_or_default();
    for name in FORWARDED {
        headers.remove(name);
    }
    // The gateway itself has asked for the body; the service has its own name.
    headers.remove(header::EXPECT);
    if let Some(host) = headers.remove(header::HOST) {
        headers.insert(X_FORWARDED_HOST, host);
    }
    if let Some(from) = from.and_then(|from| HeaderValue::from_str(&format!("{before}{from}")).ok()) {
        headers.insert(X_FORWARDED_FOR, from);
    }
    headers
}

/// The headers of an answer as the caller gets them. A `Location` of a service's own leads through the gateway.
pub(super) fn back(mut headers: HeaderMap, is_ours: impl Fn(&str) -> bool) -> HeaderMap {
    remove_hop_by_hop(&mut headers);
    let moved = headers.get(header::LOCATION).and_then(|location| {
        let location = location.to_str().ok()?;
        let path = location.split(['?', '#']).next().unwrap_or(location);
        is_ours(path).then(|| HeaderValue::from_str(&format!("{PREFIX}{location}")).ok())?
    });
    if let Some(location) = moved {
        headers.insert(header::LOCATION, location);
    }
    headers
}

fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
}

/// Whether a path has a segment that means another folder, as it is or encoded: some program behind us may go there.
pub(super) fn is_devious(path: &str) -> bool {
    path.split('/').any(|segment| matches!(segment.to_ascii_lowercase().replace("%2e", ".").as_str(), "." | ".."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        pairs.collect()
    }

    #[test]
    fn what_concerns_one_connection_stays_there() {
        let sent = headers(&[
            ("connection", "close, X-Mine"),
            ("x-mine", "1"),
            ("transfer-encoding", "chunked"),
            ("te", "trailers"),
            ("upgrade", "websocket"),
            ("accept", "*/*"),
            ("idempotency-key", "k"),
        ]);
        let passed = onward(sent.clone(), None, false);
        assert_eq!(passed, headers(&[("accept", "*/*"), ("idempotency-key", "k")]));
        assert_eq!(back(sent, |_| false), headers(&[("accept", "*/*"), ("idempotency-key", "k")]));
    }

    #[test]
    fn a_caller_cannot_claim_to_be_another() {
        let sent = headers(&[
            ("x-forwarded-for", "10.0.0.1"),
            ("forwarded", "for=10.0.0.1"),
            ("x-real-ip", "10.0.0.1"),
            ("host", "shop.example"),
        ]);
        let from = Some("192.0.2.7".parse().expect("an address"));
        let passed = onward(sent.clone(), from, false);
        assert_eq!(passed, headers(&[("x-forwarded-for", "192.0.2.7"), ("x-forwarded-host", "shop.example")]));
        assert_eq!(onward(sent, from, true)["x-forwarded-for"], "10.0.0.1, 192.0.2.7");
    }

    #[test]
    fn a_location_leads_through_the_gateway() {
        let ours = |path: &str| path.starts_with("/orders");
        let location = |value| back(headers(&[("location", value)]), ours)[header::LOCATION].clone();
        assert_eq!(location("/orders/7?wait=1s"), "/api/v1/orders/7?wait=1s");
        assert_eq!(location("/elsewhere"), "/elsewhere");
        assert_eq!(location("https://pay.example/orders"), "https://pay.example/orders");
    }

    #[test]
    fn ways_out_of_a_folder_are_seen() {
        for path in ["/api/v1/orders/../metrics", "/api/v1/orders/%2E%2e/metrics", "/api/v1/./orders", "/.%2e"] {
            assert!(is_devious(path), "{path}");
        }
        for path in ["/api/v1/orders/7", "/.well-known/jwks.json", "/a/...", "/a..b"] {
            assert!(!is_devious(path), "{path}");
        }
    }
}
