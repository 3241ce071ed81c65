//! Refusals whose statuses the document tells of one operation, beside those that every operation may have.

use std::marker::PhantomData;

use poem_openapi::ApiResponse;
use poem_openapi::registry::{MetaResponse, MetaResponses, Registry};
use web::Problem;

/// A problem of an operation that tells these statuses.
pub(super) struct Refused<T> {
    problem: Problem,
    told: PhantomData<fn() -> T>,
}

/// Statuses, each with what it means there.
pub(super) trait Told {
    const STATUSES: &'static [(u16, &'static str)];
}

/// Logging in.
pub(super) struct ByLogin;

impl Told for ByLogin {
    const STATUSES: &'static [(u16, &'static str)] =
        &[(401, "The address and the password do not belong together"), (403, "The account is locked")];
}

/// Refreshing.
pub(super) struct ByRefresh;

impl Told for ByRefresh {
    const STATUSES: &'static [(u16, &'static str)] = &[(401, "The refresh token is not, or no longer, good")];
}

/// Changing an account without a body.
pub(super) struct ByAccount;

impl Told for ByAccount {
    const STATUSES: &'static [(u16, &'static str)] =
        &[(409, "It is the administrator's own account, or others keep changing it")];
}

impl<T> From<Problem> for Refused<T> {
    fn from(problem: Problem) -> Self {
        Self { problem, told: PhantomData }
    }
}

impl<T> From<Refused<T>> for poem::Error {
    fn from(refused: Refused<T>) -> Self {
        refused.problem.into()
    }
}

impl<T: Told> ApiResponse for Refused<T> {
    fn meta() -> MetaResponses {
        let told = T::STATUSES.iter().flat_map(|(status, description)| {
            let meta = Problem::meta().responses.into_iter();
            meta.map(|response| MetaResponse { description, status: Some(*status), ..response })
        });
        MetaResponses { responses: told.chain(Problem::meta().responses).collect() }
    }

    fn register(registry: &mut Registry) {
        Problem::register(registry);
    }
}
