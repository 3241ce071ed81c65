//! Calls that are known to be the other side's, of now, and coming for the first time.
//!
//! Both directions carry `Sagashop-Signature: t=…,v1=…` ([`web::WebhookKey`]). A webhook signs its body. A request signs
//! its method and target too, so that it cannot be sent elsewhere, and a [`NONCE`], so that two equal requests of one
//! second are two. What was believed once is not believed again while its signature could be.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use poem::http::Uri;
use poem::{Request, RequestBody};
use poem_openapi::error::ContentTypeError;
use poem_openapi::payload::{Json, Payload};
use poem_openapi::registry::{MetaRequest, Registry};
use poem_openapi::types::{ParseFromJSON, Type};
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};
use sha2::{Digest, Sha256};
use web::{Problem, SIGNATURE, SIGNATURE_TOLERANCE, WebhookKey};

/// The header of a request that makes it the only one of its kind.
pub const NONCE: &str = "Sagashop-Nonce";

/// A shared secret has at least so many characters.
pub const SECRET_CHARS_MIN: usize = 32;
const NONCE_CHARS_MAX: usize = 64;
/// Calls that are remembered. Beyond that the oldest are forgotten, and idempotency alone makes their repetition
/// harmless.
const REMEMBERED_MAX: usize = 262_144;

/// The secret is too short.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the secret that is shared with the payment provider needs at least {SECRET_CHARS_MIN} characters")]
pub struct WeakSecret;

/// The key of a shared secret.
///
/// # Errors
/// It is too short to be one.
pub fn key(secret: &str) -> Result<WebhookKey, WeakSecret> {
    if secret.chars().count() < SECRET_CHARS_MIN {
        return Err(WeakSecret);
    }
    WebhookKey::new(secret).map_err(|_| WeakSecret)
}

/// What the signature of a request covers, beside the moment.
pub fn request(method: &str, target: &str, nonce: &str, body: &[u8]) -> Vec<u8> {
    [format!("{method} {target}\n{nonce}\n").as_bytes(), body].concat()
}

/// Lets calls in, each once.
#[derive(Debug)]
pub struct Doorkeeper {
    key: WebhookKey,
    seen: Mutex<Seen>,
}

impl Doorkeeper {
    /// One that knows the other side by this key.
    pub fn new(key: WebhookKey) -> Self {
        Self { key, seen: Mutex::default() }
    }

    /// Whether a request is the other side's.
    ///
    /// # Errors
    /// 401 where it is not or not of now, 409 where it came before.
    pub fn request(&self, request: &Request, body: &[u8], now: DateTime<Utc>) -> Result<(), Problem> {
        // As it was sent: what was signed is the target before any prefix was taken off.
        self.request_to(request.original_uri(), request, body, now)
    }

    fn request_to(&self, target: &Uri, request: &Request, body: &[u8], now: DateTime<Utc>) -> Result<(), Problem> {
        let nonce = request.header(NONCE).filter(|nonce| (1..=NONCE_CHARS_MAX).contains(&nonce.len()));
        let nonce =
            nonce.ok_or_else(|| refused("The header Sagashop-Nonce is missing or longer than 64 characters"))?;
        let target = target.path_and_query().map_or("/", |target| target.as_str());
        self.admit(request, &self::request(request.method().as_str(), target, nonce, body), now)
    }

    /// Whether a webhook is the other side's.
    ///
    /// # Errors
    /// As [`Doorkeeper::request`].
    pub fn webhook(&self, request: &Request, body: &[u8], now: DateTime<Utc>) -> Result<(), Problem> {
        self.admit(request, body, now)
    }

    fn admit(&self, request: &Request, signed: &[u8], now: DateTime<Utc>) -> Result<(), Problem> {
        let header = request.header(SIGNATURE).ok_or_else(|| refused("The header Sagashop-Signature is missing"))?;
        self.key
            .verify(header, signed, now, SIGNATURE_TOLERANCE)
            .map_err(|error| refused(format!("The request is not believed: {error}")))?;
        if self.seen.lock().is_new(digest(signed), now) {
            return Ok(());
        }
        Err(Problem::conflict("This very call came before").kind("replayed", "The call came before"))
    }
}

fn refused(detail: impl Into<String>) -> Problem {
    Problem::unauthenticated(detail).kind("signature", "The signature is missing or wrong")
}

/// Half of a SHA-256: nobody finds two that share it.
fn digest(signed: &[u8]) -> u128 {
    let mut half = [0; 16];
    half.copy_from_slice(&Sha256::digest(signed)[..16]);
    u128::from_be_bytes(half)
}

/// What was let in, for as long as its signature is good.
#[derive(Debug, Default)]
struct Seen {
    calls: HashSet<u128>,
    ages: VecDeque<(DateTime<Utc>, u128)>,
}

impl Seen {
    /// A signature from the future is good until that has passed too.
    const KEPT: Duration = SIGNATURE_TOLERANCE.saturating_mul(2);

    fn is_new(&mut self, call: u128, now: DateTime<Utc>) -> bool {
        while self.ages.front().is_some_and(|(at, _)| (now - at).to_std().is_ok_and(|age| age > Self::KEPT)) {
            self.forget_oldest();
        }
        if !self.calls.insert(call) {
            return false;
        }
        self.ages.push_back((now, call));
        if self.ages.len() > REMEMBERED_MAX {
            self.forget_oldest();
        }
        true
    }

    fn forget_oldest(&mut self) {
        if let Some((_, oldest)) = self.ages.pop_front() {
            self.calls.remove(&oldest);
        }
    }
}

/// A JSON body as its bytes, which are what was signed; read only once they are believed.
pub struct Raw<T> {
    bytes: Vec<u8>,
    read: std::marker::PhantomData<fn() -> T>,
}

