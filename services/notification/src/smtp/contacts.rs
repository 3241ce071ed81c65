//! Where somebody can be reached: asked at the moment of use.

use anyhow::Context;
use domain::notification::{Failure, Skip};
use kernel::UserId;
use proto::user::user_service_client::UserServiceClient;
use proto::user::{Contact, GetContactRequest};
use tonic::Code;
use tonic::transport;
use web::auth::ServiceTokens;

use crate::channel::Unsent;
use crate::config::Config;

/// Asks the user service.
pub(super) struct Contacts {
    client: UserServiceClient<transport::Channel>,
    tokens: ServiceTokens,
}

impl Contacts {
    pub(super) fn new(config: &Config) -> anyhow::Result<Self> {
        let secret = config.internal_token.as_deref().unwrap_or_default();
        let tokens = ServiceTokens::from_secret(secret, "notification")
            .context("e-mail needs INTERNAL_TOKEN: without it the user service tells nobody an address")?;
        let client = UserServiceClient::new(web::grpc::channel(&config.user_grpc)?);
        Ok(Self { client, tokens })
    }

    pub(super) async fn of(&self, user_id: UserId) -> Result<Contact, Unsent> {
        let mut request = tonic::Request::new(GetContactRequest { user_id: user_id.to_string() });
        self.tokens.authorize(&mut request).map_err(|_| Failure::Other)?;
        let call = async {
            web::grpc::trace(&mut request);
            self.client.clone().get_contact(request).await
        };
        match web::grpc::traced("user.UserService/GetContact", call).await {
            Ok(contact) => Ok(contact.into_inner()),
            Err(status) => Err(match status.code() {
                Code::NotFound => Unsent::Skip(Skip::UserDeleted),
                Code::DeadlineExceeded | Code::Cancelled => Failure::TimedOut.into(),
                code => {
                    tracing::warn!(grpc.code = ?code, "a contact could not be asked for");
                    Failure::Unreachable.into()
                }
            }),
        }
    }
}
