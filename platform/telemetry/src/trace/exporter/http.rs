//! OTLP over HTTP, as Protocol Buffers.

use std::time::Duration;

use anyhow::Context as _;
use prost::Message as _;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Certificate, Response, StatusCode};

use super::retry::{Again, Refusal};
use super::settings::Transport;
use super::{Answer, Request};

const PROTOBUF: HeaderValue = HeaderValue::from_static("application/x-protobuf");
const USER_AGENT: &str = concat!("sagashop/", env!("CARGO_PKG_VERSION"));
/// More of an answer is not read.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

pub(super) struct Http {
    client: reqwest::Client,
    endpoint: reqwest::Url,
}

impl Http {
    /// Connects when it is first needed.
    ///
    /// # Errors
    /// An address, a header or a certificate that makes no sense.
    pub(super) fn new(transport: &Transport) -> anyhow::Result<Self> {
        // TLS needs a provider, chosen once a process; an error means that it was chosen before.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut headers = HeaderMap::new();
        for (name, value) in &transport.headers {
            let bad = || format!("the header {name:?} of OTEL_EXPORTER_OTLP_HEADERS cannot be sent");
            let mut value = HeaderValue::from_str(value).with_context(bad)?;
            value.set_sensitive(true);
            headers.insert(HeaderName::from_bytes(name.as_bytes()).with_context(bad)?, value);
        }
        headers.insert(CONTENT_TYPE, PROTOBUF);
        let mut client = reqwest::Client::builder()
            .user_agent(USER_AGENT)
            .default_headers(headers)
            .timeout(transport.timeout)
            .tcp_nodelay(true);
        if let Some(pem) = &transport.certificate {
            client = client.tls_certs_only(Certificate::from_pem_bundle(pem)?);
        }
        Ok(Self { client: client.build()?, endpoint: transport.endpoint.parse()? })
    }

    pub(super) async fn send(&self, request: &Request) -> Result<Answer, Refusal> {
        let body = [request.head.as_slice(), &request.spans].concat();
        let sent = self.client.post(self.endpoint.clone()).body(body).send().await;
        // Nobody answered. Where it was sent is known, and may have a secret in it.
        let response = sent.map_err(|error| Refusal::of(&error.without_url(), Again::Soon))?;
        let (status, again) = (response.status(), again(&response));
        // Read to its end, so that the connection is used again.
        let answer = start_of(response).await;
        if !status.is_success() {
            return Err(Refusal { error: format!("the answer was {status}"), again });
        }
        // Those that answer in words of their own have taken it all the same.
        Ok(Answer::decode(answer.as_slice()).unwrap_or_default())
    }
}

async fn start_of(mut response: Response) -> Vec<u8> {
    let mut read = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        if read.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Vec::new();
        }
        read.extend_from_slice(&chunk);
    }
    read
}

/// Which statuses pass by themselves.
fn again(response: &Response) -> Again {
    match response.status() {
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            let seconds =
                response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
            seconds.map_or(Again::Soon, |seconds| Again::After(Duration::from_secs(seconds)))
        }
        StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT => Again::Soon,
        _ => Again::Never,
    }
}
