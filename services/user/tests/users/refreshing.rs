use futures::future::join_all;
use reqwest::Method;
use serde_json::json;
use testkit::postgres::database;

use crate::fixture::{PASSWORD, Shop, config};

const JOHN: &str = "john@example.com";

async fn shop() -> Shop {
    let shop = Shop::open().await;
    shop.register("John", JOHN).await;
    shop
}

#[tokio::test]
async fn a_refresh_gives_new_tokens_and_a_replay_ends_the_family() {
    let shop = shop().await;
    let (_, first) = shop.session(JOHN, PASSWORD).await;
    let (other_access, other) = shop.session(JOHN, PASSWORD).await;
    let refreshed = shop.try_refresh(&first).await;
    assert_eq!(refreshed.status, 200, "{}", refreshed.body);
    let (access, second) = (refreshed.text("token").to_owned(), refreshed.text("refresh_token").to_owned());
    assert_ne!(first, second);
    assert_eq!(refreshed.body["expires_in"], json!(15 * 60));
    assert_eq!(shop.get("/profile", Some(&access)).await.status, 200);

    // Whoever has the first one has stolen it, or the other one has: neither goes on.
    assert_eq!(shop.try_refresh(&first).await.status, 401);
    assert_eq!(shop.try_refresh(&second).await.status, 401);
    assert_eq!(shop.get("/profile", Some(&access)).await.status, 401, "here the session counts, not the token alone");
    assert_eq!(shop.get("/profile", Some(&other_access)).await.status, 200, "another login is another family");
    assert_eq!(shop.try_refresh(&other).await.status, 200);

    let stored = shop.stored().await;
    for token in [first, second, other] {
        let secret = token.strip_prefix("srt1_").unwrap().to_lowercase();
        assert!(!stored.contains(&secret[30..]), "only hashes are stored");
    }
    shop.close().await;
}

#[tokio::test]
async fn of_twenty_refreshes_with_one_token_one_at_most_gets_through() {
    let shop = shop().await;
    let (_, token) = shop.session(JOHN, PASSWORD).await;
    let answers = join_all((0..20).map(|_| shop.try_refresh(&token))).await;
    let good = answers.iter().filter(|answer| answer.status == 200).collect::<Vec<_>>();
    assert!(good.len() <= 1, "{answers:?}");
    assert!(answers.iter().all(|answer| [200, 401].contains(&answer.status)), "{answers:?}");
    for answer in good {
        assert_eq!(shop.try_refresh(answer.text("refresh_token")).await.status, 401, "the family is over");
    }
    shop.close().await;
}

#[tokio::test]
async fn what_is_no_refresh_token_refreshes_nothing() {
    let shop = shop().await;
    let (access, refresh) = shop.session(JOHN, PASSWORD).await;
    for bad in ["", "x", &access, &refresh[1..], &format!("{refresh}A"), &refresh.to_uppercase()] {
        assert_eq!(shop.try_refresh(bad).await.status, 401, "{bad}");
    }
    for (body, status, field) in [
        (json!({}), 400, "refresh_token"),
        (json!({ "refresh_token": 5 }), 400, "refresh_token"),
        (json!({ "refresh_token": refresh, "role": "admin" }), 422, "role"),
    ] {
        let refused = shop.post("/refresh", &body).await;
        assert_eq!((refused.status, refused.fields()), (status, vec![field]), "{}", refused.body);
    }
    assert_eq!(shop.get("/profile", Some(&refresh)).await.status, 401, "a refresh token is no access token");
    assert_eq!(shop.try_refresh(&refresh).await.status, 200);
    shop.close().await;
}

#[tokio::test]
async fn a_login_ends_by_itself() {
    let short = user_service::Config { refresh_lifetime: std::time::Duration::ZERO, ..config() };
    let shop = Shop::open_with(short, database().await).await;
    shop.register("John", JOHN).await;
    let (_, refresh) = shop.session(JOHN, PASSWORD).await;
    assert_eq!(shop.try_refresh(&refresh).await.status, 401);
    shop.close().await;
}

