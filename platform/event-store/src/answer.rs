//! Answers to requests that came with an idempotency key.

/// What a request with an idempotency key was answered, kept beside its effect: written in the same
/// transaction, or not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Whose key it is.
    pub scope: String,
    /// The key; one answer per scope and key.
    pub key: String,
    /// The request's: the same key with another request is an error of the caller's.
    pub fingerprint: Vec<u8>,
    /// The status.
    pub status: u16,
    /// The headers that belong to the answer.
    pub headers: Vec<(String, String)>,
    /// The body, byte for byte.
    pub body: Vec<u8>,
}
