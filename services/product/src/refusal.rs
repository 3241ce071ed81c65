//! What is answered when something cannot be done: for REST and gRPC, in one place.

use std::borrow::Borrow;
use std::time::Duration;

use domain::{product, stock};
use runtime::commands;
use uuid::Uuid;
use web::Problem;

use crate::entry::Version;
use crate::queries;

/// What passes, passes soon.
const COME_AGAIN: Duration = Duration::from_secs(1);

/// An aggregate of this service says no.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Denied {
    #[error(transparent)]
    Product(#[from] product::Error),
    #[error(transparent)]
    Stock(#[from] stock::Error),
    /// It is not what the caller last saw.
    #[error("the product has changed meanwhile")]
    Stale(Version),
}

/// There is no such product (any more).
pub(crate) fn not_found(id: Uuid) -> Problem {
    Problem::not_found("Product not found").with("id", id.to_string())
}

/// A field with a value that is not allowed.
pub(crate) fn not_valid(field: &str, reason: impl std::fmt::Display) -> Problem {
    let reason = reason.to_string();
    Problem::bad_request(format!("{field}: {reason}")).field(field, reason)
}

/// A parameter with a value that is not allowed.
pub(crate) fn not_valid_parameter(name: &str, reason: impl std::fmt::Display) -> Problem {
    let reason = reason.to_string();
    Problem::bad_request(format!("{name}: {reason}")).parameter(name, reason)
}

/// Why product `id` could not be created.
pub(crate) fn of_creation(error: commands::Error<Denied>, id: Uuid) -> Problem {
    match error {
        commands::Error::Denied(
            Denied::Product(product::Error::AlreadyCreated | product::Error::Deleted)
            | Denied::Stock(stock::Error::AlreadyOpen | stock::Error::Closed),
        ) => Problem::conflict("There is such a product already, or there was").with("id", id.to_string()),
        error => of_command(error, id, "stock"),
    }
}

/// Why a command to product `id` had no effect; `counted` is the field that said how many.
pub(crate) fn of_command<E: Into<Denied> + std::error::Error>(
    error: commands::Error<E>,
    id: Uuid,
    counted: &str,
) -> Problem {
    match error {
        commands::Error::Denied(denied) => of_denial(denied.into(), id, counted),
        commands::Error::Conflict => Problem::conflict("The product is being changed by others: try again"),
        commands::Error::NotRecorded(error) => of_store(error),
    }
}

fn of_denial(denied: Denied, id: Uuid, counted: &str) -> Problem {
    match denied {
        Denied::Product(product::Error::Unknown | product::Error::Deleted)
        | Denied::Stock(stock::Error::Unknown | stock::Error::Closed) => not_found(id),
        Denied::Stock(error @ stock::Error::OutOfRange(_)) => not_valid(counted, error),
        Denied::Stale(version) => {
            let detail = "The product has changed since you read it: read it again, and decide again";
            Problem::precondition_failed(detail).with("version", version.to_string())
        }
        Denied::Product(product::Error::AlreadyCreated)
        | Denied::Stock(stock::Error::AlreadyOpen | stock::Error::NothingReserved(_)) => {
            Problem::conflict(denied.to_string())
        }
    }
}

/// The event store failed.
pub(crate) fn of_store(error: event_store::Error) -> Problem {
    if !error.is_transient() {
        return Problem::internal(error);
    }
    tracing::warn!(%error, "the event store is away");
    Problem::unavailable("Products cannot be changed at present", COME_AGAIN)
}

/// A query failed.
pub(crate) fn of_query(error: impl Borrow<queries::Error>) -> Problem {
    match error.borrow() {
        error @ queries::Error::UnknownCursor(_) => not_valid_parameter("after", error),
        queries::Error::Database(error) if is_transient(error) => {
            tracing::warn!(%error, "the database is away");
            Problem::unavailable("Products cannot be read at present", COME_AGAIN)
        }
        error => Problem::internal(error),
    }
}

fn is_transient(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed => true,
        // Connections, resources, an operator at work, a serialisation that failed.
        sqlx::Error::Database(error) => {
            error.code().is_some_and(|code| ["08", "53", "57", "40"].iter().any(|class| code.starts_with(class)))
        }
        _ => false,
    }
}
