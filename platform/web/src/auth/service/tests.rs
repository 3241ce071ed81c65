use kernel::UserId;
use serde_json::{Value, json};

use super::*;
use crate::auth::{Role, TokenVerifier};

const SECRET: &str = "a secret that all services of the shop share";

fn tokens(service: &str) -> ServiceTokens {
    ServiceTokens::from_secret(SECRET, service).unwrap()
}

fn shown(tokens: &ServiceTokens) -> String {
    tokens.authorization().unwrap().to_str().unwrap().trim_start_matches("Bearer ").to_owned()
}

#[test]
fn a_service_is_known_by_its_token() {
    let (notification, user) = (tokens("notification"), tokens("user"));
    let mut request = tonic::Request::new(());
    notification.authorize(&mut request).unwrap();
    assert_eq!(&*user.authenticate(request.metadata()).unwrap(), "notification");
    assert_eq!(&*user.authenticate(request.metadata()).unwrap(), "notification", "the second time from memory");
    assert!(request.metadata().get("authorization").unwrap().is_sensitive());
    assert_eq!(shown(&notification), shown(&notification), "one token serves many calls");

    let nobody = user.authenticate(&MetadataMap::new()).unwrap_err();
    assert_eq!(nobody.code(), tonic::Code::Unauthenticated);
    let other = ServiceTokens::from_secret(&SECRET.to_uppercase(), "notification").unwrap();
    assert_eq!(user.verify(&shown(&other)), Err(Error::Invalid));
    assert_eq!(user.verify(SECRET), Err(Error::Invalid), "the secret itself opens nothing");
}

#[test]
fn a_short_secret_is_refused() {
    for secret in ["", "short", &"x".repeat(31)] {
        let error = ServiceTokens::from_secret(secret, "user").unwrap_err();
        assert!(error.to_string().contains("INTERNAL_TOKEN"), "{error}");
    }
    assert!(!format!("{:?}", tokens("user")).contains("secret"));
}

#[test]
fn claims_that_are_wrong_or_missing_are_refused() {
    let tokens = tokens("order");
    let now = Utc::now().timestamp();
    let good = json!({
        "sub": "order", "iss": ISSUER, "aud": AUDIENCE, "typ": TYPE, "iat": now, "exp": now + 60, "jti": Uuid::now_v7(),
    });
    let verify = |claims: &Value| tokens.verify(&tokens.0.signer.sign(TYPE_HEADER, claims).unwrap());
    assert!(verify(&good).is_ok());
    for (claim, value) in [
        ("exp", json!(now - 6)),
        ("exp", json!((now + 60).to_string())),
        // A token for an hour was not made here.
        ("exp", json!(now + 3_600)),
        ("aud", json!("sagashop")),
        ("iss", json!("somebody")),
        ("typ", json!("access")),
        ("sub", json!("")),
        ("iat", json!(now + 60)),
    ] {
        let mut claims = good.clone();
        claims[claim] = value.clone();
        assert_eq!(verify(&claims), Err(Error::Invalid), "{claim} = {value}");
    }
    for claim in ["sub", "iss", "aud", "typ", "iat", "exp", "jti"] {
        let mut claims = good.clone();
        claims.as_object_mut().unwrap().remove(claim);
        assert_eq!(verify(&claims), Err(Error::Invalid), "no {claim}");
    }
    let as_access = tokens.0.signer.sign("at+jwt", &good).unwrap();
    assert_eq!(tokens.verify(&as_access), Err(Error::Invalid));
}

#[tokio::test]
async fn a_users_token_is_no_services_and_a_services_no_users() {
    let services = tokens("order");
    // Even with the very same key.
    let signer = &services.0.signer;
    let token = signer
        .access_token(UserId(Uuid::now_v7()), Role::Admin, Utc::now(), Duration::from_secs(60), Uuid::now_v7())
        .unwrap();
    let users = TokenVerifier::of_signer(signer);
    assert!(users.verify(&token).await.is_ok());
    assert_eq!(services.verify(&token), Err(Error::Invalid));
    assert_eq!(users.verify(&shown(&services)).await, Err(Error::Invalid));
}
