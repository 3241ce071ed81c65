//! The flags of the servers' limits and manners.

use super::values;
use crate::exit::{Code, Failure};
use clap::builder::BoolishValueParser;
use ipnet::IpNet;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;
use web::{AccessLog, EdgeOptions, Rate, TlsFiles};

/// The limits and manners of every HTTP and gRPC server. What is not said is as usual: generous in development, fit for a
/// network otherwise.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Servers: limits and manners")]
pub struct EdgeArgs {
    /// The origins whose pages may call (https://shop.example), or * for all. Without one, only pages of the same origin.
    #[arg(long, value_name = "ORIGIN,…", env = "CORS_ORIGINS", value_delimiter = ',')]
    pub cors_origins: Vec<String>,
    /// The proxies whose X-Forwarded-For is believed, such as 10.0.0.0/8.
    #[arg(long, value_name = "NETWORK,…", env = "TRUSTED_PROXIES", value_delimiter = ',', value_parser = network)]
    pub trusted_proxies: Vec<IpNet>,
    /// Serve TLS with this certificate and those of its issuers (PEM). Of `up`, the gateway alone does.
    #[arg(long, value_name = "FILE", env = "TLS_CERTIFICATE")]
    pub tls_certificate: Option<PathBuf>,
    /// The certificate's private key (PEM). Both files are read again when they change.
    #[arg(long, value_name = "FILE", env = "TLS_KEY")]
    pub tls_key: Option<PathBuf>,
    /// Requests of one address: 100/s, 30/m, 100/s:500 with a burst of 500, or off.
    #[arg(long, value_name = "RATE", env = "RATE_LIMIT_ADDRESS")]
    pub rate_limit_address: Option<Limit>,
    /// Requests with one account's access tokens.
    #[arg(long, value_name = "RATE", env = "RATE_LIMIT_ACCOUNT")]
    pub rate_limit_account: Option<Limit>,
    /// Requests of one address that try a password or make an account.
    #[arg(long, value_name = "RATE", env = "RATE_LIMIT_SIGN_IN")]
    pub rate_limit_sign_in: Option<Limit>,
    /// Connections of a server at once.
    #[arg(long, value_name = "N", env = "CONNECTIONS_MAX", value_parser = clap::value_parser!(u32).range(1..))]
    pub connections_max: Option<u32>,
    /// Requests that a server handles at once.
    #[arg(long, value_name = "N", env = "CONCURRENCY_MAX", value_parser = clap::value_parser!(u32).range(1..))]
    pub concurrency_max: Option<u32>,
    /// Requests that may wait for their turn; more are answered with 503.
    #[arg(long, value_name = "N", env = "QUEUE_MAX")]
    pub queue_max: Option<u32>,
    /// A request's body has at most so many bytes.
    #[arg(long, value_name = "BYTES", env = "BODY_BYTES_MAX", value_parser = clap::value_parser!(u32).range(1024..))]
    pub body_bytes_max: Option<u32>,
    /// A request is answered within this.
    #[arg(long, value_name = "TIME", env = "REQUEST_TIMEOUT", value_parser = values::duration)]
    pub request_timeout: Option<Duration>,
    /// At shutdown, how long a server goes on after it has said that it is not ready.
    #[arg(long, value_name = "TIME", env = "DRAIN_DELAY", value_parser = values::duration)]
    pub drain_delay: Option<Duration>,
    /// Which requests are logged: off, failures or all.
    #[arg(long, value_name = "WHICH", env = "ACCESS_LOG")]
    pub access_log: Option<AccessLog>,
    /// Whether answers over 1 KiB are compressed for those who can read it.
    #[arg(long, value_name = "BOOL", env = "COMPRESSION", value_parser = BoolishValueParser::new())]
    pub compression: Option<bool>,
}

/// A rate, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit(Option<Rate>);

impl FromStr for Limit {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        if text == "off" { Ok(Self(None)) } else { text.parse().map(|rate| Self(Some(rate))) }
    }
}

