use chrono::{DateTime, TimeDelta, Utc};
use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use testkit::eventually;
use uuid::Uuid;

use crate::fixture::{PASSWORD, PATIENCE, Shop};

#[tokio::test]
async fn an_account_is_made_and_told_of_without_anything_personal() {
    let shop = Shop::open().await;
    let body = json!({ "name": " John Doe ", "email": "John@Example.com", "password": PASSWORD });
    let john = shop.post("/api/v1/register", &body).await;
    assert_eq!(john.status, 201, "{}", john.body);
    assert_eq!((john.text("name"), john.text("email")), ("John Doe", "john@example.com"));
    assert_eq!(john.text("role"), "customer");
    let created_at = john.text("created_at");
    assert!(created_at.ends_with('Z'), "{created_at}");
    let age = Utc::now() - created_at.parse::<DateTime<Utc>>().unwrap();
    assert!(age.abs() < TimeDelta::minutes(1), "{created_at}");
    assert!(!john.body.to_string().contains("argon2"), "{}", john.body);

    let body = json!({ "username": "Jane", "email": "jane@example.com", "password": PASSWORD });
    let jane = shop.post("/register", &body).await;
    assert_eq!((jane.status, jane.text("name")), (201, "Jane"));

    let published = eventually(PATIENCE, || async {
        let records = shop.published().await;
        (records.len() == 2).then_some(records)
    })
    .await;
    for answer in [&john, &jane] {
        let id = answer.text("id");
        let stored = published.iter().find(|stored| stored.record.key == id);
        let record = &stored.expect("a message with the user's id as its key").record;
        assert_eq!(record.headers["ce_type"], "user_registered");
        let message = serde_json::from_slice::<Value>(&record.value).unwrap();
        assert_eq!(message, json!({ "user_id": id, "event_type": "user_registered" }));
    }
    let everything = format!("{published:?}").to_lowercase();
    for personal in ["john", "jane", "doe", "example.com", "argon2"] {
        assert!(!everything.contains(personal), "{personal} in {everything}");
    }
    let row = || ("customer".to_owned(), "active".to_owned());
    eventually(PATIENCE, || async { shop.rows().await == [row(), row()] }).await;
    let stored = shop.stored().await;
    for personal in ["john", "jane", "doe", "example.com", PASSWORD] {
        assert!(!stored.contains(personal), "{personal} in {stored}");
    }
    shop.close().await;
}

#[tokio::test]
async fn an_address_has_one_account_whatever_its_capitals() {
    let shop = Shop::open().await;
    shop.register("John", "john@example.com").await;
    let events = shop.events().await;
    for email in ["john@example.com", "JOHN@EXAMPLE.COM", " John@example.com "] {
        let body = json!({ "name": "Jim", "email": email, "password": "another password" });
        let refused = shop.post("/register", &body).await;
        assert_eq!((refused.status, refused.fields()), (409, vec!["email"]), "{email}: {}", refused.body);
        assert_eq!(refused.text("error"), "User already exists");
    }
    assert_eq!(shop.events().await, events);
    shop.login("john@example.com", PASSWORD).await;
    shop.close().await;
}

