//! Whether an address is the caller's own: asked of the user service, which alone knows. Nothing of it is read or kept.

use std::time::{Duration, Instant};

use anyhow::Context;
use kernel::{AddressId, UserId};
use proto::user::GetAddressRequest;
use proto::user::user_service_client::UserServiceClient;
use tonic::transport::Channel;
use tonic::{Code, Status};
use web::auth::ServiceTokens;
use web::{RequestContext, RetryBudget};

use crate::Config;
use crate::breaker::{Breaker, Failure, SPARED};
use crate::catalogue::{out_of_time, passes};
use crate::error::Error;

/// How traces name the call.
const GET_ADDRESS: &str = "user.UserService/GetAddress";
/// One asking is answered within this.
const TRY_TIMEOUT: Duration = Duration::from_secs(1);
/// All of it is over within this, or within the caller's own deadline.
const WITHIN: Duration = Duration::from_secs(2);
/// One retry for so many good answers, and so many saved at most.
const ANSWERS_A_RETRY: u32 = 10;
const RETRIES_MAX: u32 = 10;

/// Asks the user service.
pub(crate) struct Addresses {
    client: UserServiceClient<Channel>,
    tokens: ServiceTokens,
    retries: RetryBudget,
    breaker: Breaker,
}

impl Addresses {
    /// Nobody is asked where no secret is shared with the user service.
    pub fn new(config: &Config) -> anyhow::Result<Option<Self>> {
        let Some(secret) = &config.internal_token else {
            tracing::warn!("INTERNAL_TOKEN is not set: orders are taken to addresses that nobody has looked up");
            return Ok(None);
        };
        let tokens = ServiceTokens::from_secret(secret, "order").context("INTERNAL_TOKEN")?;
        let client = UserServiceClient::new(web::grpc::channel(&config.user_grpc)?);
        let retries = RetryBudget::new(ANSWERS_A_RETRY, RETRIES_MAX);
        Ok(Some(Self { client, tokens, retries, breaker: Breaker::new("user") }))
    }

    /// Refuses an address that is not in this user's book.
    pub async fn check(
        &self,
        user_id: UserId,
        address_id: AddressId,
        context: &RequestContext,
        deadline: Option<Instant>,
    ) -> Result<(), Error> {
        let within = Instant::now() + WITHIN;
        let deadline = deadline.map_or(within, |deadline| deadline.min(within));
        let asked = GetAddressRequest { user_id: user_id.to_string(), address_id: address_id.to_string() };
        let answer = match self.ask(&asked, context, deadline).await {
            Err(Failure::Status(status)) if passes(status.code()) && self.retries.withdraw() => {
                tracing::debug!(%status, "the user service is asked again");
                self.ask(&asked, context, deadline).await
            }
            answer => answer,
        };
        match answer {
            Ok(()) => {}
            Err(Failure::Status(status)) if status.code() == Code::NotFound => {
                self.retries.deposit();
                return Err(Error::invalid("address_id", "is none of your addresses"));
            }
            Err(Failure::Open) => return Err(Error::AddressesAway(SPARED.to_owned())),
            Err(Failure::Status(status)) if passes(status.code()) => {
                return Err(Error::AddressesAway(status.to_string()));
            }
            Err(Failure::Status(status)) => return Err(Error::AddressesConfused(status.to_string())),
            Err(Failure::Confused(how)) => return Err(Error::AddressesConfused(how)),
        }
        self.retries.deposit();
        Ok(())
    }

    async fn ask(&self, asked: &GetAddressRequest, context: &RequestContext, deadline: Instant) -> Result<(), Failure> {
        let timeout = deadline.saturating_duration_since(Instant::now()).min(TRY_TIMEOUT);
        let late = || Status::deadline_exceeded("no answer in time");
        if timeout.is_zero() {
            return Err(Failure::Status(late()));
        }
        let call = web::grpc::traced(GET_ADDRESS, async {
            let mut call = web::grpc::request(asked.clone(), context, None);
            call.set_timeout(timeout);
            self.tokens.authorize(&mut call).map_err(|error| Status::unauthenticated(format!("{error:#}")))?;
            let answer = tokio::time::timeout(timeout, self.client.clone().get_address(call)).await;
            answer.map_err(|_| late())?.map(|_| ())
        });
        // A caller in a hurry says nothing about the user service.
        let hurried = timeout < TRY_TIMEOUT;
        let fails = |status: &Status| passes(status.code()) && !(hurried && out_of_time(status.code()));
        self.breaker.call(fails, call).await
    }
}
