//! The caller's own profile.

use std::sync::Arc;

use poem_openapi::OpenApi;
use poem_openapi::payload::Json;
use web::auth::Bearer;
use web::{Answered, Idempotency, IdempotencyKey, Problem, RequestContext, Ticket};

use super::bodies::{ChangePassword, Deletion, Profile, Update};
use super::{Done, Tag, confirmation, new_password, refusal, shown_password};
use crate::commands::{Error, Users};
use crate::passwords;

/// What users see and change of themselves.
pub(crate) struct Profiles {
    users: Arc<Users>,
    idempotency: Idempotency,
}

#[OpenApi]
impl Profiles {
    /// Read my profile
    #[oai(path = "/profile", method = "get", tag = "Tag::Profile", operation_id = "getProfile")]
    async fn profile(&self, caller: Bearer) -> Result<Json<Profile>, Problem> {
        let caller = self.users.caller(&caller.0).await.map_err(refusal)?;
        let person = self.users.open(caller.account).await.map_err(refusal)?;
        Ok(Json(Profile::from(&person)))
    }

    /// Change my name or language
    #[oai(path = "/profile", method = "put", tag = "Tag::Profile", operation_id = "updateProfile")]
    async fn update(
        &self,
        caller: Bearer,
        context: RequestContext,
        body: Json<Update>,
    ) -> Result<Json<Profile>, Problem> {
        let (name, locale) = body.0.read()?;
        let caller = self.users.caller(&caller.0).await.map_err(refusal)?;
        let updated = self.users.update(caller.account, name, locale, context.correlation_id).await;
        Ok(Json(Profile::from(&updated.map_err(refusal)?)))
    }

    /// Delete my account
    ///
    /// Name, address and address book can never be read again, by anybody: their key is destroyed. Orders stay, without
    /// a person. The e-mail address is free for a new account.
    #[oai(path = "/profile", method = "delete", tag = "Tag::Profile", operation_id = "deleteProfile")]
    async fn delete(&self, caller: Bearer, context: RequestContext, body: Json<Deletion>) -> Result<Done, Problem> {
        let caller = self.users.caller(&caller.0).await.map_err(refusal)?;
        let wrong = confirmation("password");
        let password = shown_password(&body.password).map_err(|_| wrong(Error::WrongCredentials))?;
        self.users.delete(caller.account, password, context.correlation_id).await.map_err(wrong)?;
        Ok(Done::Done)
    }

    /// Change my password
    ///
    /// All other sessions end.
    #[oai(path = "/profile/password", method = "post", tag = "Tag::Profile", operation_id = "changePassword")]
    async fn change_password(
        &self,
        bearer: Bearer,
        context: RequestContext,
        /// Any text of your own. Sent again with the same key and body, the password is changed once and answered the
        /// same.
        #[oai(name = "Idempotency-Key")]
        key: IdempotencyKey,
        body: Json<ChangePassword>,
    ) -> Result<Answered<Done>, Problem> {
        let caller = self.users.caller(&bearer.0).await.map_err(refusal)?;
        let wrong = confirmation("current_password");
        let current = shown_password(&body.current_password).map_err(|_| wrong(Error::WrongCredentials))?;
        let new = new_password("new_password", &body.new_password)?;
        let change = |ticket: Ticket| async move {
            let answering = |(): &()| ticket.answer(|| Done::Done);
            let changed = self.users.change_password(caller, current, new, context.correlation_id, &answering).await;
            changed.map(|()| Done::Done).map_err(|error| match error {
                Error::Passwords(error @ passwords::Error::Common) => {
                    Problem::bad_request("The password is not acceptable").field("new_password", error.to_string())
                }
                other => wrong(other),
            })
        };
        self.idempotency.once(&key, Some(&bearer.0), change).await
    }
}

impl Profiles {
    pub(super) fn new(users: Arc<Users>, idempotency: Idempotency) -> Self {
        Self { users, idempotency }
    }
}