/// A network, or one address.
fn network(text: &str) -> Result<IpNet, String> {
    let address = || text.parse::<IpAddr>().map(IpNet::from);
    text.parse::<IpNet>().or_else(|_| address()).map_err(|_| "expected a network such as 10.0.0.0/8".to_owned())
}

impl EdgeArgs {
    /// What is usual, with what was said instead.
    ///
    /// # Errors
    /// A certificate without its key, or the other way round.
    pub fn options(&self, usual: EdgeOptions) -> Result<EdgeOptions, Failure> {
        let mut options = usual;
        let count = |given: Option<u32>, usual: usize| given.map_or(usual, |given| given as usize);
        options.connections_max = count(self.connections_max, options.connections_max);
        options.concurrency_max = count(self.concurrency_max, options.concurrency_max);
        options.queue_max = count(self.queue_max, options.queue_max);
        options.body_bytes_max = count(self.body_bytes_max, options.body_bytes_max);
        options.request_timeout = self.request_timeout.unwrap_or(options.request_timeout);
        options.drain_delay = self.drain_delay.unwrap_or(options.drain_delay);
        options.access_log = self.access_log.unwrap_or(options.access_log);
        options.compression = self.compression.unwrap_or(options.compression);
        let limits = &mut options.rate_limits;
        for (given, limit) in [
            (self.rate_limit_address, &mut limits.address),
            (self.rate_limit_account, &mut limits.account),
            (self.rate_limit_sign_in, &mut limits.sign_in),
        ] {
            if let Some(Limit(given)) = given {
                *limit = given;
            }
        }
        if !self.cors_origins.is_empty() {
            options.cors_origins.clone_from(&self.cors_origins);
        }
        if !self.trusted_proxies.is_empty() {
            options.trusted_proxies.clone_from(&self.trusted_proxies);
        }
        options.tls = self.tls()?.or(options.tls);
        Ok(options)
    }

    fn tls(&self) -> Result<Option<TlsFiles>, Failure> {
        let given = |path: &Option<PathBuf>| path.clone().filter(|path| !path.as_os_str().is_empty());
        match (given(&self.tls_certificate), given(&self.tls_key)) {
            (Some(certificate), Some(key)) => Ok(Some(TlsFiles { certificate, key })),
            (None, None) => Ok(None),
            _ => Err(Failure::new(Code::Usage, "TLS needs both, TLS_CERTIFICATE and TLS_KEY")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Args, Command};
    use clap::Parser;

    fn parsed(line: &[&str]) -> Result<EdgeOptions, Failure> {
        match Args::parse_from([&["sagashop", "up"], line].concat()).command {
            Command::Up(up) => up.edge.options(EdgeOptions::default()),
            other => panic!("{other:?}"),
        }
    }

    fn options(line: &[&str]) -> EdgeOptions {
        parsed(line).expect("options")
    }

    #[test]
    fn what_is_not_said_is_as_usual() {
        assert_eq!(options(&[]), EdgeOptions::default());
    }

    #[test]
    fn what_is_said_counts() {
        let line =
            ["--rate-limit-address", "5/s:10", "--rate-limit-account", "off", "--cors-origins", "https://a,https://b"];
        let options =
            options(&[&line[..], &["--trusted-proxies", "10.0.0.0/8,192.0.2.7", "--compression", "no"]].concat());
        assert_eq!(options.rate_limits.address, Some(Rate::per_second(5).burst(10)));
        assert_eq!(options.rate_limits.account, None);
        assert_eq!(options.rate_limits.sign_in, EdgeOptions::default().rate_limits.sign_in);
        assert_eq!(options.cors_origins, ["https://a", "https://b"]);
        assert_eq!(
            options.trusted_proxies.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["10.0.0.0/8", "192.0.2.7/32"]
        );
        assert!(!options.compression);
    }

    #[test]
    fn half_of_tls_is_refused() {
        let error = parsed(&["--tls-key", "key.pem"]).expect_err("refused");
        assert!(error.message.contains("TLS_CERTIFICATE"), "{error}");
        assert!(options(&["--tls-key", "key.pem", "--tls-certificate", "chain.pem"]).tls.is_some());
    }
}
