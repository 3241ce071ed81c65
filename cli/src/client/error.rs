//! Why a request had no answer, or not the one that was hoped for.

use serde::Deserialize;

/// Why a request was not served.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// Nobody listens: the request was not served.
    #[error("nobody answers at the shop's address: {0}")]
    Away(String),
    /// The connection broke: whether the request was served is not known.
    #[error("the connection to the shop was lost: {0}")]
    Unreachable(String),
    /// The answer took too long: whether the request was served is not known.
    #[error("the shop did not answer in time")]
    TimedOut,
    /// The shop said no.
    #[error("{status} {kind}: {detail}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The problem's type, such as `not-available`.
        kind: String,
        /// The sentence for people.
        detail: String,
    },
    /// The answer is none that the shop gives.
    #[error("the answer cannot be read: {0}")]
    Unreadable(String),
}

impl Error {
    /// Whether the same request may be served in a moment: the shop is away, or busy.
    pub fn passes(&self) -> bool {
        match self {
            Self::Away(_) | Self::Unreachable(_) | Self::TimedOut => true,
            Self::Refused { status, .. } => matches!(status, 429 | 502..=504),
            Self::Unreadable(_) => false,
        }
    }

    /// A few words to count it under.
    pub fn label(&self) -> String {
        match self {
            Self::Away(_) => "nobody listens".to_owned(),
            Self::Unreachable(_) => "connection lost".to_owned(),
            Self::TimedOut => "no answer in time".to_owned(),
            Self::Refused { status, kind, .. } => format!("{status} {kind}"),
            Self::Unreadable(_) => "unreadable answer".to_owned(),
        }
    }

    pub(super) fn of_transport(error: reqwest::Error) -> Self {
        if error.is_timeout() && !error.is_connect() {
            return Self::TimedOut;
        }
        // The cause at the bottom says it ("connection refused"); those above repeat the URL.
        let mut cause: &dyn std::error::Error = &error;
        while let Some(deeper) = cause.source() {
            cause = deeper;
        }
        let cause = cause.to_string();
        if error.is_connect() { Self::Away(cause) } else { Self::Unreachable(cause) }
    }

    /// From a body as RFC 9457 has it; of any other nothing but the status is told.
    pub(super) fn of_refusal(status: u16, body: &[u8]) -> Self {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Problem {
            r#type: String,
            detail: String,
        }
        let problem: Problem = serde_json::from_slice(body).unwrap_or_default();
        let kind = problem.r#type.rsplit(['/', ':']).next().unwrap_or_default().to_owned();
        Self::Refused { status, kind, detail: problem.detail }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_known_by_the_end_of_its_type() {
        let body = br#"{"type":"/problems/not-available","detail":"Product not available","status":400,"stock":2}"#;
        let error = Error::of_refusal(400, body);
        assert_eq!(error.label(), "400 not-available");
        assert!(!error.passes());
    }

    #[test]
    fn a_gateway_without_a_problem_passes() {
        assert!(Error::of_refusal(503, b"<html>").passes());
    }
}
