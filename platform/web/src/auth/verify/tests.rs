use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::Utc;
use jsonwebtoken::{EncodingKey, Header};
use kernel::UserId;
use poem::Server;
use poem::endpoint::make_sync;
use poem::listener::TcpAcceptor;
use serde_json::{Value, json};
use uuid::Uuid;

use super::super::Role;
use super::*;

const HOUR: Duration = Duration::from_secs(3600);

fn signer(seed: u8) -> TokenSigner {
    TokenSigner::from_seed(&[seed; 32], format!("key-{seed}")).unwrap()
}

fn good_claims() -> Value {
    let now = Utc::now().timestamp();
    json!({
        "sub": Uuid::now_v7(), "role": "customer", "iss": ISSUER, "aud": AUDIENCE, "typ": ACCESS,
        "iat": now, "exp": now + 600, "jti": Uuid::now_v7(),
    })
}

#[tokio::test]
async fn a_good_token_says_who_asks() {
    let (signer, user) = (signer(1), UserId(Uuid::now_v7()));
    let token = signer.access_token(user, Role::Admin, Utc::now(), HOUR, Uuid::now_v7()).unwrap();
    let identity = TokenVerifier::of_signer(&signer).verify(&token).await.unwrap();
    assert_eq!((identity.user_id, identity.role, identity.token()), (user, Role::Admin, Some(token.as_str())));
    assert!(!format!("{identity:?}").contains(&token));
}

#[tokio::test]
async fn claims_that_are_wrong_or_missing_are_refused() {
    let signer = signer(1);
    let verifier = TokenVerifier::of_signer(&signer);
    assert!(verifier.verify(&signer.sign(ACCESS_HEADER, &good_claims()).unwrap()).await.is_ok());
    let past = Utc::now().timestamp() - 60;
    for (claim, value) in [
        ("exp", json!(past)),
        ("exp", json!("4102444800")),
        ("exp", Value::Null),
        ("aud", json!("another-shop")),
        ("iss", json!("somebody")),
        ("typ", json!("refresh")),
        ("sub", json!("1")),
        ("role", json!("owner")),
        ("jti", json!("1")),
        ("sid", json!("1")),
        ("iat", json!("now")),
        ("iat", json!(Utc::now().timestamp() + 60)),
        ("nbf", json!(Utc::now().timestamp() + 600)),
    ] {
        let mut claims = good_claims();
        claims[claim] = value.clone();
        let token = signer.sign(ACCESS_HEADER, &claims).unwrap();
        assert_eq!(verifier.verify(&token).await, Err(Error::Invalid), "{claim} = {value}");
    }
    for claim in ["exp", "aud", "iss", "typ", "sub", "role", "iat", "jti"] {
        let mut claims = good_claims();
        claims.as_object_mut().unwrap().remove(claim);
        assert_eq!(
            verifier.verify(&signer.sign(ACCESS_HEADER, &claims).unwrap()).await,
            Err(Error::Invalid),
            "no {claim}"
        );
    }
}

#[tokio::test]
async fn a_token_outlives_its_expiry_by_the_leeway_alone() {
    let (signer, leeway) = (signer(1), i64::try_from(LEEWAY_S).unwrap());
    let verifier = TokenVerifier::of_signer(&signer);
    let expired_for = |seconds: i64| {
        let mut claims = good_claims();
        claims["exp"] = json!(Utc::now().timestamp() - seconds);
        signer.sign(ACCESS_HEADER, &claims).unwrap()
    };
    assert!(verifier.verify(&expired_for(leeway - 2)).await.is_ok());
    assert_eq!(verifier.verify(&expired_for(leeway + 1)).await, Err(Error::Invalid));
}

