//! A user service that knows a few users.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use kernel::UserId;
use proto::user::user_service_server::{UserService, UserServiceServer};
use proto::user::{Address, Contact, GetAddressRequest, GetContactRequest};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use web::auth::ServiceTokens;

pub const TOKEN: &str = "an-internal-token-of-32-characters";

/// The users that there are, by name and address. Cheap to clone.
#[derive(Clone)]
pub struct Users {
    pub address: String,
    known: Arc<Mutex<HashMap<String, (String, String)>>>,
    shutdown: CancellationToken,
}

impl Users {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let users = Self { address, known: Arc::default(), shutdown: CancellationToken::new() };
        let routes = tonic::service::Routes::new(UserServiceServer::new(users.clone()));
        tokio::spawn(web::grpc::serve("user", listener, routes, web::EdgeOptions::default(), users.shutdown.clone()));
        users
    }

    pub fn know(&self, user: UserId, name: &str, email: &str) {
        self.known.lock().unwrap().insert(user.to_string(), (name.to_owned(), email.to_owned()));
    }

    pub fn forget(&self, user: UserId) {
        self.known.lock().unwrap().remove(&user.to_string());
    }
}

#[tonic::async_trait]
impl UserService for Users {
    async fn get_contact(&self, request: Request<GetContactRequest>) -> Result<Response<Contact>, Status> {
        ServiceTokens::from_secret(TOKEN, "user").unwrap().authenticate(request.metadata())?;
        let known = self.known.lock().unwrap().get(&request.get_ref().user_id).cloned();
        let (name, email) = known.ok_or_else(|| Status::not_found("there is no such user"))?;
        Ok(Response::new(Contact { name, email, locale: String::new() }))
    }

    async fn get_address(&self, _: Request<GetAddressRequest>) -> Result<Response<Address>, Status> {
        Err(Status::unimplemented("nobody asks for it here"))
    }
}
