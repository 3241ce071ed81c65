//! HTTP clients.

/// TLS needs a provider, chosen once a process; the first client chooses it, if nobody else has.
pub(crate) fn choose_tls_provider() {
    // An error means that it was chosen before, which is just as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// The beginning of every HTTP client of ours: no proxy that the environment names stands between services, and nothing
/// waits for more to send.
pub fn http_client() -> reqwest::ClientBuilder {
    choose_tls_provider();
    reqwest::Client::builder().no_proxy().tcp_nodelay(true)
}
