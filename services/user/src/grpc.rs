//! gRPC: what the other services may ask at the moment of use.

use std::str::FromStr;
use std::sync::Arc;

use domain::user::address::AddressLine;
use kernel::AddressId;
use proto::user::user_service_server::{UserService, UserServiceServer};
use proto::user::{Address, Contact, GetAddressRequest, GetContactRequest};
use tonic::metadata::MetadataMap;
use tonic::service::Routes;
use tonic::{Request, Response, Status};
use web::Problem;
use web::auth::ServiceTokens;

use crate::commands::{Error, Users};
use crate::rest;

/// The service, its health, and what it consists of, for whoever has no .proto file.
pub(crate) async fn routes(contacts: Contacts) -> anyhow::Result<Routes> {
    web::grpc::routes(UserServiceServer::new(contacts), proto::DESCRIPTORS).await
}

/// Answers where a user can be reached, to whoever shows a service token.
pub(crate) struct Contacts {
    users: Arc<Users>,
    services: Option<ServiceTokens>,
}

impl Contacts {
    pub(crate) fn new(users: Arc<Users>, services: Option<ServiceTokens>) -> Self {
        Self { users, services }
    }

    fn authorize(&self, metadata: &MetadataMap) -> Result<(), Status> {
        match &self.services {
            Some(services) => services.authenticate(metadata).map(|_| ()),
            None => Err(Status::unauthenticated("no service is known here: INTERNAL_TOKEN is not set")),
        }
    }
}

#[tonic::async_trait]
impl UserService for Contacts {
    async fn get_contact(&self, request: Request<GetContactRequest>) -> Result<Response<Contact>, Status> {
        self.authorize(request.metadata())?;
        let user_id = id("user_id", &request.get_ref().user_id)?;
        let person = self.users.person(user_id).await.map_err(refusal)?;
        let known = person.and_then(|person| Some((person.name, person.email?, person.account?)));
        let (name, email, account) = known.ok_or_else(|| Problem::not_found("There is no such user"))?;
        let locale = account.locale.map(|locale| locale.as_str().to_owned()).unwrap_or_default();
        Ok(Response::new(Contact { name, email, locale }))
    }

    async fn get_address(&self, request: Request<GetAddressRequest>) -> Result<Response<Address>, Status> {
        self.authorize(request.metadata())?;
        let GetAddressRequest { user_id, address_id } = request.get_ref();
        let user_id = id("user_id", user_id)?;
        let address_id: AddressId = id("address_id", address_id)?;
        let none = || Problem::not_found("There is no such address");
        let account = self.users.find(user_id).await.map_err(refusal)?.ok_or_else(none)?;
        let entry = self.users.address(&account, address_id).await.map_err(refusal)?.ok_or_else(none)?;
        let address = entry.address;
        let optional = |line: Option<AddressLine>| line.map(|line| line.as_str().to_owned()).unwrap_or_default();
        Ok(Response::new(Address {
            recipient: address.recipient.as_str().to_owned(),
            line1: address.line1.as_str().to_owned(),
            line2: optional(address.line2),
            postal_code: address.postal_code.as_str().to_owned(),
            city: address.city.as_str().to_owned(),
            region: optional(address.region),
            country: address.country.as_str().to_owned(),
        }))
    }
}

fn id<I: FromStr>(field: &str, text: &str) -> Result<I, Status> {
    let wrong = || Problem::bad_request("An id is not valid").field(field, "is not a UUID");
    text.parse().map_err(|_| wrong().into())
}

fn refusal(error: Error) -> Status {
    rest::refusal(error).into()
}