impl<T: ParseFromJSON> Raw<T> {
    /// As it was sent.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What it says.
    ///
    /// # Errors
    /// 400: it is no JSON, or not of this form.
    pub fn read(&self) -> Result<T, Problem> {
        let value = serde_json::from_slice(&self.bytes)
            .map_err(|error| Problem::bad_request(format!("The body is not valid JSON: {error}")))?;
        T::parse_from_json(Some(value)).map_err(|error| {
            let message = error.into_message();
            let message = message.split(" (occurred while parsing").next().unwrap_or_default();
            Problem::bad_request(format!("The body is not valid: {message}"))
        })
    }
}

impl<'a, T: Type + ParseFromJSON> ApiExtractor<'a> for Raw<T> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];

    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        <Json<T> as Payload>::register(registry);
    }

    fn request_meta() -> Option<MetaRequest> {
        <Json<T> as ApiExtractor>::request_meta()
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        _options: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        let content_type = request.content_type().ok_or(ContentTypeError::ExpectContentType)?;
        if !<Json<T> as Payload>::check_content_type(content_type) {
            return Err(ContentTypeError::NotSupported { content_type: content_type.to_owned() }.into());
        }
        let bytes = body.take()?.into_vec().await?;
        Ok(Self { bytes, read: std::marker::PhantomData })
    }
}

#[cfg(test)]
mod tests {
    use poem::http::StatusCode;

    use super::*;

    const SECRET: &str = "psp_secret_0123456789abcdef01234567";

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + seconds, 0).unwrap()
    }

    fn call(target: &str, nonce: &str, body: &[u8], signed_at: i64) -> Request {
        let signature = key(SECRET).unwrap().sign(at(signed_at), &request("POST", target, nonce, body));
        let call = Request::builder().method(poem::http::Method::POST).uri_str(target);
        call.header(NONCE, nonce).header(SIGNATURE, signature).finish()
    }

    /// A request that did not come over a connection has no original target.
    fn let_in(door: &Doorkeeper, request: &Request, body: &[u8], now: i64) -> u16 {
        status(door.request_to(request.uri(), request, body, at(now)))
    }

    fn doorkeeper() -> Doorkeeper {
        Doorkeeper::new(key(SECRET).unwrap())
    }

    fn status(admitted: Result<(), Problem>) -> u16 {
        admitted.map_or_else(|problem| problem.status_code(), |()| StatusCode::OK).as_u16()
    }

    #[test]
    fn a_request_is_let_in_once() {
        let (door, first, second) =
            (doorkeeper(), call("/v1/charges", "1", b"{}", 0), call("/v1/charges", "2", b"{}", 0));
        assert_eq!(let_in(&door, &first, b"{}", 0), 200);
        assert_eq!(let_in(&door, &first, b"{}", 299), 409);
        assert_eq!(let_in(&door, &second, b"{}", 0), 200);
        assert_eq!(let_in(&door, &first, b"{}", 301), 401);
    }

    #[test]
    fn a_signature_is_good_for_what_it_signs_alone() {
        let door = doorkeeper();
        let signed = call("/v1/charges?x=1", "1", b"{}", 0);
        assert_eq!(let_in(&door, &signed, b"{} ", 0), 401);
        let header = |request: &Request, name: &str| request.header(name).unwrap().to_owned();
        for (target, nonce, method) in [
            ("/v1/refunds", "1", "POST"),
            ("/v1/charges?x=2", "1", "POST"),
            ("/v1/charges?x=1", "2", "POST"),
            ("/v1/charges?x=1", "", "POST"),
            ("/v1/charges?x=1", "1", "PUT"),
        ] {
            let moved = Request::builder().method(method.parse().unwrap()).uri_str(target).header(NONCE, nonce);
            let moved = moved.header(SIGNATURE, header(&signed, SIGNATURE)).finish();
            assert_eq!(let_in(&door, &moved, b"{}", 0), 401, "{method} {target} {nonce}");
        }
        assert_eq!(let_in(&door, &signed, b"{}", 0), 200, "what was refused is not remembered");
        // A request is no webhook.
        assert_eq!(status(door.webhook(&call("/v1/charges", "3", b"{}", 0), b"{}", at(0))), 401);
        assert_eq!(let_in(&door, &Request::builder().header(NONCE, "4").finish(), b"", 0), 401);
    }

    #[test]
    fn a_webhook_written_otherwise_is_the_same_webhook() {
        let (door, body) = (doorkeeper(), br#"{"id":"evt_1","attempt":1}"#);
        let signature = key(SECRET).unwrap().sign(at(0), body);
        let hook = |signature: String| Request::builder().header(SIGNATURE, signature).finish();
        assert_eq!(status(door.webhook(&hook(signature.clone()), body, at(0))), 200);
        for again in
            [signature.to_ascii_uppercase().replace("T=", "t=").replace("V1=", "v1="), format!("{signature},v2=x")]
        {
            assert_eq!(status(door.webhook(&hook(again), body, at(1))), 409);
        }
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut seen = Seen::default();
        for call in 0..=u128::try_from(REMEMBERED_MAX).unwrap() {
            assert!(seen.is_new(call, at(0)));
        }
        assert_eq!((seen.ages.len(), seen.calls.len()), (REMEMBERED_MAX, REMEMBERED_MAX));
        assert!(!seen.is_new(1, at(600)));
        assert!(seen.is_new(1, at(601)));
        assert_eq!(seen.ages.len(), 1);
    }

    #[test]
    fn a_short_secret_is_none() {
        assert_eq!(key(&"x".repeat(31)).unwrap_err(), WeakSecret);
        assert!(key(&"x".repeat(32)).is_ok());
    }
}
