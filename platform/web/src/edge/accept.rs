//! Whether the caller can read what would be answered.

use poem::http::{HeaderMap, header};

use crate::Problem;
use crate::routes::{Operation, essence};

/// Refuses a request whose `Accept` leaves out every type of the operation.
pub(super) fn check(headers: &HeaderMap, operation: &Operation) -> Result<(), Problem> {
    let mut asked = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).peekable();
    if asked.peek().is_none() || operation.produces.is_empty() {
        return Ok(());
    }
    let readable = asked.flat_map(|value| value.split(',')).any(|range| {
        let (range, parameters) = range.split_once(';').unwrap_or((range, ""));
        let refused = parameters.split(';').any(|parameter| {
            parameter.trim().strip_prefix("q=").and_then(|weight| weight.parse::<f32>().ok()) == Some(0.0)
        });
        !refused && operation.produces.iter().any(|media_type| fits(essence(range), media_type))
    });
    if readable { Ok(()) } else { Err(Problem::not_acceptable(&operation.produces.join(" or "))) }
}

/// Whether a media range covers a type. A range that cannot be read covers all, as an absent one does.
fn fits(range: &str, media_type: &str) -> bool {
    match range.split_once('/') {
        Some(("*", "*")) | None => true,
        Some((kind, "*")) => media_type.split('/').next().is_some_and(|own| own.eq_ignore_ascii_case(kind)),
        Some(_) => media_type.eq_ignore_ascii_case(range),
    }
}

#[cfg(test)]
mod tests {
    use super::fits;

    #[test]
    fn ranges_cover_types() {
        for (range, expected) in [
            ("*/*", true),
            ("application/*", true),
            ("application/json", true),
            ("APPLICATION/JSON", true),
            ("", true),
            ("text/*", false),
            ("text/html", false),
            ("application/xml", false),
        ] {
            assert_eq!(fits(range, "application/json"), expected, "{range}");
        }
    }
}
