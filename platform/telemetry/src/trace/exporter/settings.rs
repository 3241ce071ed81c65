//! `OTEL_EXPORTER_OTLP_*`, with the variables of traces alone before those of everything.
//! <https://opentelemetry.io/docs/specs/otel/protocol/exporter/>

use std::env::VarError;
use std::time::Duration;

use anyhow::Context as _;

use crate::endpoint::{self, Protocol};

/// One request to the collector, with what is repeated of it, ends after this.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Where spans go, and in whose name.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) transport: Transport,
    /// Whether the process is one role: then `OTEL_SERVICE_NAME` is its name.
    pub(crate) alone: bool,
    /// `service.instance.id`.
    pub(crate) instance: String,
    /// `service.version`.
    pub(crate) version: &'static str,
}

/// How spans get to the collector.
#[derive(Debug, Clone)]
pub(crate) struct Transport {
    pub(super) endpoint: String,
    pub(super) protocol: Protocol,
    pub(super) timeout: Duration,
    /// Names and values; the values may be secrets.
    pub(super) headers: Vec<(String, String)>,
    /// Who signs the collector's certificate, as PEM: whom the system trusts, where nobody is named.
    pub(super) certificate: Option<Vec<u8>>,
}

impl Transport {
    /// The way to the collector at `endpoint`.
    ///
    /// # Errors
    /// A variable that cannot be read, or a certificate that is not there.
    pub(crate) fn of_environment(endpoint: &str, protocol: Protocol) -> anyhow::Result<Self> {
        let timeout = match variable("TIMEOUT")? {
            Some(text) => {
                let ms = text.trim().parse().with_context(|| format!("a timeout is in ms, and not {text:?}"))?;
                Duration::from_millis(ms)
            }
            None => TIMEOUT,
        };
        let certificate = variable("CERTIFICATE")?.map(|path| {
            std::fs::read(&path).with_context(|| format!("the collector's certificate {path} cannot be read"))
        });
        Ok(Self {
            endpoint: endpoint::endpoint_over(endpoint, protocol),
            protocol,
            timeout,
            headers: variable("HEADERS")?.map(|text| headers(&text)).transpose()?.unwrap_or_default(),
            certificate: certificate.transpose()?,
        })
    }
}

/// `OTEL_EXPORTER_OTLP_TRACES_<name>`, or `OTEL_EXPORTER_OTLP_<name>`.
fn variable(name: &str) -> anyhow::Result<Option<String>> {
    for name in [format!("OTEL_EXPORTER_OTLP_TRACES_{name}"), format!("OTEL_EXPORTER_OTLP_{name}")] {
        match std::env::var(&name) {
            Ok(text) if !text.trim().is_empty() => return Ok(Some(text)),
            Ok(_) | Err(VarError::NotPresent) => {}
            Err(VarError::NotUnicode(_)) => anyhow::bail!("{name} is no text"),
        }
    }
    Ok(None)
}

/// `name=value,name=value`, the values percent-encoded.
fn headers(text: &str) -> anyhow::Result<Vec<(String, String)>> {
    let pairs = text.split(',').map(str::trim).filter(|pair| !pair.is_empty());
    let header = |pair: &str| {
        // The value may be a secret, and is not repeated.
        let (name, value) = pair.split_once('=').context("a header of OTEL_EXPORTER_OTLP_HEADERS is name=value")?;
        let value = percent_encoding::percent_decode_str(value.trim()).decode_utf8();
        let value = value.with_context(|| format!("the header {name} of OTEL_EXPORTER_OTLP_HEADERS is no text"))?;
        Ok((name.trim().to_owned(), value.into_owned()))
    };
    pairs.map(header).collect()
}

#[cfg(test)]
mod tests {
    use super::headers;

    #[test]
    fn headers_are_pairs() {
        let read = headers(" authorization=Bearer%20a%3Db , x-tenant = shop,").unwrap();
        let expected = [("authorization", "Bearer a=b"), ("x-tenant", "shop")];
        assert_eq!(read, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert!(headers("").unwrap().is_empty());
        let error = headers("Bearer%20secret").unwrap_err().to_string();
        assert!(!error.contains("secret"), "{error}");
    }
}