#[tokio::test]
async fn the_header_says_what_kind_of_token_it_is_and_names_its_key() {
    let signer = signer(1);
    let verifier = TokenVerifier::of_signer(&signer);
    for typ in ["JWT", "rt+jwt", "service+jwt", ""] {
        let token = signer.sign(typ, &good_claims()).unwrap();
        assert_eq!(verifier.verify(&token).await, Err(Error::Invalid), "{typ}");
    }
    let good = signer.sign(ACCESS_HEADER, &good_claims()).unwrap();
    assert!(verifier.verify(&good).await.is_ok());
    let nameless = URL_SAFE_NO_PAD.encode(json!({ "alg": "EdDSA", "typ": ACCESS_HEADER }).to_string());
    let rest = good.split_once('.').unwrap().1;
    assert_eq!(verifier.verify(&format!("{nameless}.{rest}")).await, Err(Error::Invalid));
}

/// Keys that a test may change.
#[derive(Clone, Default)]
struct Ring(Arc<RwLock<Vec<TokenSigner>>>);

#[async_trait::async_trait]
impl KeySource for Ring {
    async fn keys(&self) -> anyhow::Result<Vec<(String, [u8; 32])>> {
        let keys = self.0.read();
        anyhow::ensure!(!keys.is_empty(), "away");
        Ok(keys.iter().map(|key| (key.kid().to_owned(), key.public_key())).collect())
    }
}

#[tokio::test(start_paused = true)]
async fn a_retired_key_is_good_for_half_a_minute_at_most() {
    let (ring, old, new) = (Ring::default(), signer(1), signer(2));
    *ring.0.write() = vec![old.clone(), new.clone()];
    let verifier = TokenVerifier::from_source(ring.clone());
    let (by_old, by_new) =
        (old.sign(ACCESS_HEADER, &good_claims()).unwrap(), new.sign(ACCESS_HEADER, &good_claims()).unwrap());
    assert!(verifier.verify(&by_old).await.is_ok() && verifier.verify(&by_new).await.is_ok());

    // Away: what is known stays good.
    ring.0.write().clear();
    tokio::time::sleep(RENEWAL_INTERVAL * 3).await;
    assert!(verifier.verify(&by_old).await.is_ok());

    *ring.0.write() = vec![new];
    tokio::time::sleep(RENEWAL_INTERVAL + Duration::from_secs(1)).await;
    assert_eq!(verifier.verify(&by_old).await, Err(Error::Invalid));
    assert!(verifier.verify(&by_new).await.is_ok());
}

#[tokio::test]
async fn algorithms_and_keys_cannot_be_swapped() {
    let signer = signer(1);
    let verifier = TokenVerifier::of_signer(&signer);
    let good = signer.sign(ACCESS_HEADER, &good_claims()).unwrap();
    let parts = good.split('.').collect::<Vec<_>>();

    let unsigned =
        URL_SAFE_NO_PAD.encode(json!({ "alg": "none", "typ": ACCESS_HEADER, "kid": signer.kid() }).to_string());
    // The public key is public: as an HMAC secret it must be worth nothing.
    let header = Header {
        kid: Some(signer.kid().to_owned()),
        typ: Some(ACCESS_HEADER.to_owned()),
        ..Header::new(Algorithm::HS256)
    };
    let swapped =
        jsonwebtoken::encode(&header, &good_claims(), &EncodingKey::from_secret(&signer.public_key())).unwrap();
    let stranger = TokenSigner::from_seed(&[9; 32], signer.kid()).unwrap().sign(ACCESS_HEADER, &good_claims()).unwrap();
    let mut tampered = parts[1].to_owned();
    tampered.replace_range(10..11, if &tampered[10..11] == "A" { "B" } else { "A" });

    for token in [
        format!("{unsigned}.{}.", parts[1]),
        format!("{unsigned}.{}.{}", parts[1], parts[2]),
        swapped,
        stranger,
        format!("{}.{tampered}.{}", parts[0], parts[2]),
        format!("{}.{}.", parts[0], parts[1]),
        format!("{good}{}", "x".repeat(TOKEN_BYTES_MAX)),
        String::new(),
        "not-a-token".to_owned(),
    ] {
        assert_eq!(verifier.verify(&token).await, Err(Error::Invalid), "{token}");
    }
}

