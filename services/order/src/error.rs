//! Why a request was not served, and how that is answered: the one place for both edges.

use std::time::Duration;

use domain::order;
use web::Problem;

/// When to come again after trouble that passes.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// One fault of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    /// The field's path: `lines[0].quantity`.
    pub field: String,
    /// What is wrong with it.
    pub message: String,
}

/// Why a request was not served.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A value that is not allowed.
    #[error("{}: {}", .0.field, .0.message)]
    Invalid(Fault),
    /// Understood, and not the caller's to set.
    #[error("{}: {}", .0.field, .0.message)]
    Refused(Fault),
    /// Some lines cannot be had.
    #[error("Product not available")]
    NotAvailable {
        /// What there is of the first of them.
        stock: i64,
        /// The lines.
        faults: Vec<Fault>,
    },
    /// The product service does not answer.
    #[error("the product service does not answer: {0}")]
    CatalogueAway(String),
    /// The product service answers what it never should.
    #[error("the product service's answer makes no sense: {0}")]
    CatalogueConfused(String),
    /// The user service does not answer.
    #[error("the user service does not answer: {0}")]
    AddressesAway(String),
    /// The user service answers what it never should.
    #[error("the user service's answer makes no sense: {0}")]
    AddressesConfused(String),
    /// Administrators only.
    #[error("only administrators may see others' orders")]
    NotYours,
    /// This user watches so many orders at once already.
    #[error("at most {0} streams may be open at once")]
    TooManyStreamsOfUser(usize),
    /// Everybody together does.
    #[error("too many orders are being watched")]
    TooManyStreams,
    /// The order says no.
    #[error(transparent)]
    Denied(#[from] order::Error),
    /// Others keep changing the order.
    #[error("others keep changing the order")]
    Conflict,
    /// The event store cannot be written or read.
    #[error(transparent)]
    Store(#[from] event_store::Error),
    /// The read model cannot be read.
    #[error(transparent)]
    ReadModel(#[from] sqlx::Error),
}

impl Error {
    pub fn invalid(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Invalid(Fault { field: field.into(), message: message.into() })
    }

    /// There is no such order, or none that this caller may see.
    pub fn no_such_order() -> Self {
        Self::Denied(order::Error::Unknown)
    }
}

impl From<runtime::commands::Error<order::Error>> for Error {
    fn from(error: runtime::commands::Error<order::Error>) -> Self {
        match error {
            runtime::commands::Error::Denied(reason) => Self::Denied(reason),
            runtime::commands::Error::Conflict => Self::Conflict,
            runtime::commands::Error::NotRecorded(error) => Self::Store(error),
        }
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let sentence = error.to_string();
        match error {
            Error::Invalid(fault) => Self::bad_request(sentence).field(fault.field, fault.message),
            Error::Refused(fault) => Self::unprocessable(sentence).field(fault.field, fault.message),
            Error::NotAvailable { stock, faults } => {
                let problem = Self::bad_request(sentence).kind("not-available", "Product not available");
                faults
                    .into_iter()
                    .fold(problem.with("stock", stock), |problem, fault| problem.field(fault.field, fault.message))
            }
            Error::CatalogueAway(cause) => {
                tracing::warn!(cause, "the product service does not answer");
                Self::unavailable("Product service unavailable", RETRY_AFTER)
            }
            Error::AddressesAway(cause) => {
                tracing::warn!(cause, "the user service does not answer");
                Self::unavailable("Addresses cannot be looked up at present", RETRY_AFTER)
            }
            Error::NotYours => Self::forbidden("Only administrators may see others' orders"),
            Error::TooManyStreamsOfUser(_) => Self::too_many_requests(sentence, RETRY_AFTER),
            Error::TooManyStreams => Self::unavailable("Too many orders are being watched at present", RETRY_AFTER),
            Error::Denied(reason) => denied(&reason),
            Error::Conflict => Self::conflict("The order is being changed by others: try again"),
            Error::Store(event_store::Error::Unavailable(cause)) => away(&cause),
            Error::ReadModel(error) if passes(&error) => away(&error),
            error @ (Error::CatalogueConfused(_)
            | Error::AddressesConfused(_)
            | Error::Store(_)
            | Error::ReadModel(_)) => Self::internal(error),
        }
    }
}

impl From<Error> for tonic::Status {
    fn from(error: Error) -> Self {
        Problem::from(error).into()
    }
}

fn denied(reason: &order::Error) -> Problem {
    use order::Error::{
        AlreadyCancelled, AlreadyPlaced, Money, NoLines, NotAPrice, RepeatedProduct, TooManyLines, Unknown,
        UnknownStatus,
    };
    match reason {
        Unknown => Problem::not_found("Order not found"),
        AlreadyCancelled | AlreadyPlaced => Problem::conflict(reason.to_string()),
        NoLines | TooManyLines(_) | RepeatedProduct(_) | NotAPrice(_) | Money(_) => {
            Problem::unprocessable(format!("lines: {reason}")).field("lines", reason.to_string())
        }
        UnknownStatus => Problem::bad_request(reason.to_string()).field("status", reason.to_string()),
    }
}

fn away(cause: &dyn std::fmt::Display) -> Problem {
    tracing::warn!(%cause, "the database is not available");
    Problem::unavailable("Orders are not available at present", RETRY_AFTER)
}

/// Whether the database is away or overloaded, rather than asked something wrong.
fn passes(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed => true,
        // Connection exceptions, out of resources, cancelled or shutting down, conflicts between transactions.
        sqlx::Error::Database(error) => error.code().is_some_and(|code| {
            ["08", "53", "57", "40"].iter().any(|class| code.starts_with(class)) || code == "55P03"
        }),
        _ => false,
    }
}
