//! TLS, with files that may change while they are served.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, ensure};
use parking_lot::Mutex;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::TlsFiles;

/// How often the files are looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// A handshake is done within this.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// A server's side of TLS.
pub(crate) struct Tls {
    files: TlsFiles,
    protocols: Vec<Vec<u8>>,
    current: Mutex<Current>,
}

struct Current {
    config: Arc<ServerConfig>,
    certificate: CertificateDer<'static>,
    changed: [Option<SystemTime>; 2],
    looked_at: Instant,
}

impl Tls {
    /// TLS with these files, for these protocols (ALPN).
    ///
    /// # Errors
    /// Files that cannot be read, or that do not belong together.
    pub fn new(files: TlsFiles, protocols: &[&str]) -> anyhow::Result<Self> {
        let protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect::<Vec<_>>();
        let changed = changed(&files);
        let (config, certificate) = load(&files, &protocols)?;
        let current = Mutex::new(Current { config, certificate, changed, looked_at: Instant::now() });
        Ok(Self { files, protocols, current })
    }

    /// Shakes hands on a connection.
    ///
    /// # Errors
    /// The other end speaks no TLS that we do, or is too slow.
    pub async fn accept(&self, stream: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
        let accepting = TlsAcceptor::from(self.config()).accept(stream);
        tokio::time::timeout(HANDSHAKE_TIMEOUT, accepting).await?
    }

    /// What is served now. Files that changed are read again; while they cannot be used, the last good ones are.
    fn config(&self) -> Arc<ServerConfig> {
        let mut current = self.current.lock();
        if current.looked_at.elapsed() >= LOOK_INTERVAL {
            self.look(&mut current);
        }
        Arc::clone(&current.config)
    }

    fn look(&self, current: &mut Current) {
        current.looked_at = Instant::now();
        let changed = changed(&self.files);
        if changed == current.changed {
            return;
        }
        match load(&self.files, &self.protocols) {
            Ok((config, certificate)) => {
                tracing::info!(tls.certificate = %self.files.certificate.display(), "new certificate");
                (current.config, current.certificate, current.changed) = (config, certificate, changed);
            }
            Err(error) => tracing::warn!(error = format!("{error:#}"), "the new certificate cannot be used"),
        }
    }
}

#[cfg(test)]
impl Tls {
    /// Looks at the files now.
    pub fn look_now(&self) {
        self.look(&mut self.current.lock());
    }

    /// The certificate that is served.
    pub fn served(&self) -> CertificateDer<'static> {
        self.current.lock().certificate.clone()
    }
}

fn changed(files: &TlsFiles) -> [Option<SystemTime>; 2] {
    [&files.certificate, &files.key].map(|path| path.metadata().and_then(|metadata| metadata.modified()).ok())
}

fn load(files: &TlsFiles, protocols: &[Vec<u8>]) -> anyhow::Result<(Arc<ServerConfig>, CertificateDer<'static>)> {
    let (certificates, key) = (certificates(&files.certificate)?, &files.key);
    let key = PrivateKeyDer::from_pem_file(key).with_context(|| format!("no private key in {}", key.display()))?;
    let own = certificates[0].clone();
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(certificates, key)
        .context("the certificate and the key do not belong together")?;
    config.alpn_protocols = protocols.to_vec();
    Ok((Arc::new(config), own))
}

fn certificates(path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let cannot = || format!("no certificate in {}", path.display());
    let read = CertificateDer::pem_file_iter(path).with_context(cannot)?;
    let certificates = read.collect::<Result<Vec<_>, _>>().with_context(cannot)?;
    ensure!(!certificates.is_empty(), cannot());
    Ok(certificates)
}
