//! OTLP over gRPC.

use std::sync::Arc;

use anyhow::Context as _;
use bytes::BufMut;
use prost::Message as _;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::{AsciiMetadataKey, AsciiMetadataValue, MetadataMap};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::retry::{Again, Refusal};
use super::settings::Transport;
use super::{Answer, Request};

const EXPORT: PathAndQuery = PathAndQuery::from_static("/opentelemetry.proto.collector.trace.v1.TraceService/Export");
const USER_AGENT: &str = concat!("sagashop/", env!("CARGO_PKG_VERSION"));

pub(super) struct Grpc {
    client: tonic::client::Grpc<Channel>,
    metadata: MetadataMap,
}

impl Grpc {
    /// Connects when it is first needed.
    ///
    /// # Errors
    /// An address, a header or a certificate that makes no sense.
    pub(super) fn new(transport: &Transport) -> anyhow::Result<Self> {
        let mut endpoint = Endpoint::from_shared(transport.endpoint.clone())?.user_agent(USER_AGENT)?;
        if endpoint.uri().scheme_str() == Some("https") {
            let tls = match &transport.certificate {
                Some(pem) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem)),
                None => ClientTlsConfig::new().with_native_roots(),
            };
            endpoint = endpoint.tls_config(tls)?;
        }
        let mut metadata = MetadataMap::new();
        for (name, value) in &transport.headers {
            let key: AsciiMetadataKey = name.to_ascii_lowercase().parse().with_context(|| bad_header(name))?;
            let value: AsciiMetadataValue = value.parse().with_context(|| bad_header(name))?;
            metadata.insert(key, value);
        }
        let channel = endpoint.connect_timeout(transport.timeout).timeout(transport.timeout).connect_lazy();
        Ok(Self { client: tonic::client::Grpc::new(channel), metadata })
    }

    pub(super) async fn send(&mut self, request: Arc<Request>) -> Result<Answer, Refusal> {
        self.client.ready().await.map_err(|error| Refusal::of(&error, Again::Soon))?;
        let mut call = tonic::Request::new(request);
        *call.metadata_mut() = self.metadata.clone();
        match self.client.unary(call, EXPORT, Written).await {
            Ok(answer) => Ok(answer.into_inner()),
            Err(status) => Err(Refusal::of(&status, again(&status))),
        }
    }
}

/// Requests that are written already.
#[derive(Debug, Clone, Copy)]
struct Written;

impl Codec for Written {
    type Encode = Arc<Request>;
    type Decode = Answer;
    type Encoder = Sending;
    type Decoder = Self;

    fn encoder(&mut self) -> Sending {
        Sending
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

#[derive(Debug)]
struct Sending;

impl Encoder for Sending {
    type Item = Arc<Request>;
    type Error = Status;

    fn encode(&mut self, request: Arc<Request>, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.reserve(request.len());
        out.put_slice(&request.head);
        out.put_slice(&request.spans);
        Ok(())
    }
}

impl Decoder for Written {
    type Item = Answer;
    type Error = Status;

    fn decode(&mut self, bytes: &mut DecodeBuf<'_>) -> Result<Option<Answer>, Status> {
        Answer::decode(bytes).map(Some).map_err(|error| Status::internal(error.to_string()))
    }
}

/// Which statuses pass by themselves.
fn again(status: &Status) -> Again {
    let asked = status.get_details_retry_info().and_then(|info| info.retry_delay).filter(|wait| !wait.is_zero());
    match (status.code(), asked) {
        (Code::ResourceExhausted | Code::Unavailable, Some(wait)) => Again::After(wait),
        (
            Code::Unavailable
            | Code::Cancelled
            | Code::DeadlineExceeded
            | Code::Aborted
            | Code::OutOfRange
            | Code::DataLoss,
            _,
        ) => Again::Soon,
        _ => Again::Never,
    }
}

fn bad_header(name: &str) -> String {
    format!("the header {name:?} of OTEL_EXPORTER_OTLP_HEADERS cannot be sent")
}
