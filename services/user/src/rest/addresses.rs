//! The caller's own address book.

use std::sync::Arc;

use kernel::AddressId;
use poem_openapi::param::Path;
use poem_openapi::payload::Json;
use poem_openapi::{ApiResponse, OpenApi};
use uuid::Uuid;
use web::auth::Bearer;
use web::{Problem, RequestContext};

use super::bodies::{Address, WriteAddress};
use super::refused::{ByAccount, Refused};
use super::{Done, Tag, refusal};
use crate::commands::{Caller, Users};

/// Where a user's parcels go.
pub(crate) struct Addresses {
    users: Arc<Users>,
}

#[derive(ApiResponse)]
enum Added {
    /// The entry is there.
    #[oai(status = 201)]
    Created(
        Json<Address>,
        /// Where it can be read.
        #[oai(header = "Location")]
        String,
    ),
}

#[OpenApi]
impl Addresses {
    /// List my addresses
    #[oai(path = "/profile/addresses", method = "get", tag = "Tag::Profile", operation_id = "listAddresses")]
    async fn list(&self, caller: Bearer) -> Result<Json<Vec<Address>>, Problem> {
        let caller = self.caller(&caller).await?;
        let entries = self.users.addresses(&caller.account).await.map_err(refusal)?;
        Ok(Json(entries.into_iter().map(Address::from).collect()))
    }

    /// Add an address
    ///
    /// An address book has twenty entries at most.
    #[oai(path = "/profile/addresses", method = "post", tag = "Tag::Profile", operation_id = "addAddress")]
    async fn add(&self, caller: Bearer, context: RequestContext, body: Json<WriteAddress>) -> Result<Added, Problem> {
        let address = body.0.read()?;
        let caller = self.caller(&caller).await?;
        let added = self.users.add_address(caller.account.user_id, address, context.correlation_id).await;
        let entry = added.map_err(refusal)?;
        let location = format!("/profile/addresses/{}", entry.id);
        Ok(Added::Created(Json(entry.into()), location))
    }

    /// Read an address
    #[oai(path = "/profile/addresses/:id", method = "get", tag = "Tag::Profile", operation_id = "getAddress")]
    async fn get(&self, caller: Bearer, id: Path<Uuid>) -> Result<Json<Address>, Problem> {
        let caller = self.caller(&caller).await?;
        let found = self.users.address(&caller.account, AddressId(id.0)).await.map_err(refusal)?;
        let none = || Problem::not_found("There is no such address");
        Ok(Json(found.ok_or_else(none)?.into()))
    }

    /// Write an address anew
    #[oai(path = "/profile/addresses/:id", method = "put", tag = "Tag::Profile", operation_id = "replaceAddress")]
    async fn replace(
        &self,
        caller: Bearer,
        context: RequestContext,
        id: Path<Uuid>,
        body: Json<WriteAddress>,
    ) -> Result<Json<Address>, Problem> {
        let address = body.0.read()?;
        let user_id = self.caller(&caller).await?.account.user_id;
        let replaced = self.users.replace_address(user_id, AddressId(id.0), address, context.correlation_id).await;
        Ok(Json(replaced.map_err(refusal)?.into()))
    }

    /// Remove an address
    #[oai(path = "/profile/addresses/:id", method = "delete", tag = "Tag::Profile", operation_id = "removeAddress")]
    async fn remove(
        &self,
        caller: Bearer,
        context: RequestContext,
        id: Path<Uuid>,
    ) -> Result<Done, Refused<ByAccount>> {
        let user_id = self.caller(&caller).await?.account.user_id;
        let removed = self.users.remove_address(user_id, AddressId(id.0), context.correlation_id).await;
        removed.map_err(refusal)?;
        Ok(Done::Done)
    }
}

impl Addresses {
    pub(super) fn new(users: Arc<Users>) -> Self {
        Self { users }
    }

    async fn caller(&self, bearer: &Bearer) -> Result<Caller, Problem> {
        self.users.caller(&bearer.0).await.map_err(refusal)
    }
}
