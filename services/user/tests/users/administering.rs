use reqwest::Method;
use serde_json::{Value, json};
use testkit::eventually;
use uuid::Uuid;

use crate::fixture::{PASSWORD, PATIENCE, Shop};

const JOHN: &str = "john@example.com";

#[tokio::test]
async fn administrators_list_and_show_users() {
    let shop = Shop::open().await;
    let mut ids = Vec::new();
    for n in 0..5 {
        ids.push(shop.register(&format!("John {n}"), &format!("john{n}@example.com")).await);
    }
    let (admin_id, admin) = shop.administrator().await;
    ids.push(admin_id.clone());
    ids.reverse();
    eventually(PATIENCE, || async { shop.rows().await.len() == 6 }).await;

    let mut listed = Vec::new();
    let mut after = String::new();
    loop {
        let page = shop.get(&format!("/users?limit=4{after}"), Some(&admin)).await;
        assert_eq!(page.status, 200, "{}", page.body);
        let users = page.body["users"].as_array().unwrap();
        assert!(users.len() <= 4);
        listed.extend(users.iter().map(|user| user["id"].as_str().unwrap().to_owned()));
        match page.body["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    assert_eq!(listed, ids);

    let admins = shop.get("/users?role=admin", Some(&admin)).await.body;
    assert_eq!(admins["users"].as_array().map(Vec::len), Some(1));
    let shown = shop.get(&format!("/users/{}", ids[1]), Some(&admin)).await;
    let expected = json!({ "name": "John 4", "email": "john4@example.com", "role": "customer", "status": "active" });
    for (member, value) in expected.as_object().unwrap() {
        assert_eq!(&shown.body[member], value, "{}", shown.body);
    }
    assert_eq!(admins["users"][0], shop.get(&format!("/users/{admin_id}"), Some(&admin)).await.body);
    assert_eq!(shop.get(&format!("/users/{}", Uuid::now_v7()), Some(&admin)).await.status, 404);
    for bad in ["limit=0", "limit=201", "role=owner", "status=x", "after=1"] {
        assert_eq!(shop.get(&format!("/users?{bad}"), Some(&admin)).await.status, 400, "{bad}");
    }
    assert_eq!(shop.get("/users/7", Some(&admin)).await.status, 400);
    shop.close().await;
}

#[tokio::test]
async fn a_locked_user_is_let_in_nowhere() {
    let shop = Shop::open().await;
    let john = shop.register("John", JOHN).await;
    let (_, admin) = shop.administrator().await;
    let (access, refresh) = shop.session(JOHN, PASSWORD).await;
    let post = async |path: &str| shop.send(Method::POST, &format!("/users/{john}/{path}"), Some(&admin), "").await;

    let locked = post("lock").await;
    assert_eq!((locked.status, locked.text("status")), (200, "locked"), "{}", locked.body);
    let events = shop.events().await;
    assert_eq!(post("lock").await.status, 200);
    assert_eq!(shop.events().await, events, "once is enough");
    let list = shop.get("/users?status=locked", Some(&admin)).await.body;
    assert_eq!(list["users"].as_array().map(Vec::len), Some(1), "{list}");
    let refused = shop.try_login(JOHN, PASSWORD).await;
    assert_eq!((refused.status, refused.text("type")), (403, "/problems/account-locked"));
    assert_eq!(shop.try_login(JOHN, "wrong horse battery").await.status, 401, "the wrong password learns nothing");
    assert_eq!(shop.try_refresh(&refresh).await.status, 401);
    for (method, path) in [(Method::GET, "/profile"), (Method::GET, "/profile/addresses"), (Method::POST, "/logout")] {
        assert_eq!(shop.send(method, path, Some(&access), "").await.status, 401, "{path}");
    }

    let unlocked = post("unlock").await;
    assert_eq!((unlocked.status, unlocked.text("status")), (200, "active"));
    assert_eq!(shop.try_refresh(&refresh).await.status, 401, "what was ended stays ended");
    shop.login(JOHN, PASSWORD).await;

    let published = eventually(PATIENCE, || async {
        let records = shop.published().await;
        let types = records.iter().map(|stored| stored.record.headers["ce_type"].clone()).collect::<Vec<_>>();
        (types.len() == 4).then_some(types)
    })
    .await;
    assert!(published.iter().any(|name| name == "user_locked") && published.iter().any(|name| name == "user_unlocked"));
    shop.close().await;
}

#[tokio::test]
async fn a_role_is_what_the_account_has_now() {
    let shop = Shop::open().await;
    let john = shop.register("John", JOHN).await;
    let (operator, admin) = shop.administrator().await;
    let role = async |id: &str, token: &str, role: Value| {
        let body = json!({ "role": role }).to_string();
        shop.send(Method::PUT, &format!("/users/{id}/role"), Some(token), &body).await
    };
    let (_, refresh) = shop.session(JOHN, PASSWORD).await;
    let promoted = role(&john, &admin, json!("admin")).await;
    assert_eq!((promoted.status, promoted.text("role")), (200, "admin"), "{}", promoted.body);
    let johns = shop.try_refresh(&refresh).await.text("token").to_owned();
    assert_eq!(shop.get("/users", Some(&johns)).await.status, 200);

    // Nobody locks themselves out.
    assert_eq!(role(&operator, &admin, json!("customer")).await.status, 409);
    let own_lock = shop.send(Method::POST, &format!("/users/{operator}/lock"), Some(&admin), "").await;
    assert_eq!(own_lock.status, 409);

    assert_eq!(role(&operator, &johns, json!("customer")).await.status, 200);
    assert_eq!(shop.get("/users", Some(&admin)).await.status, 403, "the token still says admin");
    for bad in [json!("owner"), json!(1), Value::Null] {
        assert_eq!(role(&operator, &johns, bad).await.status, 400);
    }
    assert_eq!(role(&Uuid::now_v7().to_string(), &johns, json!("admin")).await.status, 404);
    shop.close().await;
}

#[tokio::test]
async fn what_is_for_administrators_is_for_nobody_else() {
    let shop = Shop::open().await;
    let john = shop.register("John", JOHN).await;
    let customer = shop.login(JOHN, PASSWORD).await;
    for (method, path, body) in [
        (Method::GET, "/users".to_owned(), ""),
        (Method::GET, format!("/users/{john}"), ""),
        (Method::POST, format!("/users/{john}/lock"), ""),
        (Method::POST, format!("/users/{john}/unlock"), ""),
        (Method::PUT, format!("/users/{john}/role"), r#"{"role":"admin"}"#),
    ] {
        assert_eq!(shop.send(method.clone(), &path, Some(&customer), body).await.status, 403, "{path}");
        assert_eq!(shop.send(method, &path, None, body).await.status, 401, "{path}");
    }
    shop.close().await;
}
