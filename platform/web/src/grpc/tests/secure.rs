//! gRPC over TLS.

use rcgen::{CertifiedKey, generate_simple_self_signed};
use tempfile::TempDir;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint};

use super::*;
use crate::TlsFiles;

#[tokio::test]
async fn calls_are_served_over_tls_and_nothing_else_is() {
    let folder = TempDir::new().unwrap();
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let files = TlsFiles { certificate: folder.path().join("cert.pem"), key: folder.path().join("key.pem") };
    std::fs::write(&files.certificate, cert.pem()).unwrap();
    std::fs::write(&files.key, signing_key.serialize_pem()).unwrap();

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let _guard = shutdown.clone().drop_guard();
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_service_status("shop", ServingStatus::Serving).await;
    let options = EdgeOptions { tls: Some(files), ..EdgeOptions::default() };
    tokio::spawn(serve("test", listener, Routes::new(health), options, shutdown));

    crate::client::choose_tls_provider();
    let ask = async |channel: Channel| {
        let request = HealthCheckRequest { service: "shop".to_owned() };
        HealthClient::new(channel).check(request).await.map(|answer| answer.into_inner().status)
    };
    let secure = |trusted: ClientTlsConfig| {
        let endpoint = Endpoint::from_shared(format!("https://{address}")).unwrap();
        endpoint.tls_config(trusted.domain_name("localhost")).unwrap().connect_lazy()
    };
    let trusting = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(cert.pem()));
    assert_eq!(ask(secure(trusting.clone())).await.unwrap(), 1);

    // Whoever does not trust the certificate, or speaks in the clear, learns nothing; the others are served on.
    let stranger = generate_simple_self_signed(["localhost".to_owned()]).unwrap().cert.pem();
    let distrusting = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(stranger));
    assert_eq!(ask(secure(distrusting)).await.unwrap_err().code(), Code::Unavailable);
    assert!(ask(channel(&address.to_string()).unwrap()).await.is_err());
    assert_eq!(ask(secure(trusting)).await.unwrap(), 1);
}
