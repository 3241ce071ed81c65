use std::time::Duration;

use chrono::{TimeDelta, Utc};
use reqwest::Method;
use serde_json::{Value, json};
use testkit::eventually;
use uuid::Uuid;
use web::auth::{Role, TokenSigner, TokenVerifier};

use crate::fixture::{PASSWORD, PATIENCE, Shop};

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn a_login_gives_a_token_that_every_service_can_check() {
    let shop = Shop::open().await;
    let id = shop.register("John", "john@example.com").await;
    let opened = shop.try_login(" JOHN@example.com", PASSWORD).await;
    assert_eq!((opened.status, &opened.body["expires_in"]), (200, &json!(15 * 60)), "{}", opened.body);
    let user = &opened.body["user"];
    assert_eq!((&user["id"], &user["name"], &user["email"]), (&json!(id), &json!("John"), &json!("john@example.com")));
    let token = opened.text("token");

    let verifier = TokenVerifier::from_jwks_url(format!("{}/.well-known/jwks.json", shop.http)).unwrap();
    let caller = verifier.verify(token).await.unwrap();
    assert_eq!((caller.user_id.to_string(), caller.role), (id, Role::Customer));

    let keys = shop.get("/.well-known/jwks.json", None).await;
    assert_eq!((keys.status, keys.body["keys"].as_array().map(Vec::len)), (200, Some(1)));
    assert_eq!(keys.body["keys"][0].get("d"), None, "the private half stays here");

    let profile = shop.get("/api/v1/profile", Some(token)).await;
    let mut expected = user.clone();
    expected["user_id"] = user["id"].clone();
    assert_eq!((profile.status, &profile.body), (200, &expected));
    shop.close().await;
}

#[tokio::test]
async fn whoever_does_not_get_in_learns_nothing() {
    let shop = Shop::open().await;
    shop.register("John", "john@example.com").await;
    let mut refusals = Vec::new();
    for (email, password) in [
        ("john@example.com", "wrong horse battery"),
        ("john@example.com", ""),
        ("john@example.com", &PASSWORD.to_uppercase()),
        ("john@example.com", &format!("{PASSWORD} ")),
        ("john@example.com", &"x".repeat(10_000)),
        ("jane@example.com", PASSWORD),
        ("no address", PASSWORD),
        ("", ""),
    ] {
        let refused = shop.try_login(email, password).await;
        assert_eq!(refused.status, 401, "{email} {password}: {}", refused.body);
        refusals.push(refused.anonymous());
    }
    assert_eq!(refusals[0]["error"], "Invalid credentials");
    assert!(refusals.windows(2).all(|pair| pair[0] == pair[1]), "{refusals:?}");

    for (body, status, field) in [
        (json!({ "email": "john@example.com" }), 400, "password"),
        (json!({ "password": PASSWORD }), 400, "email"),
        (json!({ "email": true, "password": PASSWORD }), 400, "email"),
        (json!({ "email": "john@example.com", "password": 12_345_678 }), 400, "password"),
        (json!({ "email": "john@example.com", "password": "a\0b" }), 400, "password"),
        (json!({ "email": "john@example.com", "password": PASSWORD, "role": "admin" }), 422, "role"),
    ] {
        let refused = shop.post("/login", &body).await;
        assert_eq!((refused.status, refused.fields()), (status, vec![field]), "{body}: {}", refused.body);
    }
    shop.close().await;
}

