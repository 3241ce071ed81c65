use broker::MemoryBroker;
use domain::user::Role;
use serde_json::{Value, json};
use testkit::postgres::database;
use tokio_util::sync::CancellationToken;
use user_service::{Bootstrap, Config, MasterKey, Service, openapi};
use web::auth::{self, TokenVerifier};

use crate::fixture::{PASSWORD, Shop, config, deps, listeners};

fn admin(email: &str, password: &str) -> Bootstrap {
    Bootstrap { name: "Operator".to_owned(), email: email.to_owned(), password: password.to_owned(), role: Role::Admin }
}

fn with_admin(password: &str) -> Config {
    Config { bootstrap: vec![admin("admin@example.com", password)], ..config() }
}

#[tokio::test]
async fn a_restart_keeps_the_key_and_the_accounts() {
    let shop = Shop::open().await;
    shop.register("John", "john@example.com").await;
    let token = shop.login("john@example.com", PASSWORD).await;
    let profile = shop.get("/profile", Some(&token)).await.body;
    let keys = shop.get("/.well-known/jwks.json", None).await.body;

    let shop = Shop::open_with(config(), shop.close().await).await;
    assert_eq!(shop.get("/.well-known/jwks.json", None).await.body, keys);
    let again = shop.get("/profile", Some(&token)).await;
    assert_eq!((again.status, again.body), (200, profile));
    shop.login("john@example.com", PASSWORD).await;
    shop.close().await;
}

#[tokio::test]
async fn instances_that_start_together_sign_with_one_key() {
    let database = database().await;
    let (broker, shutdown) = (MemoryBroker::new(), CancellationToken::new());
    let one = Service::build(with_admin(PASSWORD), deps(&database, &broker, &shutdown), listeners().await);
    let two = Service::build(with_admin(PASSWORD), deps(&database, &broker, &shutdown), listeners().await);
    let (one, two) = tokio::join!(one, two);
    let (_one, _two) = (one.unwrap(), two.unwrap());
    let keys: i64 = sqlx::query_scalar("SELECT count(*) FROM signing_keys").fetch_one(&database.pool).await.unwrap();
    let events: i64 = sqlx::query_scalar("SELECT count(*) FROM events").fetch_one(&database.pool).await.unwrap();
    assert_eq!((keys, events), (1, 2));
    shutdown.cancel();
}

#[tokio::test]
async fn accounts_of_the_configuration_are_made_once() {
    let shop = Shop::open_with(with_admin(PASSWORD), database().await).await;
    let opened = shop.try_login("admin@example.com", PASSWORD).await;
    assert_eq!((opened.status, &opened.body["user"]["role"]), (200, &json!("admin")));
    let verifier = TokenVerifier::from_jwks_url(format!("{}/.well-known/jwks.json", shop.http)).unwrap();
    let caller = verifier.verify(opened.text("token")).await.unwrap();
    assert_eq!((caller.role, caller.is_admin()), (auth::Role::Admin, true));
    let events = shop.events().await;

    let shop = Shop::open_with(with_admin("another password"), shop.close().await).await;
    assert_eq!(shop.events().await, events);
    assert_eq!(shop.try_login("admin@example.com", "another password").await.status, 401);
    assert_eq!(shop.try_login("admin@example.com", PASSWORD).await.body["user"], opened.body["user"]);
    shop.close().await;
}

#[tokio::test]
async fn a_configuration_that_cannot_be_right_does_not_start() {
    let database = database().await;
    let (broker, shutdown) = (MemoryBroker::new(), CancellationToken::new());
    for (config, says) in [
        (Config { internal_token: Some("short".to_owned()), ..config() }, "INTERNAL_TOKEN"),
        (Config { internal_token: Some(String::new()), ..config() }, "INTERNAL_TOKEN"),
        (Config { bootstrap: vec![admin("nobody", PASSWORD)], ..config() }, "address"),
    ] {
        let built = Service::build(config, deps(&database, &broker, &shutdown), listeners().await).await;
        let error = format!("{:#}", built.err().expect("it does not start"));
        assert!(error.contains(says), "{error}");
    }
    shutdown.cancel();
}

#[tokio::test]
async fn another_master_key_does_not_start() {
    let database = Shop::open().await.close().await;
    let (broker, shutdown) = (MemoryBroker::new(), CancellationToken::new());
    let other = Config { master_key: MasterKey::random().unwrap(), ..config() };
    let built = Service::build(other, deps(&database, &broker, &shutdown), listeners().await).await;
    let error = format!("{:#}", built.err().expect("it does not start"));
    assert!(error.contains("MASTER_KEY"), "{error}");
    Shop::open_with(config(), database).await.close().await;
}

#[tokio::test]
async fn health_and_document_are_there() {
    let shop = Shop::open().await;
    let healthy = shop.get("/health", None).await;
    let wanted = json!({ "status": "healthy", "service": "user-service", "version": web::VERSION });
    assert_eq!((healthy.status, healthy.body), (200, wanted));
    let document: Value = serde_json::from_str(&openapi()).unwrap();
    assert_eq!(shop.get("/openapi.json", None).await.body, document);
    let paths = document["paths"].as_object().unwrap().keys().collect::<Vec<_>>();
    assert_eq!(
        paths,
        [
            "/.well-known/jwks.json",
            "/admin/log-level",
            "/login",
            "/logout",
            "/logout/all",
            "/profile",
            "/profile/addresses",
            "/profile/addresses/{id}",
            "/profile/password",
            "/refresh",
            "/register",
            "/users",
            "/users/{id}",
            "/users/{id}/lock",
            "/users/{id}/role",
            "/users/{id}/unlock",
        ]
    );
    shop.close().await;
}
