//! The framework's refusals as problems.

use poem::Error;
use poem::error::{
    GetDataError, MethodNotAllowedError, NotFoundError, ParsePathError as PoemPathError, ParseQueryError, ReadBodyError,
};
use poem::http::Method;
use poem_openapi::error::{
    AuthorizationError, ContentTypeError, ParseParamError, ParsePathError, ParseRequestPayloadError,
};
use serde_json::Value;

use crate::Problem;
use crate::routes::{Fault, Route, Routes};

/// What was asked, as far as an answer needs it.
pub(crate) struct Asked<'a> {
    pub routes: &'a Routes,
    pub route: Option<&'a Route>,
    pub method: &'a Method,
    pub body: &'a [u8],
}

impl Asked<'_> {
    /// The problem that an error of the framework, or of a handler, stands for.
    pub fn problem(&self, error: &Error) -> Problem {
        if let Some(problem) = error.downcast_ref::<Problem>() {
            return problem.clone();
        }
        if let Some(refused) = error.downcast_ref::<ParseRequestPayloadError>() {
            return self.of_payload(&refused.reason);
        }
        if let Some(refused) = error.downcast_ref::<ParseParamError>() {
            let reason = plain(&refused.reason);
            return Problem::bad_request(format!("{} is not valid: {reason}", refused.name))
                .parameter(refused.name, reason);
        }
        if let Some(refused) = error.downcast_ref::<ParsePathError>() {
            return self.of_path(refused);
        }
        if let Some(refused) = error.downcast_ref::<ContentTypeError>() {
            return Problem::unsupported_media_type(match refused {
                ContentTypeError::NotSupported { .. } => "The body of this request has to be application/json",
                ContentTypeError::ExpectContentType => "The header Content-Type is missing: application/json",
            });
        }
        if error.is::<AuthorizationError>() {
            return Problem::unauthenticated("An access token is needed: Authorization: Bearer …");
        }
        if error.is::<NotFoundError>() || error.is::<PoemPathError>() {
            return Problem::not_found("There is nothing at this path");
        }
        if error.is::<MethodNotAllowedError>() {
            return Problem::method_not_allowed();
        }
        if error.is::<ParseQueryError>() || error.is::<ReadBodyError>() {
            return Problem::bad_request("The request cannot be read");
        }
        let status = error.status();
        if error.is::<GetDataError>() || status.is_server_error() {
            return Problem::internal(error);
        }
        Problem::of_status(status)
    }

    fn of_path(&self, refused: &ParsePathError) -> Problem {
        // The framework numbers what the document names.
        let number = refused.name.strip_prefix("param").and_then(|number| number.parse().ok());
        let name = number.and_then(|number| self.route?.parameter(number)).unwrap_or(refused.name);
        let reason = plain(&refused.reason);
        Problem::bad_request(format!("{name} in the path is not valid: {reason}")).parameter(name, reason)
    }

    fn of_payload(&self, reason: &str) -> Problem {
        let body = match serde_json::from_slice::<Value>(self.body) {
            Ok(body) => body,
            Err(_) if self.body.is_empty() => return Problem::bad_request("The body is missing"),
            Err(error) => return Problem::bad_request(format!("The body is not valid JSON: {error}")),
        };
        let faults = self.route.map_or_else(Vec::new, |route| self.routes.diagnose(route, self.method, &body));
        let unknown = reason.contains("unknown field `") || reason.contains("is read only");
        let faults = faults.into_iter().filter(|fault| fault.unknown == unknown).collect::<Vec<_>>();
        let (Some(first), refusal) = (faults.first(), refusal(unknown)) else {
            let field = reason.split('`').nth(1).unwrap_or_default();
            let reason = plain(reason);
            let problem = refusal(unknown)(sentence(field, reason));
            return if field.is_empty() { problem } else { problem.field(field, reason) };
        };
        let problem = refusal(sentence(&first.field, &first.message));
        faults.into_iter().fold(problem, |problem, Fault { field, message, .. }| problem.field(field, message))
    }
}

/// A field that is not the caller's to set is refused (422); all else cannot be read (400).
fn refusal(unknown: bool) -> fn(String) -> Problem {
    if unknown { |detail| Problem::unprocessable(detail) } else { |detail| Problem::bad_request(detail) }
}

fn sentence(field: &str, message: &str) -> String {
    if field.is_empty() { format!("The body is not valid: {message}") } else { format!("{field}: {message}") }
}

/// A message of the framework's without the names of our types.
fn plain(reason: &str) -> &str {
    let reason = reason.split(" (occurred while parsing").next().unwrap_or(reason);
    match reason.strip_prefix("failed to parse \"").and_then(|rest| rest.split_once("\": ")) {
        Some((_, inner)) => plain(inner),
        None => reason,
    }
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn messages_lose_the_names_of_types() {
        let reason = "failed to parse \"integer_int32\": invalid integer (occurred while parsing \"CreateOrder\")";
        assert_eq!(plain(reason), "invalid integer");
        assert_eq!(plain("Expected input type \"string\", found 5."), "Expected input type \"string\", found 5.");
    }
}
