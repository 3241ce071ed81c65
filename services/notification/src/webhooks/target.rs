//! Which addresses are called: HTTP and HTTPS, and no machine of a private network. A name is looked at when it is
//! registered, and what it resolves to at each call, in the very lookup that the connection is made by.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

/// Why an address is not called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    #[error("must be an absolute URL that begins with https:// or http://")]
    NoUrl,
    #[error("must not hold a user or a password")]
    Credentials,
    #[error("must not have a fragment")]
    Fragment,
    #[error("must not lead into a private network")]
    Private,
}

/// Admits addresses.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Guard {
    pub(crate) allow_private: bool,
}

impl Guard {
    /// The address as a URL that may be called, as far as its text tells.
    pub(crate) fn admit(self, text: &str) -> Result<Url, Refused> {
        let url = Url::parse(text).map_err(|_| Refused::NoUrl)?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(Refused::NoUrl);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Refused::Credentials);
        }
        if url.fragment().is_some() {
            return Err(Refused::Fragment);
        }
        let private = match url.host().ok_or(Refused::NoUrl)? {
            Host::Ipv4(ip) => !is_public(ip.into()),
            Host::Ipv6(ip) => !is_public(ip.into()),
            Host::Domain(name) => {
                let name = name.trim_end_matches('.');
                name.eq_ignore_ascii_case("localhost") || name.to_ascii_lowercase().ends_with(".localhost")
            }
        };
        if private && !self.allow_private { Err(Refused::Private) } else { Ok(url) }
    }
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let allow_private = self.allow_private;
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let admitted: Vec<SocketAddr> = found.filter(|at| allow_private || is_public(at.ip())).collect();
            if admitted.is_empty() {
                return Err(Refused::Private.into());
            }
            Ok(Box::new(admitted.into_iter()) as Addrs)
        })
    }
}

/// Whether the address is one of the public internet (the IANA registries of special-purpose addresses).
fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => is_public_v6(ip),
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    let special = ip.is_private()
        || ip.is_loopback()
        || ip.is_link_local()
        || ip.is_multicast()
        || ip.is_documentation()
        // This network, and what is reserved with the broadcast address.
        || a == 0
        || a >= 240
        // Shared by carriers; protocol assignments; benchmarks.
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && c == 0)
        || (a == 198 && (b == 18 || b == 19));
    !special
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    let segments = ip.segments();
    let embedded = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match segments {
        // IPv4 in IPv6: mapped, compatible, translated (NAT64), 6to4.
        [0, 0, 0, 0, 0, 0xffff | 0, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => {
            embedded(high, low)
        }
        // Local NAT64, Teredo and other assignments, documentation.
        [0x64, 0xff9b, 1, ..] | [0x2001, 0..=0x1ff, ..] | [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => false,
        // All that is global begins with 001.
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN: Guard = Guard { allow_private: false };

    #[test]
    fn public_addresses_are_admitted() {
        for url in ["https://hooks.example.org/x?y=z", "http://93.184.216.34:8080/", "https://[2606:4700::1]/"] {
            assert_eq!(OPEN.admit(url).map(|url| url.to_string()).as_deref(), Ok(url));
        }
    }

    #[test]
    fn private_addresses_in_all_spellings_are_refused() {
        for host in [
            "127.0.0.1",
            "127.1",
            "2130706433",
            "0x7f.1",
            "017700000001",
            "0.0.0.0",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "192.0.0.1",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "localhost",
            "LOCALHOST.",
            "a.localhost",
            "[::1]",
            "[::]",
            "[::ffff:127.0.0.1]",
            "[::127.0.0.1]",
            "[fe80::1]",
            "[fd00::1]",
            "[64:ff9b::10.0.0.1]",
            "[2002:7f00:1::]",
            "[2001:db8::1]",
            "[2001::1]",
            "[ff02::1]",
        ] {
            let url = format!("http://{host}/");
            assert_eq!(OPEN.admit(&url), Err(Refused::Private), "{url}");
            assert!(Guard { allow_private: true }.admit(&url).is_ok(), "{url}");
        }
    }

    #[test]
    fn what_is_no_plain_url_is_refused() {
        for (url, why) in [
            ("ftp://example.org/", Refused::NoUrl),
            ("file:///etc/passwd", Refused::NoUrl),
            ("gopher://example.org/", Refused::NoUrl),
            ("/hooks", Refused::NoUrl),
            ("example.org", Refused::NoUrl),
            ("http://", Refused::NoUrl),
            ("https://user@example.org/", Refused::Credentials),
            ("https://:secret@example.org/", Refused::Credentials),
            ("https://example.org/#part", Refused::Fragment),
        ] {
            assert_eq!(Guard { allow_private: true }.admit(url), Err(why), "{url}");
        }
    }

    #[tokio::test]
    async fn a_name_that_leads_into_a_private_network_is_not_resolved() {
        let resolve = |guard: Guard| guard.resolve("localhost".parse().unwrap());
        let refused = resolve(OPEN).await.err().unwrap();
        assert!(refused.is::<Refused>(), "{refused}");
        assert!(resolve(Guard { allow_private: true }).await.unwrap().next().is_some());
    }
}
