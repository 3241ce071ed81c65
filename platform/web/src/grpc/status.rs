//! Problems as gRPC says them: a status with details of `google.rpc`.

use std::collections::HashMap;

use poem::http::StatusCode;
use serde_json::Value;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::{Problem, context};

/// Whose reasons they are.
const DOMAIN: &str = "sagashop";

/// The status that says the same as a problem. Its details: `ErrorInfo` with the kind as its reason (`OUT_OF_STOCK`) and
/// the problem's own members, `BadRequest` with the fields, `RetryInfo`, and `RequestInfo` with the correlation id.
pub fn status(problem: &Problem) -> Status {
    let members = problem.members().iter().map(|(name, value)| (name.clone(), text(value)));
    let reason = problem.kind_name().replace('-', "_").to_ascii_uppercase();
    let mut details = ErrorDetails::with_error_info(reason, DOMAIN, members.collect::<HashMap<_, _>>());
    for fault in problem.errors() {
        details.add_bad_request_violation(&fault.field, &fault.message);
    }
    if let Some(delay) = problem.retry_delay() {
        details.set_retry_info(Some(delay));
    }
    if let Some(context) = context() {
        details.set_request_info(context.correlation_id.to_string(), context.trace_id());
    }
    Status::with_error_details(code(problem.status_code()), problem.detail(), details)
}

impl From<Problem> for Status {
    /// [`status`].
    fn from(problem: Problem) -> Self {
        status(&problem)
    }
}

fn code(status: StatusCode) -> Code {
    match status {
        StatusCode::UNAUTHORIZED => Code::Unauthenticated,
        StatusCode::FORBIDDEN => Code::PermissionDenied,
        StatusCode::NOT_FOUND | StatusCode::GONE => Code::NotFound,
        StatusCode::CONFLICT | StatusCode::PRECONDITION_FAILED => Code::FailedPrecondition,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::PAYLOAD_TOO_LARGE => Code::ResourceExhausted,
        StatusCode::REQUEST_TIMEOUT | StatusCode::GATEWAY_TIMEOUT => Code::DeadlineExceeded,
        StatusCode::SERVICE_UNAVAILABLE => Code::Unavailable,
        StatusCode::NOT_IMPLEMENTED => Code::Unimplemented,
        status if status.is_client_error() => Code::InvalidArgument,
        _ => Code::Internal,
    }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_status_says_all_that_the_problem_says() {
        let problem = Problem::conflict("Only 3 are left")
            .kind("out-of-stock", "Out of stock")
            .with("stock", 3)
            .field("lines[0].quantity", "is more than there is")
            .retry_after(Duration::from_secs(2));
        let status = Status::from(problem);
        assert_eq!((status.code(), status.message()), (Code::FailedPrecondition, "Only 3 are left"));
        let details = status.get_error_details();
        let info = details.error_info().unwrap();
        assert_eq!((info.reason.as_str(), info.domain.as_str()), ("OUT_OF_STOCK", "sagashop"));
        assert_eq!(info.metadata["stock"], "3");
        let violation = &details.bad_request().unwrap().field_violations[0];
        assert_eq!(violation.field, "lines[0].quantity");
        assert_eq!(violation.description, "is more than there is");
        assert_eq!(details.retry_info().unwrap().retry_delay, Some(Duration::from_secs(2)));
    }

    #[test]
    fn causes_stay_here() {
        let status = Status::from(Problem::internal("SELECT secret FROM vault"));
        assert_eq!(status.code(), Code::Internal);
        let said = format!("{status:?} {:?}", status.get_error_details());
        assert!(!said.contains("SELECT") && !said.contains("vault"), "{said}");
    }
}
