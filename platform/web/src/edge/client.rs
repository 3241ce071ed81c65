//! Whose request it is, where a proxy stands between.

use std::net::IpAddr;

use ipnet::IpNet;
use poem::http::HeaderMap;

/// What proxies write down whom they speak for in: the nearest one last.
const FORWARDED_FOR: &str = "x-forwarded-for";

/// The address of the caller: the connection's other end; where that is a trusted proxy, the last address that it names
/// and that is none itself.
pub(super) fn address(headers: &HeaderMap, remote: Option<IpAddr>, trusted: &[IpNet]) -> Option<IpAddr> {
    let is_trusted = |address: IpAddr| trusted.iter().any(|net| net.contains(&address.to_canonical()));
    let mut nearest = remote?.to_canonical();
    if trusted.is_empty() || !is_trusted(nearest) {
        return Some(nearest);
    }
    let named = headers.get_all(FORWARDED_FOR).iter().filter_map(|value| value.to_str().ok());
    let named = named.flat_map(|value| value.split(',')).collect::<Vec<_>>();
    for address in named.into_iter().rev() {
        // What cannot be read was not written by a proxy of ours: nothing before it can be believed.
        let Ok(address) = address.trim().parse::<IpAddr>() else { break };
        nearest = address.to_canonical();
        if !is_trusted(nearest) {
            break;
        }
    }
    Some(nearest)
}

#[cfg(test)]
mod tests {
    use poem::http::HeaderValue;

    use super::*;

    #[test]
    fn only_trusted_proxies_are_believed() {
        let trusted = ["10.0.0.0/8".parse().unwrap()];
        let of = |remote: &str, forwarded: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(FORWARDED_FOR, HeaderValue::from_static(forwarded));
            address(&headers, Some(remote.parse().unwrap()), &trusted).unwrap().to_string()
        };
        assert_eq!(of("192.0.2.1", "198.51.100.7"), "192.0.2.1");
        assert_eq!(of("10.0.0.1", "198.51.100.7"), "198.51.100.7");
        assert_eq!(of("10.0.0.1", "203.0.113.9, 198.51.100.7, 10.0.0.2"), "198.51.100.7");
        assert_eq!(of("10.0.0.1", "forged, 10.0.0.2"), "10.0.0.2");
        assert_eq!(of("10.0.0.1", "198.51.100.7, nonsense"), "10.0.0.1");
        assert_eq!(of("::ffff:10.0.0.1", "2001:db8::1"), "2001:db8::1");
    }
}
