use event_store::clock;
use reqwest::Method;
use serde_json::json;
use testkit::eventually;
use user_service::MasterKey;
use user_service::signing_keys::{self, State};
use web::auth::TokenVerifier;

use crate::fixture::{MASTER_KEY, PASSWORD, PATIENCE, Shop};

const JOHN: &str = "john@example.com";

async fn published(shop: &Shop) -> usize {
    shop.get("/.well-known/jwks.json", None).await.body["keys"].as_array().unwrap().len()
}

#[tokio::test]
async fn a_rotation_overlaps_and_a_retired_key_is_good_no_more() {
    let shop = Shop::open().await;
    shop.register("John", JOHN).await;
    let by_old = shop.login(JOHN, PASSWORD).await;
    let (pool, clock) = (shop.database.pool.clone(), clock::system());
    let master: MasterKey = MASTER_KEY.parse().unwrap();
    let elsewhere = TokenVerifier::from_jwks_url(format!("{}/.well-known/jwks.json", shop.http)).unwrap();
    assert!(elsewhere.verify(&by_old).await.is_ok());
    let old = signing_keys::list(&pool).await.unwrap().remove(0).kid;
    assert!(signing_keys::retire(&pool, &old, clock.as_ref()).await.is_err(), "it signs");

    assert!(signing_keys::rotate(&pool, &MasterKey::random().unwrap(), clock.as_ref()).await.is_err());
    let new = signing_keys::rotate(&pool, &master, clock.as_ref()).await.unwrap();
    let states = signing_keys::list(&pool).await.unwrap();
    let states = states.iter().map(|key| (key.kid.as_str(), key.state)).collect::<Vec<_>>();
    assert_eq!(states, [(new.as_str(), State::Active), (old.as_str(), State::Published)]);
    eventually(PATIENCE, || async { published(&shop).await == 2 }).await;
    let by_new = shop.login(JOHN, PASSWORD).await;
    for token in [&by_old, &by_new] {
        assert_eq!(shop.get("/profile", Some(token)).await.status, 200);
    }
    eventually(PATIENCE, || async { elsewhere.verify(&by_new).await.is_ok() }).await;
    assert!(elsewhere.verify(&by_old).await.is_ok());

    signing_keys::retire(&pool, &old, clock.as_ref()).await.unwrap();
    signing_keys::retire(&pool, &old, clock.as_ref()).await.unwrap();
    assert!(signing_keys::retire(&pool, "another", clock.as_ref()).await.is_err());
    eventually(PATIENCE, || async { published(&shop).await == 1 }).await;
    // Its secret half is gone too.
    let seeds: i64 = sqlx::query_scalar("SELECT count(*) FROM signing_keys WHERE wrapped_seed IS NOT NULL")
        .fetch_one(&pool)
        .await
        .unwrap();
    assert_eq!(seeds, 1);
    let by_new = shop.login(JOHN, PASSWORD).await;
    assert_eq!(
        shop.send(Method::PUT, "/profile", Some(&by_new), &json!({ "name": "J" }).to_string()).await.status,
        200
    );
    shop.close().await;
}
