//! HTTP clients.

/// The beginning of every HTTP client of ours: no proxy that the environment names stands between services, and nothing
/// waits for more to send.
///
/// TLS needs a provider, chosen once a process; the first client chooses it, if nobody else has.
pub fn http_client() -> reqwest::ClientBuilder {
    // An error means that it was chosen before, which is just as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().tcp_nodelay(true)
}
