//! The mail server: where it is, and how one gets to it.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use domain::notification::Failure;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{AsyncSmtpConnection, Certificate, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::transport::smtp::{SMTP_PORT, SUBMISSION_PORT, SUBMISSIONS_PORT};
use tokio::net::TcpStream;
use url::{Host, Url};

use super::failed;
use crate::channel::Unsent;

/// A connection is made within this.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A mail server.
pub(super) struct Server {
    host: String,
    port: u16,
    tls: Tls,
    credentials: Option<Credentials>,
    hello: ClientId,
}

/// When the connection is made private.
enum Tls {
    Never,
    /// By STARTTLS, where the server offers it.
    IfOffered(TlsParameters),
    /// By STARTTLS.
    Required(TlsParameters),
    /// From the first byte.
    Implicit(TlsParameters),
}

impl Server {
    /// The server of a URL; `ca` is a PEM file with more roots of trust.
    pub(super) fn parse(url: &str, ca: Option<&Path>) -> anyhow::Result<Self> {
        const WHAT: &str = "the SMTP address cannot be read: it is smtp://user:password@host:port";
        // Never with the parser's own words: they may repeat the password.
        let url = Url::parse(url).map_err(|_| anyhow::anyhow!(WHAT))?;
        let host = url.host_str().filter(|host| !host.is_empty()).context(WHAT)?;
        let host = host.trim_matches(['[', ']']).to_owned();
        let wish = url.query_pairs().find(|(name, _)| name == "tls").map(|(_, value)| value.into_owned());
        let tls = match (url.scheme(), wish.as_deref()) {
            ("smtps", None | Some("required")) => Tls::Implicit(parameters(&host, ca)?),
            ("smtp", None) => Tls::Never,
            ("smtp", Some("opportunistic")) => Tls::IfOffered(parameters(&host, ca)?),
            ("smtp", Some("required")) => Tls::Required(parameters(&host, ca)?),
            ("smtp" | "smtps", _) => bail!("tls= of the SMTP address is required or opportunistic"),
            _ => bail!(WHAT),
        };
        let credentials = credentials(&url).context(WHAT)?;
        let in_the_clear = credentials.is_some() && matches!(tls, Tls::Never | Tls::IfOffered(_));
        ensure!(
            !in_the_clear || is_local(&url),
            "the SMTP password would be sent in the clear: use smtps://, or add ?tls=required"
        );
        let port = url.port().unwrap_or(match tls {
            Tls::Never | Tls::IfOffered(_) => SMTP_PORT,
            Tls::Required(_) => SUBMISSION_PORT,
            Tls::Implicit(_) => SUBMISSIONS_PORT,
        });
        Ok(Self { host, port, tls, credentials, hello: ClientId::default() })
    }

    /// A new connection, ready for mails.
    pub(super) async fn connect(&self) -> Result<AsyncSmtpConnection, Unsent> {
        let mut connection = match &self.tls {
            Tls::Implicit(tls) => self.connect_privately(tls).await?,
            Tls::Never | Tls::IfOffered(_) | Tls::Required(_) => self.connect_openly().await?,
        };
        let private = match &self.tls {
            Tls::IfOffered(tls) if connection.can_starttls() => Some(tls),
            Tls::Required(tls) => Some(tls),
            Tls::Never | Tls::IfOffered(_) | Tls::Implicit(_) => None,
        };
        if let Some(tls) = private {
            connection.starttls(tls.clone(), &self.hello).await.map_err(|error| failed(&error))?;
        }
        if let Some(credentials) = &self.credentials {
            connection.auth(DEFAULT_MECHANISMS, credentials).await.map_err(|error| failed(&error))?;
        }
        Ok(connection)
    }

    async fn connect_openly(&self) -> Result<AsyncSmtpConnection, Unsent> {
        let connecting = TcpStream::connect((self.host.as_str(), self.port));
        let connected = tokio::time::timeout(CONNECT_TIMEOUT, connecting).await.map_err(|_| Failure::TimedOut)?;
        let stream = connected.map_err(|_| Failure::Unreachable)?;
        // A mail and its last line are two writes.
        stream.set_nodelay(true).map_err(|_| Failure::Unreachable)?;
        let greeted = AsyncSmtpConnection::connect_with_transport(Box::new(stream), &self.hello).await;
        greeted.map_err(|error| failed(&error))
    }

    async fn connect_privately(&self, tls: &TlsParameters) -> Result<AsyncSmtpConnection, Unsent> {
        let (address, tls) = ((self.host.as_str(), self.port), Some(tls.clone()));
        let connected = AsyncSmtpConnection::connect_tokio1(address, Some(CONNECT_TIMEOUT), &self.hello, tls, None);
        connected.await.map_err(|error| failed(&error))
    }
}

fn parameters(host: &str, ca: Option<&Path>) -> anyhow::Result<TlsParameters> {
    let mut builder = TlsParameters::builder(host.to_owned());
    if let Some(path) = ca {
        let pem = std::fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?;
        let certificate =
            Certificate::from_pem(&pem).with_context(|| format!("{} holds no certificates", path.display()))?;
        builder = builder.add_root_certificate(certificate);
    }
    builder.build().context("TLS to the mail server cannot be set up")
}

/// User and password of the URL, if it has them. None: they cannot be read.
fn credentials(url: &Url) -> Option<Option<Credentials>> {
    let Some(password) = url.password() else { return url.username().is_empty().then_some(None) };
    let decoded =
        |text: &str| percent_encoding::percent_decode_str(text).decode_utf8().ok().map(std::borrow::Cow::into_owned);
    Some(Some(Credentials::new(decoded(url.username())?, decoded(password)?)))
}

/// Whether the server is on this machine, where nobody listens in.
fn is_local(url: &Url) -> bool {
    match url.host() {
        // Schemes that URLs do not know have their hosts as names.
        Some(Host::Domain(name)) => {
            name == "localhost" || name.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
        }
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(url: &str) -> String {
        format!("{:#}", Server::parse(url, None).err().unwrap_or_else(|| panic!("{url} is taken")))
    }

    #[test]
    fn an_address_says_where_and_how() {
        for (url, host, port) in [
            ("smtp://mail.example.org", "mail.example.org", 25),
            ("smtp://127.0.0.1:2525", "127.0.0.1", 2525),
            ("smtp://[::1]:2525", "::1", 2525),
            ("smtp://u:p@mail.example.org?tls=required", "mail.example.org", 587),
            ("smtps://u%40x:p%2Fw@mail.example.org", "mail.example.org", 465),
            ("smtp://u:p@localhost:25", "localhost", 25),
        ] {
            let server = Server::parse(url, None).unwrap_or_else(|error| panic!("{url}: {error:#}"));
            assert_eq!((server.host.as_str(), server.port), (host, port), "{url}");
        }
    }

    #[test]
    fn what_cannot_be_used_is_refused_without_its_password() {
        for url in ["mail://u:hunter2@h", "smtp://", "hunter2", "smtp://u@h", "smtp://u:hunter2@h:x", "smtp://h?tls=no"]
        {
            let why = refused(url);
            assert!(why.contains("SMTP address") && !why.contains("hunter2"), "{url}: {why}");
        }
        for url in ["smtp://u:hunter2@mail.example.org", "smtp://u:hunter2@10.0.0.1?tls=opportunistic"] {
            let why = refused(url);
            assert!(why.contains("in the clear") && !why.contains("hunter2"), "{url}: {why}");
        }
    }
}
