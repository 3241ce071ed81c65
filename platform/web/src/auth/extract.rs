//! The caller as an argument of a handler.

use std::time::Duration;

use poem::http::header::AUTHORIZATION;
use poem::{Request, RequestBody};
use poem_openapi::registry::Registry;
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions, SecurityScheme, auth};

use super::{Error, Identity, TokenVerifier};
use crate::Problem;
use crate::context::charge;

/// Any caller with a good access token; 401 for all others.
#[derive(SecurityScheme)]
#[oai(ty = "bearer", bearer_format = "JWT", rename = "AccessToken", checker = "identity")]
pub struct Bearer(pub Identity);

/// A caller who runs the shop; 403 for other users, 401 without a good token.
#[derive(SecurityScheme)]
#[oai(ty = "bearer", bearer_format = "JWT", rename = "AccessToken", checker = "admin")]
pub struct Admin(pub Identity);

/// A caller with or without an access token; one that is there must be good.
pub struct OptionalBearer(pub Option<Identity>);

async fn identity(request: &Request, bearer: auth::Bearer) -> poem::Result<Identity> {
    let verifier = request
        .data::<TokenVerifier>()
        .ok_or_else(|| Problem::internal("this service has no verifier of access tokens"))?;
    let identity = verifier.verify(&bearer.token).await.map_err(|error| match error {
        Error::Invalid => Problem::unauthenticated("The access token is not valid"),
        Error::Unavailable => {
            Problem::unavailable("Access tokens cannot be checked at present", Duration::from_secs(1))
        }
    })?;
    charge(identity.user_id)?;
    Ok(identity)
}

async fn admin(request: &Request, bearer: auth::Bearer) -> poem::Result<Identity> {
    let identity = identity(request, bearer).await?;
    if identity.is_admin() { Ok(identity) } else { Err(Problem::forbidden("Only administrators may do this").into()) }
}

impl<'a> ApiExtractor<'a> for OptionalBearer {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::SecurityScheme];

    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        Bearer::register(registry);
    }

    fn security_schemes() -> Vec<&'static str> {
        Bearer::security_schemes()
    }

    fn has_security_fallback() -> bool {
        true
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        options: ExtractParamOptions<Self::ParamType>,
    ) -> poem::Result<Self> {
        if !request.headers().contains_key(AUTHORIZATION) {
            return Ok(Self(None));
        }
        Bearer::from_request(request, body, options).await.map(|Bearer(identity)| Self(Some(identity)))
    }
}