/// Serves whatever `keys` holds as a key set, and counts how often it was asked.
async fn issuer(keys: Arc<RwLock<Value>>, asked: Arc<AtomicUsize>) -> (String, tokio::task::JoinHandle<()>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/.well-known/jwks.json", listener.local_addr().unwrap());
    let endpoint = make_sync(move |_| {
        asked.fetch_add(1, Ordering::SeqCst);
        keys.read().to_string()
    });
    let server = Server::new_with_acceptor(TcpAcceptor::from_tokio(listener).unwrap());
    (url, tokio::spawn(async move { server.run(endpoint).await.unwrap() }))
}

#[tokio::test]
async fn keys_are_fetched_once_and_outlive_their_issuer() {
    let signer = signer(1);
    let (keys, asked) = (Arc::new(RwLock::new(signer.jwks())), Arc::new(AtomicUsize::new(0)));
    let (url, server) = issuer(keys, asked.clone()).await;
    let verifier = TokenVerifier::from_jwks_url(url).unwrap();
    let token = signer.sign(ACCESS_HEADER, &good_claims()).unwrap();
    for _ in 0..3 {
        assert!(verifier.verify(&token).await.is_ok());
    }
    assert_eq!(asked.load(Ordering::SeqCst), 1);

    // A flood of unknown keys is not passed on to the issuer.
    let unknown = self::signer(2).sign(ACCESS_HEADER, &good_claims()).unwrap();
    let started = Instant::now();
    for _ in 0..200 {
        assert_eq!(verifier.verify(&unknown).await, Err(Error::Invalid));
    }
    let most = 2 + started.elapsed().as_secs() / REFRESH_INTERVAL.as_secs();
    assert!(asked.load(Ordering::SeqCst) as u64 <= most, "{asked:?} > {most}");

    server.abort();
    let _ = server.await;
    assert!(verifier.verify(&token).await.is_ok());
}

#[tokio::test]
async fn a_new_key_is_found_in_time() {
    let (old, new) = (signer(1), signer(2));
    let (keys, asked) = (Arc::new(RwLock::new(old.jwks())), Arc::new(AtomicUsize::new(0)));
    let (url, _server) = issuer(keys.clone(), asked).await;
    let verifier = TokenVerifier::from_jwks_url(url).unwrap();
    assert!(verifier.verify(&old.sign(ACCESS_HEADER, &good_claims()).unwrap()).await.is_ok());
    *keys.write() = new.jwks();
    let token = new.sign(ACCESS_HEADER, &good_claims()).unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while verifier.verify(&token).await.is_err() {
        assert!(Instant::now() < deadline, "the new key was not found");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn without_any_key_nothing_can_be_said() {
    // Nobody listens on a port that was free a moment ago.
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let verifier = TokenVerifier::from_jwks_url(format!("http://{free}/jwks.json")).unwrap();
    assert_eq!(verifier.verify(&signer(1).sign(ACCESS_HEADER, &good_claims()).unwrap()).await, Err(Error::Unavailable));
    assert_eq!(verifier.verify("not-a-token").await, Err(Error::Invalid));
}

#[tokio::test]
async fn grpc_callers_are_known_by_their_metadata() {
    let (signer, user) = (signer(1), UserId(Uuid::now_v7()));
    let verifier = TokenVerifier::of_signer(&signer);
    let token = signer.access_token(user, Role::Customer, Utc::now(), HOUR, Uuid::now_v7()).unwrap();
    let caller = verifier.verify(&token).await.unwrap();
    let context = crate::RequestContext::fresh();
    let named = crate::grpc::request((), &context, Some(&caller));
    assert_eq!(super::super::authenticate(named.metadata(), &verifier).await.unwrap().user_id, user);
    assert_eq!(crate::grpc::context(named.metadata()).correlation_id, context.correlation_id);

    let nobody = crate::grpc::request((), &context, None);
    let refused = super::super::authenticate(nobody.metadata(), &verifier).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Unauthenticated);
    let mut forged = crate::grpc::request((), &context, None);
    forged.metadata_mut().insert("authorization", "Bearer a.b.c".parse().unwrap());
    let refused = super::super::authenticate(forged.metadata(), &verifier).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Unauthenticated);
}
