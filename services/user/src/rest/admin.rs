//! What administrators see and do.

use std::sync::Arc;
use std::time::Duration;

use kernel::UserId;
use poem_openapi::OpenApi;
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::Json;
use runtime::ProjectionHandle;
use uuid::Uuid;
use web::auth::Admin;
use web::{Answered, Idempotency, IdempotencyKey, Problem, RequestContext, Ticket};

use super::bodies::{ChangeRole, Managed, RoleName, Status, UserPage};
use super::refused::{ByAccount, Refused};
use super::{Tag, refusal};
use crate::commands::{Changed, Error, Person, Users};
use crate::queries::{Page, Queries};

/// An answer waits so long for lists to show the change.
const SHOWN_MAX: Duration = Duration::from_millis(100);

/// All accounts.
pub(crate) struct Administration {
    users: Arc<Users>,
    queries: Queries,
    idempotency: Idempotency,
    projection: ProjectionHandle,
}

#[OpenApi]
impl Administration {
    /// List users
    ///
    /// The youngest accounts first. `next` is the cursor of the next page; there is none behind the last.
    #[oai(path = "/users", method = "get", tag = "Tag::Administration", operation_id = "listUsers")]
    async fn list(
        &self,
        caller: Admin,
        /// Only those of this role.
        role: Query<Option<RoleName>>,
        /// Only accounts that stand so.
        status: Query<Option<Status>>,
        /// How many.
        #[oai(default = "limit_default", validator(minimum(value = "1"), maximum(value = "200")))]
        limit: Query<u32>,
        /// The cursor that the page before gave.
        after: Query<Option<Uuid>>,
    ) -> Result<Json<UserPage>, Problem> {
        self.administrator(&caller).await?;
        let page = Page {
            role: role.0.map(Into::into),
            status: status.0.map(Status::as_str),
            after: after.0.map(UserId),
            limit: limit.0,
        };
        let (rows, more) = self.queries.users(page).await.map_err(|error| refusal(Error::from(error)))?;
        let next = rows.last().filter(|_| more).map(|row| row.user_id.0);
        Ok(Json(UserPage { users: rows.into_iter().map(Managed::from).collect(), next }))
    }

    /// Read a user
    #[oai(path = "/users/:id", method = "get", tag = "Tag::Administration", operation_id = "getUser")]
    async fn get(&self, caller: Admin, id: Path<Uuid>) -> Result<Json<Managed>, Problem> {
        self.administrator(&caller).await?;
        let person = self.users.person(UserId(id.0)).await.map_err(refusal)?;
        let none = || Problem::not_found("There is no such user");
        Ok(Json(Managed::from(&person.ok_or_else(none)?)))
    }

    /// Lock a user out
    ///
    /// Their sessions end. Access tokens that they hold are refused here at once, elsewhere within minutes.
    #[oai(path = "/users/:id/lock", method = "post", tag = "Tag::Administration", operation_id = "lockUser")]
    async fn lock(
        &self,
        caller: Admin,
        context: RequestContext,
        id: Path<Uuid>,
        /// Any text of your own. Sent again with the same key, the request takes effect once and is answered the same.
        #[oai(name = "Idempotency-Key")]
        key: IdempotencyKey,
    ) -> Result<Answered<Json<Managed>>, Refused<ByAccount>> {
        let by = self.administrator(&caller).await?;
        let lock = |ticket: Ticket| async move {
            let answering = |person: &Person| ticket.answer(|| Json(Managed::from(person)));
            let changed = self.users.lock(UserId(id.0), by, context.correlation_id, &answering).await;
            Ok(self.shown(changed.map_err(refusal)?).await)
        };
        self.idempotency.once(&key, Some(&caller.0), lock).await
    }

    /// Let a user in again
    #[oai(path = "/users/:id/unlock", method = "post", tag = "Tag::Administration", operation_id = "unlockUser")]
    async fn unlock(
        &self,
        caller: Admin,
        context: RequestContext,
        id: Path<Uuid>,
        /// Any text of your own. Sent again with the same key, the request takes effect once and is answered the same.
        #[oai(name = "Idempotency-Key")]
        key: IdempotencyKey,
    ) -> Result<Answered<Json<Managed>>, Refused<ByAccount>> {
        let by = self.administrator(&caller).await?;
        let unlock = |ticket: Ticket| async move {
            let answering = |person: &Person| ticket.answer(|| Json(Managed::from(person)));
            let changed = self.users.unlock(UserId(id.0), by, context.correlation_id, &answering).await;
            Ok(self.shown(changed.map_err(refusal)?).await)
        };
        self.idempotency.once(&key, Some(&caller.0), unlock).await
    }

    /// Change a user's role
    ///
    /// It is in the tokens of their next refresh.
    #[oai(path = "/users/:id/role", method = "put", tag = "Tag::Administration", operation_id = "changeRole")]
    async fn change_role(
        &self,
        caller: Admin,
        context: RequestContext,
        id: Path<Uuid>,
        body: Json<ChangeRole>,
    ) -> Result<Json<Managed>, Problem> {
        let by = self.administrator(&caller).await?;
        let changed = self.users.change_role(UserId(id.0), body.role.into(), by, context.correlation_id).await;
        Ok(self.shown(changed.map_err(refusal)?).await)
    }
}

impl Administration {
    pub(super) fn new(
        users: Arc<Users>,
        queries: Queries,
        idempotency: Idempotency,
        projection: ProjectionHandle,
    ) -> Self {
        Self { users, queries, idempotency, projection }
    }

    /// Those who run the shop now, whatever their token says.
    async fn administrator(&self, caller: &Admin) -> Result<UserId, Problem> {
        self.users.administrator(&caller.0).await.map_err(refusal)
    }

    async fn shown(&self, changed: Changed) -> Json<Managed> {
        if let Some(cursor) = changed.cursor {
            self.projection.wait_for(cursor, SHOWN_MAX).await;
        }
        Json(Managed::from(&changed.person))
    }
}

fn limit_default() -> u32 {
    50
}
