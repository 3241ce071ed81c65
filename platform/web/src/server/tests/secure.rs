//! TLS.

use std::path::Path;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use tempfile::TempDir;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::*;
use crate::TlsFiles;

/// Writes a new certificate for `localhost` and its key.
fn renew(folder: &Path) -> (TlsFiles, CertificateDer<'static>) {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let files = TlsFiles { certificate: folder.join("cert.pem"), key: folder.join("key.pem") };
    std::fs::write(&files.certificate, cert.pem()).unwrap();
    std::fs::write(&files.key, signing_key.serialize_pem()).unwrap();
    (files, cert.der().clone())
}

async fn connect(
    running: &Running,
    root: &CertificateDer<'static>,
    protocol: &[u8],
) -> io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(root.clone()).unwrap();
    crate::client::choose_tls_provider();
    let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, running.connect().await).await
}

#[tokio::test]
async fn tls_is_served_and_says_that_it_stays_so() {
    let folder = TempDir::new().unwrap();
    let (files, root) = renew(folder.path());
    let running = Running::start(EdgeOptions { tls: Some(files), ..EdgeOptions::default() }).await;
    let mut stream = connect(&running, &root, b"http/1.1").await.unwrap();
    stream.write_all(b"GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut answer = vec![0; 4096];
    let bytes = tokio::time::timeout(SOON, stream.read(&mut answer)).await.unwrap().unwrap();
    let answer = String::from_utf8_lossy(&answer[..bytes]);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("strict-transport-security: max-age="), "{answer}");
    let http2 = connect(&running, &root, b"h2").await.unwrap();
    assert_eq!(http2.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    // Who does not speak it is not served, and disturbs nobody.
    let mut plain = running.connect().await;
    plain.write_all(b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    closed(&mut plain).await;
    assert!(connect(&running, &root, b"http/1.1").await.is_ok());
}

#[tokio::test]
async fn files_that_do_not_belong_together_are_refused() {
    let (folder, other) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (files, _) = renew(folder.path());
    let (others, _) = renew(other.path());
    let mixed = TlsFiles { key: others.key, ..files.clone() };
    assert!(Tls::new(mixed, &["h2"]).is_err());
    let absent = TlsFiles { certificate: folder.path().join("none.pem"), ..files };
    let error = Tls::new(absent, &["h2"]).err().unwrap();
    assert!(format!("{error:#}").contains("none.pem"), "{error:#}");
}

#[tokio::test]
async fn a_new_certificate_is_served_without_a_restart() {
    let folder = TempDir::new().unwrap();
    let (files, old) = renew(folder.path());
    let tls = Tls::new(files.clone(), &["http/1.1"]).unwrap();
    assert_eq!(tls.served(), old);
    // A file that is being written is no reason to end.
    std::fs::write(&files.key, "half a key").unwrap();
    tls.look_now();
    assert_eq!(tls.served(), old);
    let (_, new) = renew(folder.path());
    assert_ne!(new, old);
    tls.look_now();
    assert_eq!(tls.served(), new);
}
