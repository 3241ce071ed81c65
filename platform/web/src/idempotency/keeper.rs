//! Answers that must not lie in the database as they were sent.

use async_trait::async_trait;
use event_store::Answer;
use futures::FutureExt;
use poem::IntoResponse;

use crate::Problem;

/// Knows what a service keeps of its answers in their place: their ciphertext, or what they can be made of again.
#[async_trait]
pub trait Keeper: Send + Sync + 'static {
    /// What is kept to know a request again, of its SHA-256. Bodies that hold a secret somebody could guess need a keyed
    /// hash here.
    fn fingerprint(&self, request: [u8; 32]) -> [u8; 32] {
        request
    }

    /// The answer as it was sent, of what was kept of it.
    ///
    /// # Errors
    /// It can be read no more ([`gone`]), or not at present.
    async fn recall(&self, kept: Answer) -> Result<Answer, Problem>;
}

/// The refusal of a request whose answer can be read no more.
pub fn gone() -> Problem {
    Problem::conflict("What was answered under this Idempotency-Key has been deleted: take a new one")
        .kind("idempotency-answer-gone", "The answer is gone")
}

/// The answer in what was kept, as this response tells it. Its body has to be in memory.
///
/// # Errors
/// It is not.
pub fn told_again(kept: Answer, response: impl IntoResponse) -> Result<Answer, Problem> {
    let taken = taken(response).ok_or_else(|| Problem::internal("an answer that is told again is not in memory"))?;
    let Taken { status, headers, body } = taken;
    Ok(Answer { status, headers, body, ..kept })
}

/// A response to the byte.
pub(super) struct Taken {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// A response's parts, if its body is in memory.
pub(super) fn taken(response: impl IntoResponse) -> Option<Taken> {
    let (parts, body) = response.into_response().into_parts();
    let body = body.into_bytes().now_or_never()?.ok()?;
    let headers = parts.headers.iter().filter_map(|(name, value)| {
        let value = value.to_str().ok()?;
        Some((name.as_str().to_owned(), value.to_owned()))
    });
    Some(Taken { status: parts.status.as_u16(), headers: headers.collect(), body: body.to_vec() })
}
