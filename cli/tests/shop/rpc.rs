//! gRPC calls made of descriptors alone, as `grpcurl` makes them.

use std::time::Duration;

use prost_reflect::prost::Message;
use prost_reflect::prost_types::FileDescriptorProto;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, MethodDescriptor};
use sagashop::ports::Role;
use serde_json::Value;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::v1::{ServerReflectionRequest, ServerReflectionResponse};

/// An answer, or the first of several, takes no longer.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// One service, and what is known of it.
pub struct Rpc {
    channel: Channel,
    pool: DescriptorPool,
}

/// All methods of our own files: `order.OrderService/GetOrder`.
pub fn methods(pool: &DescriptorPool) -> Vec<String> {
    let methods = pool.services().flat_map(|service| service.methods().collect::<Vec<_>>());
    methods.map(|method| name(&method)).collect()
}

/// The files that this program was built with.
pub fn own_files() -> DescriptorPool {
    DescriptorPool::decode(proto::DESCRIPTORS).expect("our own descriptors")
}

fn name(method: &MethodDescriptor) -> String {
    format!("{}/{}", method.parent_service().full_name(), method.name())
}

fn channel(role: Role, offset: u16) -> Channel {
    let port = role.grpc_port().expect("a role with gRPC") + offset;
    web::grpc::channel(&format!("127.0.0.1:{port}")).expect("an address")
}

impl Rpc {
    /// With the files that this program was built with.
    pub fn known(role: Role, offset: u16) -> Self {
        Self { channel: channel(role, offset), pool: own_files() }
    }

    /// With the files that the server itself shows; and the services that it names.
    pub async fn reflected(role: Role, offset: u16) -> (Self, Vec<String>) {
        let channel = channel(role, offset);
        let list = reflect(&channel, MessageRequest::ListServices(String::new())).await;
        let MessageResponse::ListServicesResponse(list) = list else { panic!("no list: {list:?}") };
        let services: Vec<String> = list.service.into_iter().map(|service| service.name).collect();
        let mut files: Vec<FileDescriptorProto> = Vec::new();
        for service in &services {
            collect(&channel, MessageRequest::FileContainingSymbol(service.clone()), &mut files).await;
        }
        while let Some(missing) = missing(&files) {
            collect(&channel, MessageRequest::FileByFilename(missing), &mut files).await;
        }
        let mut pool = DescriptorPool::new();
        pool.add_file_descriptor_protos(files).expect("whole files");
        (Self { channel, pool }, services)
    }

    /// Calls a method with a message in JSON. Of a stream of answers, the first is returned.
    pub async fn call(&self, method: &str, message: &Value, token: &str) -> Result<Value, Status> {
        let (service, short) = method.split_once('/').expect("service/method");
        let service = self.pool.get_service_by_name(service).unwrap_or_else(|| panic!("no service {service}"));
        let method = service.methods().find(|method| method.name() == short).unwrap_or_else(|| panic!("no {short}"));
        let message = DynamicMessage::deserialize(method.input(), message).expect("such a message");
        let mut request = Request::new(message);
        if !token.is_empty() {
            let token = format!("Bearer {token}").parse().expect("a header");
            request.metadata_mut().insert("authorization", token);
        }
        let answered = tokio::time::timeout(ANSWER_MAX, self.send(&method, request));
        let answer = answered.await.unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer in time")))?;
        Ok(serde_json::to_value(answer).expect("JSON"))
    }

    async fn send(
        &self,
        method: &MethodDescriptor,
        request: Request<DynamicMessage>,
    ) -> Result<DynamicMessage, Status> {
        let mut client = tonic::client::Grpc::new(self.channel.clone());
        client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
        let path = format!("/{}", name(method)).parse().expect("a path");
        let codec = Dynamic(method.output());
        if method.is_server_streaming() {
            let mut answers = client.server_streaming(request, path, codec).await?.into_inner();
            return answers.message().await?.ok_or_else(|| Status::out_of_range("an empty stream"));
        }
        Ok(client.unary(request, path, codec).await?.into_inner())
    }
}

async fn reflect(channel: &Channel, wanted: MessageRequest) -> MessageResponse {
    let request = ServerReflectionRequest { host: String::new(), message_request: Some(wanted) };
    let mut client = ServerReflectionClient::new(channel.clone());
    let stream = client.server_reflection_info(futures::stream::iter([request])).await.expect("reflection");
    let answer: Option<ServerReflectionResponse> = stream.into_inner().message().await.expect("an answer");
    answer.and_then(|answer| answer.message_response).expect("something")
}

/// Adds the files of an answer that are not there yet.
async fn collect(channel: &Channel, wanted: MessageRequest, files: &mut Vec<FileDescriptorProto>) {
    let answer = reflect(channel, wanted.clone()).await;
    let MessageResponse::FileDescriptorResponse(found) = answer else { panic!("{wanted:?}: {answer:?}") };
    for file in found.file_descriptor_proto {
        let file = FileDescriptorProto::decode(file.as_slice()).expect("a file");
        if files.iter().all(|known| known.name() != file.name()) {
            files.push(file);
        }
    }
}

/// A file that others depend on, and that is not there yet.
fn missing(files: &[FileDescriptorProto]) -> Option<String> {
    let mut wanted = files.iter().flat_map(|file| &file.dependency);
    wanted.find(|wanted| files.iter().all(|file| file.name() != wanted.as_str())).cloned()
}

/// The HTTP status that says the same as an answer, for comparing both edges.
pub fn as_http(answer: &Result<Value, Status>) -> u16 {
    match answer.as_ref().map_err(Status::code) {
        Ok(_) => 200,
        Err(Code::Unauthenticated) => 401,
        Err(Code::PermissionDenied) => 403,
        Err(Code::NotFound) => 404,
        Err(Code::InvalidArgument) => 422,
        Err(Code::FailedPrecondition | Code::AlreadyExists | Code::Aborted) => 409,
        Err(Code::ResourceExhausted) => 429,
        Err(Code::Unavailable | Code::DeadlineExceeded) => 503,
        Err(_) => 500,
    }
}

/// Messages of any type; the answer's is this.
#[derive(Clone)]
struct Dynamic(MessageDescriptor);

impl Codec for Dynamic {
    type Encode = DynamicMessage;
    type Decode = DynamicMessage;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        self.clone()
    }

    fn decoder(&mut self) -> Self {
        self.clone()
    }
}

impl Encoder for Dynamic {
    type Item = DynamicMessage;
    type Error = Status;

    fn encode(&mut self, message: DynamicMessage, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        message.encode(buffer).map_err(|error| Status::internal(error.to_string()))
    }
}

impl Decoder for Dynamic {
    type Item = DynamicMessage;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<DynamicMessage>, Status> {
        let mut message = DynamicMessage::new(self.0.clone());
        message.merge(buffer).map_err(|error| Status::internal(error.to_string()))?;
        Ok(Some(message))
    }
}