#[tokio::test]
async fn of_twenty_at_once_one_gets_the_address() {
    let shop = Shop::open().await;
    let attempts = (0..20).map(|n| {
        let email = if n % 2 == 0 { "john@example.com" } else { "John@Example.COM" };
        let body = json!({ "name": format!("John {n}"), "email": email, "password": format!("the password of {n}") });
        let shop = &shop;
        async move { (n, shop.post("/register", &body).await) }
    });
    let answers = join_all(attempts).await;
    let (made, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(|(_, answer)| answer.status == 201);
    assert_eq!(made.len(), 1, "{made:?}");
    for (n, answer) in refused {
        assert_eq!((answer.status, answer.fields()), (409, vec!["email"]), "{n}: {}", answer.body);
    }
    // Whose it is, their password opens.
    let (n, answer) = &made[0];
    let opened = shop.try_login("john@example.com", &format!("the password of {n}")).await;
    assert_eq!((opened.status, &opened.body["user"]), (200, &answer.body));
    eventually(PATIENCE, || async { shop.published().await.len() == 1 && shop.rows().await.len() == 1 }).await;
    // The address's claim and the user: nothing of the others.
    assert_eq!(shop.events().await, 2);
    shop.close().await;
}

#[tokio::test]
async fn bad_input_is_refused_by_field_and_nothing_is_stored() {
    let shop = Shop::open().await;
    let with = |field: &str, value: Value| {
        let mut body = json!({ "name": "John", "email": "john@example.com", "password": PASSWORD });
        body[field] = value;
        body
    };
    let without = |field: &str| {
        let mut body = with("name", json!("John"));
        body.as_object_mut().unwrap().remove(field);
        body
    };
    let username = |name: Value| json!({ "username": name, "email": "john@example.com", "password": PASSWORD });
    for (body, status, field) in [
        (without("name"), 400, "name"),
        (without("email"), 400, "email"),
        (without("password"), 400, "password"),
        (with("name", Value::Null), 400, "name"),
        (with("name", json!("")), 400, "name"),
        (with("name", json!(" \t")), 400, "name"),
        (with("name", json!("x".repeat(101))), 400, "name"),
        (with("name", json!("a\nb")), 400, "name"),
        (with("name", json!("a\0b")), 400, "name"),
        (with("name", json!(5)), 400, "name"),
        (with("name", json!(true)), 400, "name"),
        (with("name", json!(["John"])), 400, "name"),
        (username(json!("")), 400, "username"),
        (username(json!(7)), 400, "username"),
        (with("email", json!("")), 400, "email"),
        (with("email", json!("john")), 400, "email"),
        (with("email", json!("john@example")), 400, "email"),
        (with("email", json!("a b@example.com")), 400, "email"),
        (with("email", json!("john@example.com\u{0}")), 400, "email"),
        (with("email", json!(format!("{}@example.com", "x".repeat(65)))), 400, "email"),
        (with("email", json!(1)), 400, "email"),
        (with("email", Value::Null), 400, "email"),
        (with("password", json!("")), 400, "password"),
        (with("password", json!("seven77")), 400, "password"),
        (with("password", json!("x".repeat(257))), 400, "password"),
        (with("password", json!("pass\0word")), 400, "password"),
        (with("password", json!("password123")), 400, "password"),
        (with("password", json!("Iloveyou")), 400, "password"),
        (with("password", json!(12_345_678)), 400, "password"),
        (with("password", json!({})), 400, "password"),
        (with("role", json!("admin")), 422, "role"),
        (with("id", json!(Uuid::now_v7())), 422, "id"),
        (with("user_id", json!(1)), 422, "user_id"),
    ] {
        let refused = shop.post("/register", &body).await;
        assert_eq!((refused.status, refused.fields()), (status, vec![field]), "{body}: {}", refused.body);
        assert!(!refused.body.to_string().contains(PASSWORD), "{}", refused.body);
    }
    for body in ["{", "[]", "null", "\"john\"", ""] {
        let refused = shop.send(Method::POST, "/register", None, body).await;
        // Without a body there is no content type either.
        assert_eq!(refused.status, if body.is_empty() { 415 } else { 400 }, "{body}: {}", refused.body);
    }
    assert_eq!(shop.events().await, 0);
    assert!(shop.published().await.is_empty());
    shop.close().await;
}

#[tokio::test]
async fn every_character_of_a_long_password_counts() {
    let shop = Shop::open().await;
    for (email, password) in [
        ("long@example.com", "correct horse battery ".chars().cycle().take(256).collect()),
        ("wide@example.com", "🐎🐄🐖🐑🐐🦆🐓🐇".chars().cycle().take(256).collect()),
        ("short@example.com", "k7 Qz-pm".to_owned()),
    ] {
        let body = json!({ "name": "John", "email": email, "password": password });
        let made = shop.post("/register", &body).await;
        assert_eq!(made.status, 201, "{}", made.body);
        shop.login(email, &password).await;
        let mut almost = password.chars().collect::<Vec<_>>();
        *almost.last_mut().unwrap() = '!';
        let refused = shop.try_login(email, &almost.into_iter().collect::<String>()).await;
        assert_eq!(refused.status, 401, "{email}");
    }
    shop.close().await;
}