#[tokio::test]
async fn a_logout_ends_this_session_or_all_of_them() {
    let shop = shop().await;
    let (one, one_refresh) = shop.session(JOHN, PASSWORD).await;
    let (two, two_refresh) = shop.session(JOHN, PASSWORD).await;
    let (_, three_refresh) = shop.session(JOHN, PASSWORD).await;
    assert_eq!(shop.send(Method::POST, "/logout", None, "").await.status, 401);
    assert_eq!(shop.send(Method::POST, "/logout", Some(&one), "").await.status, 204);
    assert_eq!(shop.try_refresh(&one_refresh).await.status, 401);
    assert_eq!(shop.send(Method::POST, "/logout", Some(&one), "").await.status, 401);
    assert_eq!(shop.get("/profile", Some(&two)).await.status, 200);

    assert_eq!(shop.send(Method::POST, "/logout/all", Some(&two), "").await.status, 204);
    for refresh in [two_refresh, three_refresh] {
        assert_eq!(shop.try_refresh(&refresh).await.status, 401);
    }
    assert_eq!(shop.get("/profile", Some(&two)).await.status, 401);
    let (again, _) = shop.session(JOHN, PASSWORD).await;
    assert_eq!(shop.get("/profile", Some(&again)).await.status, 200);
    shop.close().await;
}

#[tokio::test]
async fn a_new_password_ends_the_other_sessions() {
    let shop = shop().await;
    let (mine, my_refresh) = shop.session(JOHN, PASSWORD).await;
    let (_, other_refresh) = shop.session(JOHN, PASSWORD).await;
    let change = async |current: &str, new: &str| {
        let body = json!({ "current_password": current, "new_password": new }).to_string();
        shop.send(Method::POST, "/profile/password", Some(&mine), &body).await
    };
    for (current, new, status, field) in [
        ("wrong horse battery", "a new horse battery", 403, "current_password"),
        (PASSWORD, "short", 400, "new_password"),
        (PASSWORD, "password1", 400, "new_password"),
        (PASSWORD, &"x".repeat(257), 400, "new_password"),
    ] {
        let refused = change(current, new).await;
        assert_eq!((refused.status, refused.fields()), (status, vec![field]), "{new}: {}", refused.body);
    }
    shop.login(JOHN, PASSWORD).await;
    let changed = change(PASSWORD, "a new horse battery").await;
    assert_eq!(changed.status, 204, "{}", changed.body);
    assert_eq!(shop.try_refresh(&other_refresh).await.status, 401);
    assert_eq!(shop.get("/profile", Some(&mine)).await.status, 200);
    let go_on = shop.try_refresh(&my_refresh).await;
    assert_eq!(go_on.status, 200, "{}", go_on.body);
    assert_eq!(shop.try_refresh(go_on.text("refresh_token")).await.status, 200);
    assert_eq!(shop.try_login(JOHN, PASSWORD).await.status, 401);
    shop.login(JOHN, "a new horse battery").await;
    shop.close().await;
}

#[tokio::test]
async fn a_hash_of_smaller_parameters_is_made_anew_at_login() {
    let shop = shop().await;
    // As if it had been made when less was enough.
    let weak = weak_hash(PASSWORD);
    sqlx::query(
        "UPDATE events SET payload = jsonb_set(payload::jsonb, '{user_registered,password_hash}', to_jsonb($1::text))::json
          WHERE event_type = 'user_registered'",
    )
    .bind(&weak)
    .execute(&shop.database.pool)
    .await
    .unwrap();
    let rehashed = "SELECT count(*) FROM events WHERE event_type = 'password_rehashed'";
    for _ in 0..2 {
        shop.login(JOHN, PASSWORD).await;
        let count: i64 = sqlx::query_scalar(rehashed).fetch_one(&shop.database.pool).await.unwrap();
        assert_eq!(count, 1, "once");
    }
    shop.close().await;
}

fn weak_hash(password: &str) -> String {
    use argon2::password_hash::PasswordHasher;
    use argon2::password_hash::phc::PasswordHash;
    use argon2::{Algorithm, Argon2, Params, Version};
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(8_192, 1, 1, None).unwrap());
    let hash: PasswordHash = argon2.hash_password(password.as_bytes()).unwrap();
    hash.to_string()
}
