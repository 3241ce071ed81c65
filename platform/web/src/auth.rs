//! Who asks: access tokens (JWT, EdDSA) and what is made of them.
//!
//! Users show access tokens, which [`TokenVerifier`] checks offline; services show each other [`ServiceTokens`]. Neither
//! is good as the other.

mod cache;
mod extract;
mod keys;
mod service;
mod token;
mod verify;

use std::fmt;
use std::sync::Arc;

use kernel::UserId;
use serde::{Deserialize, Serialize};
use tonic::metadata::MetadataMap;
use uuid::Uuid;

pub use extract::{Admin, Bearer, OptionalBearer};
pub use keys::KeySource;
pub use service::ServiceTokens;
pub use token::{Grant, TokenSigner, jwks};
pub use verify::{Error, TokenVerifier};

use crate::context::charge;
use crate::grpc;

/// What a user may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Buys; sees what is their own.
    Customer,
    /// Runs the shop.
    Admin,
}

impl Role {
    /// The word in tokens and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Customer => "customer",
            Self::Admin => "admin",
        }
    }
}

/// A caller whose access token was found good.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    /// Who it is.
    pub user_id: UserId,
    /// What they may do.
    pub role: Role,
    /// The session that the token was given in, if it names one.
    pub session: Option<Uuid>,
    token: Option<Arc<str>>,
}

impl Identity {
    /// An identity that no token stands for.
    pub fn new(user_id: UserId, role: Role) -> Self {
        Self { user_id, role, session: None, token: None }
    }

    /// Whether this is one who runs the shop.
    pub fn is_admin(&self) -> bool {
        self.role == Role::Admin
    }

    /// Whether what belongs to `owner` may be shown to them.
    pub fn may_see(&self, owner: UserId) -> bool {
        self.is_admin() || self.user_id == owner
    }

    /// The token itself, to ask another service in the caller's name.
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the token: whoever reads it could use it.
        f.debug_struct("Identity").field("user_id", &self.user_id).field("role", &self.role).finish_non_exhaustive()
    }
}

/// The caller of a gRPC method, by the `authorization` of its metadata.
///
/// # Errors
/// `Unauthenticated` without a good token; `Unavailable` while tokens cannot be checked; `ResourceExhausted` when the
/// account has sent too many requests.
pub async fn authenticate(metadata: &MetadataMap, verifier: &TokenVerifier) -> Result<Identity, tonic::Status> {
    let token = grpc::bearer(metadata).ok_or_else(|| tonic::Status::unauthenticated("an access token is needed"))?;
    let identity = verifier.verify(token).await.map_err(|error| match error {
        Error::Invalid => tonic::Status::unauthenticated("the access token is not valid"),
        Error::Unavailable => tonic::Status::unavailable("access tokens cannot be checked at present"),
    })?;
    charge(identity.user_id)?;
    Ok(identity)
}