#[tokio::test]
async fn a_profile_is_for_its_owners_token_alone() {
    let shop = Shop::open().await;
    let id = shop.register("John", "john@example.com").await.parse::<Uuid>().unwrap();
    let token = shop.login("john@example.com", PASSWORD).await;
    let own = shop.signer().await;
    // As good as the real one, but for the key.
    let foreign = TokenSigner::from_seed(&[7; 32], own.kid()).unwrap();
    let unheard_of = TokenSigner::from_seed(&[7; 32], "another").unwrap();
    let (_, refresh) = shop.session("john@example.com", PASSWORD).await;
    let sign =
        |signer: &TokenSigner, at| signer.access_token(id.into(), Role::Admin, at, HOUR, Uuid::now_v7()).unwrap();
    let now = Utc::now();
    // Within two seconds the service looks for a key that it does not know.
    eventually(PATIENCE, || async { shop.get("/profile", Some(&sign(&own, now))).await.status == 200 }).await;

    let (head, claims) = (token.split('.').next().unwrap(), token.split('.').nth(1).unwrap());
    let bad = [
        String::new(),
        "x".to_owned(),
        "a.b.c".to_owned(),
        format!("{head}.{claims}."),
        format!("{head}.{claims}.{}", sign(&own, now).split('.').nth(2).unwrap()),
        sign(&foreign, now),
        sign(&unheard_of, now),
        sign(&own, now - TimeDelta::hours(2)),
        refresh,
    ];
    for method in [Method::GET, Method::PUT] {
        let body = if method == Method::PUT { r#"{"name":"Mallory"}"# } else { "" };
        for token in bad.iter().map(|token| Some(token.as_str())).chain([None]) {
            let refused = shop.send(method.clone(), "/profile", token, body).await;
            assert_eq!(refused.status, 401, "{method} {token:?}: {}", refused.body);
        }
    }
    let stranger = own.access_token(Uuid::now_v7().into(), Role::Customer, now, HOUR, Uuid::now_v7()).unwrap();
    for (method, body) in [(Method::GET, ""), (Method::PUT, r#"{"name":"Nobody"}"#)] {
        assert_eq!(shop.send(method, "/profile", Some(&stranger), body).await.status, 401);
    }
    assert_eq!(shop.get("/profile", Some(&token)).await.text("name"), "John");
    shop.close().await;
}

#[tokio::test]
async fn a_user_can_be_called_otherwise() {
    let shop = Shop::open().await;
    shop.register("John", "john@example.com").await;
    shop.register("Jane", "jane@example.com").await;
    let token = shop.login("john@example.com", PASSWORD).await;
    let put = async |body: &Value| shop.send(Method::PUT, "/profile", Some(&token), &body.to_string()).await;

    let before = shop.get("/profile", Some(&token)).await.body;
    let renamed = put(&json!({ "name": " Jonny " })).await;
    assert_eq!((renamed.status, renamed.text("name")), (200, "Jonny"), "{}", renamed.body);
    assert_eq!(renamed.body["created_at"], before["created_at"]);
    assert_eq!(shop.get("/profile", Some(&token)).await.body, renamed.body);
    let events = shop.events().await;
    assert_eq!(put(&json!({ "name": "Jonny" })).await.status, 200);

    for (body, status, field) in [
        (json!({}), 400, "name"),
        (json!({ "name": null }), 400, "name"),
        (json!({ "name": "" }), 400, "name"),
        (json!({ "name": "x".repeat(101) }), 400, "name"),
        (json!({ "name": "a\0b" }), 400, "name"),
        (json!({ "name": 5 }), 400, "name"),
        (json!({ "name": false }), 400, "name"),
        (json!({ "name": "Jonny", "email": "new@example.com" }), 422, "email"),
        (json!({ "name": "Jonny", "role": "admin" }), 422, "role"),
        (json!({ "locale": "german" }), 400, "locale"),
    ] {
        let refused = put(&body).await;
        assert_eq!((refused.status, refused.fields()), (status, vec![field]), "{body}: {}", refused.body);
    }
    assert_eq!(shop.events().await, events);
    let spoken = put(&json!({ "locale": "de-AT" })).await;
    assert_eq!((spoken.status, spoken.text("locale"), spoken.text("name")), (200, "de-AT", "Jonny"), "{}", spoken.body);
    eventually(PATIENCE, || async {
        let sequence = "SELECT max(sequence) FROM users";
        sqlx::query_scalar::<_, Option<i64>>(sequence).fetch_one(&shop.database.pool).await.unwrap() == Some(3)
    })
    .await;
    assert_eq!(shop.published().await.len(), 2, "a new name is nobody else's business");
    shop.close().await;
}
