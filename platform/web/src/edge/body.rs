//! What no body may contain: bytes that are not text, and the NUL character, which PostgreSQL stores neither as `text`
//! nor inside `jsonb`.

use serde_json::Value;

use crate::Problem;

/// Refuses a body that could not be stored.
pub(super) fn check(body: &[u8]) -> Result<(), Problem> {
    if std::str::from_utf8(body).is_err() {
        return Err(Problem::bad_request("The body is not valid UTF-8"));
    }
    if !has_nul(body) {
        return Ok(());
    }
    let detail = "The body contains a NUL character";
    // A path of none means that it stands in a key, or that the body is no JSON.
    let field = serde_json::from_slice::<Value>(body).ok().and_then(|value| path_of_nul(&value));
    Err(match field.filter(|field| !field.is_empty()) {
        Some(field) => Problem::bad_request(detail).field(field, "contains a NUL character"),
        None => Problem::bad_request(detail),
    })
}

/// A NUL byte, or its escape `\u0000`; an escaped backslash before `u0000` makes it plain text.
fn has_nul(body: &[u8]) -> bool {
    let mut rest = body;
    while let Some(at) = rest.iter().position(|byte| *byte == 0 || *byte == b'\\') {
        if rest[at] == 0 || rest[at + 1..].starts_with(b"u0000") {
            return true;
        }
        rest = rest.get(at + 2..).unwrap_or_default();
    }
    false
}

/// Where the first string with a NUL is; keys have no path.
fn path_of_nul(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => text.contains('\0').then(String::new),
        Value::Array(items) => items.iter().enumerate().find_map(|(index, item)| {
            let inner = path_of_nul(item)?;
            Some(format!("[{index}]{}", joined(&inner)))
        }),
        Value::Object(members) => members.iter().find_map(|(name, member)| {
            let inner = path_of_nul(member)?;
            Some(format!("{}{}", name.replace('\0', "?"), joined(&inner)))
        }),
        _ => None,
    }
}

fn joined(inner: &str) -> String {
    if inner.is_empty() || inner.starts_with('[') { inner.to_owned() } else { format!(".{inner}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nul_is_found_however_it_is_written() {
        for body in [&b"{\"a\":\"\\u0000\"}"[..], b"\"x\\\\\\u0000\"", b"a\0b", b"\\u0000"] {
            assert!(has_nul(body), "{}", String::from_utf8_lossy(body));
        }
        for body in [&b"{}"[..], b"\"\\\\u0000\"", b"\"\\u0001\"", b"\"\\n\"", b"\\", b"u0000"] {
            assert!(!has_nul(body), "{}", String::from_utf8_lossy(body));
        }
    }

    #[test]
    fn the_field_with_a_nul_is_named() {
        let body = b"{\"name\":\"ok\",\"lines\":[{\"note\":\"fine\"},{\"note\":\"a\\u0000b\"}]}";
        let problem = check(body).unwrap_err();
        assert_eq!(problem.errors()[0].field, "lines[1].note");
        assert!(check(b"{\"\\u0000\":1}").unwrap_err().errors().is_empty());
        assert!(check(b"\xff\xfe").is_err());
        assert!(check(b"").is_ok());
    }
}
