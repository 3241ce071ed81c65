//! What the edges of a service are told.

use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, bail};
use ipnet::IpNet;

/// The limits and manners of a service's HTTP and gRPC servers. [`EdgeOptions::default`] is fit for a network,
/// [`EdgeOptions::development`] for one machine whose user is trusted.
#[derive(Debug, Clone, PartialEq)]
pub struct EdgeOptions {
    /// A request's body, or a gRPC message, has at most so many bytes; routes may say otherwise
    /// ([`App::body_limit`](crate::App::body_limit)).
    pub body_bytes_max: usize,
    /// A request's body arrives within this.
    pub body_timeout: Duration,
    /// A request's line and headers have at most so many bytes.
    pub header_bytes_max: usize,
    /// A request has at most so many headers.
    pub headers_max: usize,
    /// A request's line and headers arrive within this.
    pub header_timeout: Duration,
    /// A connection on which nothing is asked is closed after this; so is one whose other end does not read its answer.
    pub idle_timeout: Duration,
    /// A request is answered within this; routes may say otherwise ([`App::timeout`](crate::App::timeout)).
    pub request_timeout: Duration,
    /// Connections at once; more are turned away. The process' limit of open files may allow fewer.
    pub connections_max: usize,
    /// Requests handled at once; more wait. Health checks and metrics neither count nor wait, and long polls have a bound
    /// of their own.
    pub concurrency_max: usize,
    /// Requests that may wait for their turn; more are turned away with 503.
    pub queue_max: usize,
    /// The longest that one waits for its turn. Where the queue has not been empty for a while, it is a tenth of this.
    pub queue_timeout: Duration,
    /// How many requests one caller may send.
    pub rate_limits: RateLimits,
    /// The origins whose pages may call (`https://shop.example.org`), or `*` for all. None: no other origin may.
    pub cors_origins: Vec<String>,
    /// Whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Serve TLS, with these files.
    pub tls: Option<TlsFiles>,
    /// Where metrics, health and the log's level are answered too, and nothing else: a port that need not be open to those
    /// who use the shop.
    pub admin_listen: Option<SocketAddr>,
    /// Whether answers over 1 KiB are compressed for those who can read it.
    pub compression: bool,
    /// Which requests are logged.
    pub access_log: AccessLog,
    /// Between the moment at which the service calls itself not ready and the one at which it takes no more connections.
    pub drain_delay: Duration,
    /// Requests in flight at shutdown have this long to end.
    pub shutdown_timeout: Duration,
}

impl EdgeOptions {
    /// As the default, but with rates that one caller on the same machine does not reach, and proxies there believed.
    pub fn development() -> Self {
        let local = ["127.0.0.0/8", "::1/128"].into_iter().filter_map(|net| net.parse().ok());
        Self { rate_limits: RateLimits::development(), trusted_proxies: local.collect(), ..Self::default() }
    }
}

impl Default for EdgeOptions {
    fn default() -> Self {
        Self {
            body_bytes_max: 1024 * 1024,
            body_timeout: Duration::from_secs(10),
            header_bytes_max: 16 * 1024,
            headers_max: 64,
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            request_timeout: Duration::from_secs(30),
            connections_max: 16_384,
            concurrency_max: 512,
            queue_max: 2_048,
            queue_timeout: Duration::from_millis(500),
            rate_limits: RateLimits::default(),
            cors_origins: Vec::new(),
            trusted_proxies: Vec::new(),
            tls: None,
            admin_listen: None,
            compression: true,
            access_log: AccessLog::default(),
            drain_delay: Duration::ZERO,
            shutdown_timeout: Duration::from_secs(5),
        }
    }
}

/// The files that TLS is served with; they are read again when they change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate and those of its issuers, PEM.
    pub certificate: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
}

/// Which requests are logged, one line each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AccessLog {
    /// None.
    Off,
    /// Those that failed on our side.
    #[default]
    Failures,
    /// All but health checks and metrics.
    All,
}

impl FromStr for AccessLog {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        Ok(match text {
            "off" => Self::Off,
            "failures" => Self::Failures,
            "all" => Self::All,
            _ => bail!("{text:?} is none of off, failures and all"),
        })
    }
}

/// How many requests one caller may send. None: as many as they like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimits {
    /// From one address; of IPv6 the first 64 bits are an address.
    pub address: Option<Rate>,
    /// With one account's access tokens.
    pub account: Option<Rate>,
    /// From one address to the routes that try a password or make an account ([`App::guarded`](crate::App::guarded)).
    pub sign_in: Option<Rate>,
}

impl RateLimits {
    /// Rates that one caller on the same machine does not reach.
    pub fn development() -> Self {
        let (plenty, some) = (Rate::per_second(200_000), Rate::per_second(100).burst(2_000));
        Self { address: Some(plenty), account: Some(plenty), sign_in: Some(some) }
    }
}

impl Default for RateLimits {
    fn default() -> Self {
        Self {
            address: Some(Rate::per_second(1_000).burst(5_000)),
            account: Some(Rate::per_second(500).burst(2_500)),
            sign_in: Some(Rate::per_second(5).burst(100)),
        }
    }
}

/// So many in a time, and so many at once: `100/s`, `30/m`, or `100/s:500` with a burst of 500.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// So many …
    pub count: NonZeroU32,
    /// … in this time …
    pub per: Duration,
    /// … and at most so many at once.
    pub burst: NonZeroU32,
}

impl Rate {
    /// So many a second, all of them at once if need be. None at all counts as one.
    pub fn per_second(count: u32) -> Self {
        let count = NonZeroU32::new(count).unwrap_or(NonZeroU32::MIN);
        Self { count, per: Duration::from_secs(1), burst: count }
    }

    /// With another number at once.
    #[must_use]
    pub fn burst(self, burst: u32) -> Self {
        Self { burst: NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN), ..self }
    }

    /// The time in which one more is allowed.
    pub fn period(&self) -> Duration {
        // A rate beyond one a nanosecond is none.
        (self.per / self.count.get()).max(Duration::from_nanos(1))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.per.as_secs() {
            3_600 => 'h',
            60 => 'm',
            _ => 's',
        };
        write!(f, "{}/{unit}", self.count)?;
        if self.burst == self.count { Ok(()) } else { write!(f, ":{}", self.burst) }
    }
}

impl FromStr for Rate {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let form = || format!("{text:?} is no rate such as 100/s, 30/m or 100/s:500");
        let (rate, burst) = text.split_once(':').map_or((text, None), |(rate, burst)| (rate, Some(burst)));
        let (count, unit) = rate.split_once('/').with_context(form)?;
        let count = count.parse::<NonZeroU32>().with_context(form)?;
        let per = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3_600,
            _ => bail!(form()),
        };
        let burst = burst.map_or(Ok(count), |burst| burst.parse().with_context(form))?;
        Ok(Self { count, per: Duration::from_secs(per), burst })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_as_they_are_written() {
        for text in ["100/s", "30/m", "5/h", "100/s:500", "1/m:20"] {
            assert_eq!(text.parse::<Rate>().unwrap().to_string(), text);
        }
        for wrong in ["", "100", "0/s", "100/d", "100/s:", "100/s:0", "-1/s", "x/s"] {
            assert!(wrong.parse::<Rate>().is_err(), "{wrong}");
        }
        assert_eq!("30/m".parse::<Rate>().unwrap().period(), Duration::from_secs(2));
    }

    #[test]
    fn the_access_log_is_chosen_by_a_word() {
        assert_eq!("all".parse::<AccessLog>().unwrap(), AccessLog::All);
        assert!("ALL!".parse::<AccessLog>().is_err());
    }
}
