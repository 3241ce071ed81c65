//! Connections that others cannot read, and that say who makes them.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rskafka::client::{Credentials, SaslConfig};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

/// TLS to the brokers, whose certificates are checked.
#[derive(Clone)]
pub struct KafkaTls(Arc<ClientConfig>);

/// Why TLS cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KafkaTlsError {
    /// The file is not there, or holds no certificates.
    #[error("no certificates in {path}: {reason}")]
    File {
        /// The file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The machine has no certificates of its own.
    #[error("this machine has no certificates to trust: name a file with those of the brokers' issuer")]
    NoRoots,
}

impl KafkaTls {
    /// Trusts whom this machine trusts, or only those in a PEM file.
    ///
    /// # Errors
    /// There are no certificates.
    pub fn new(ca_file: Option<&Path>) -> Result<Self, KafkaTlsError> {
        let mut roots = RootCertStore::empty();
        match ca_file {
            Some(path) => {
                let error = |reason: String| KafkaTlsError::File { path: path.display().to_string(), reason };
                let certificates = CertificateDer::pem_file_iter(path).map_err(|reason| error(reason.to_string()))?;
                for certificate in certificates {
                    let certificate = certificate.map_err(|reason| error(reason.to_string()))?;
                    roots.add(certificate).map_err(|reason| error(reason.to_string()))?;
                }
                if roots.is_empty() {
                    return Err(error("there are none".to_owned()));
                }
            }
            None => {
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
                if roots.is_empty() {
                    return Err(KafkaTlsError::NoRoots);
                }
            }
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        // The provider has what the versions need: both are this crate's own choice.
        let config = config.map_err(|_| KafkaTlsError::NoRoots)?;
        Ok(Self(Arc::new(config.with_root_certificates(roots).with_no_client_auth())))
    }

    pub(super) fn config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.0)
    }
}

impl fmt::Debug for KafkaTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KafkaTls")
    }
}

/// How a password is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SaslMechanism {
    /// As it is: only inside TLS.
    Plain,
    /// Without giving it away (RFC 7677).
    ScramSha256,
    /// The same with a longer hash.
    ScramSha512,
}

/// Who we are to the brokers.
#[derive(Clone)]
pub struct KafkaSasl {
    /// How the password is shown.
    pub mechanism: SaslMechanism,
    /// The name.
    pub username: String,
    /// The password.
    pub password: String,
}

impl KafkaSasl {
    pub(super) fn config(&self) -> SaslConfig {
        let credentials = Credentials::new(self.username.clone(), self.password.clone());
        match self.mechanism {
            SaslMechanism::Plain => SaslConfig::Plain(credentials),
            SaslMechanism::ScramSha256 => SaslConfig::ScramSha256(credentials),
            SaslMechanism::ScramSha512 => SaslConfig::ScramSha512(credentials),
        }
    }
}

impl fmt::Debug for KafkaSasl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the password: what is printed is read by others.
        let mut said = f.debug_struct("KafkaSasl");
        said.field("mechanism", &self.mechanism).field("username", &self.username).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_not_printed() {
        let (username, password) = ("shop".to_owned(), "hunter2".to_owned());
        let sasl = KafkaSasl { mechanism: SaslMechanism::ScramSha512, username, password };
        let said = format!("{sasl:?}");
        assert!(said.contains("shop") && !said.contains("hunter2"), "{said}");
    }

    #[test]
    fn a_file_without_certificates_is_refused_by_its_name() {
        let error = KafkaTls::new(Some(Path::new("/nowhere/ca.pem"))).unwrap_err();
        assert!(error.to_string().contains("/nowhere/ca.pem"), "{error}");
    }
}
