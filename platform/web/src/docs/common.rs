//! What the documents of all services have in common: how one signs in, and what may be answered to anything.

use serde_json::{Map, Value, json};

use super::schemas;
use crate::problem::CONTENT_TYPE;

/// The scheme's name in the documents; the extractors of [`crate::auth`] give it.
const SCHEME: &str = "AccessToken";
const SCHEME_SAYS: &str = "The token that POST /login answered.";

/// One answer that the edge, and not the operation, may give.
struct Common {
    status: &'static str,
    name: &'static str,
    says: &'static str,
    retry: bool,
    fits: fn(&Operation) -> bool,
}

/// What of an operation tells the answers that it may have.
struct Operation {
    secured: bool,
    body: bool,
    /// Whether it may be sent under an idempotency key.
    key: bool,
    in_path: bool,
    /// Whether its sender signs it.
    signed: bool,
}

const fn common(status: &'static str, name: &'static str, says: &'static str, fits: fn(&Operation) -> bool) -> Common {
    Common { status, name, says, retry: false, fits }
}

const ANYTHING: fn(&Operation) -> bool = |_| true;
const WITH_BODY: fn(&Operation) -> bool = |operation| operation.body;
const WITH_BODY_OR_KEY: fn(&Operation) -> bool = |operation| operation.body || operation.key;
const SECURED: fn(&Operation) -> bool = |operation| operation.secured;
const SECURED_OR_SIGNED: fn(&Operation) -> bool = |operation| operation.secured || operation.signed;
const CHANGING_OR_SIGNED: fn(&Operation) -> bool = |operation| WITH_BODY_OR_KEY(operation) || operation.signed;

const COMMON: [Common; 14] = [
    common("400", "BadRequest", "The request cannot be read, or a value in it is not allowed", ANYTHING),
    common("401", "Unauthenticated", "No access token or signature, or none that is good", SECURED_OR_SIGNED),
    common("403", "Forbidden", "The caller is known, and not allowed", SECURED),
    common("404", "NotFound", "There is none, or none that the caller may see", |operation| operation.in_path),
    common("406", "NotAcceptable", "None of the types in Accept can be answered", ANYTHING),
    common("408", "TooSlow", "The body did not arrive in time", WITH_BODY),
    common("409", "Conflict", "It contradicts the present state", CHANGING_OR_SIGNED),
    common("413", "TooLarge", "The body is larger than allowed", WITH_BODY),
    common("415", "UnsupportedMediaType", "The body is of a type that is not understood", WITH_BODY),
    common("422", "Refused", "Understood, and refused: an unknown field, or a rule of the shop", WITH_BODY_OR_KEY),
    Common { retry: true, ..common("429", "TooManyRequests", "Too many requests; when to come again", ANYTHING) },
    common("431", "HeadersTooLarge", "The headers are more, or longer, than allowed", ANYTHING),
    common("500", "Internal", "An error of ours", ANYTHING),
    Common { retry: true, ..common("503", "Unavailable", "It passes; when to come again", ANYTHING) },
];

/// A document with what is common to all: the scheme explained, and every operation's answers complete.
pub(crate) fn completed(document: &str) -> String {
    // What cannot be read stays as it is; the tests of every service read theirs.
    let Ok(mut document) = serde_json::from_str::<Value>(document) else { return document.to_owned() };
    if !document["components"]["schemas"]["Problem"].is_object() {
        return format!("{document:#}");
    }
    for operations in document["paths"].as_object_mut().into_iter().flat_map(Map::values_mut) {
        for operation in operations.as_object_mut().into_iter().flat_map(Map::values_mut) {
            complete(operation);
        }
    }
    schemas::complete(&mut document);
    let responses = COMMON.iter().map(|common| (common.name.to_owned(), response(common)));
    document["components"]["responses"] = Value::Object(responses.collect());
    // Looked for without making it: a document without accounts has none.
    if let Some(scheme) =
        document.pointer_mut(&format!("/components/securitySchemes/{SCHEME}")).and_then(Value::as_object_mut)
    {
        scheme.insert("description".to_owned(), SCHEME_SAYS.into());
    }
    format!("{document:#}")
}

fn complete(operation: &mut Value) {
    let parameters = operation["parameters"].as_array().map_or(&[][..], Vec::as_slice);
    let of = Operation {
        secured: operation["security"].as_array().is_some_and(|schemes| !schemes.is_empty()),
        body: operation["requestBody"].is_object(),
        key: parameters.iter().any(|parameter| parameter["name"] == "Idempotency-Key"),
        in_path: parameters.iter().any(|parameter| parameter["in"] == "path"),
        signed: parameters.iter().any(|parameter| parameter["name"] == crate::SIGNATURE),
    };
    let Some(responses) = operation["responses"].as_object_mut() else { return };
    for common in COMMON.iter().filter(|common| (common.fits)(&of)) {
        let reference = || json!({ "$ref": format!("#/components/responses/{}", common.name) });
        responses.entry(common.status).or_insert_with(reference);
    }
}

fn response(common: &Common) -> Value {
    let schema = json!({ "$ref": "#/components/schemas/Problem" });
    let mut response = json!({
        "description": common.says,
        "content": { CONTENT_TYPE: { "schema": schema } },
    });
    if common.retry {
        response["headers"] = json!({ "Retry-After": {
            "description": "Seconds until it is worth trying again",
            "schema": { "type": "integer", "minimum": 0 },
        }});
    }
    response
}
