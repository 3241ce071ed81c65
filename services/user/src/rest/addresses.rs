//! The caller's own address book.

use std::sync::Arc;

use kernel::AddressId;
use poem_openapi::param::Path;
use poem_openapi::payload::Json;
use poem_openapi::{ApiResponse, OpenApi};
use uuid::Uuid;
use web::auth::Bearer;
use web::{Answered, Idempotency, IdempotencyKey, Problem, RequestContext, Ticket};

use super::bodies::{Address, WriteAddress};
use super::refused::{ByAccount, Refused};
use super::{Done, Tag, refusal};
use crate::commands::{Caller, Entry, Users};

/// Where a user's parcels go.
pub(crate) struct Addresses {
    users: Arc<Users>,
    idempotency: Idempotency,
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

impl Added {
    fn of(entry: &Entry) -> Self {
        Self::Created(Json(entry.clone().into()), format!("/profile/addresses/{}", entry.id))
    }
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
    async fn add(
        &self,
        caller: Bearer,
        context: RequestContext,
        /// Any text of your own. Sent again with the same key and body, the entry is added once and answered the same.
        #[oai(name = "Idempotency-Key")]
        key: IdempotencyKey,
        body: Json<WriteAddress>,
    ) -> Result<Answered<Added>, Problem> {
        let address = body.0.read()?;
        let user_id = self.caller(&caller).await?.account.user_id;
        let add = |ticket: Ticket| async move {
            let answering = |entry: &Entry| ticket.answer(|| Added::of(entry));
            let added = self.users.add_address(user_id, address, context.correlation_id, &answering).await;
            Ok::<_, Problem>(Added::of(&added.map_err(refusal)?))
        };
        self.idempotency.once(&key, Some(&caller.0), add).await
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
    pub(super) fn new(users: Arc<Users>, idempotency: Idempotency) -> Self {
        Self { users, idempotency }
    }

    async fn caller(&self, bearer: &Bearer) -> Result<Caller, Problem> {
        self.users.caller(&bearer.0).await.map_err(refusal)
    }
}
