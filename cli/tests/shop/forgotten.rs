//! Whoever is forgotten is nowhere to be read, and what they ordered goes on. And what operators do for accounts.

use std::io::Write;
use std::process::{Output, Stdio};

use reqwest::Method;
use sagashop::ports::Role;
use serde_json::{Value, json};

use crate::process::sagashop;
use crate::room_for_a_small_shop;
use crate::up::Up;

const PASSWORD: &str = "correct horse battery";

/// Runs a command on the shop, with this on its standard input.
fn run(shop: &Up, arguments: &[&str], input: &str) -> Output {
    let mut command = sagashop();
    command.args(arguments).arg("--data-dir").arg(shop.folder.data()).args(["--output", "json"]);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary starts");
    child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("read");
    child.wait_with_output().expect("it ends")
}

fn json_of(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_forgotten_is_nowhere_to_be_read_and_their_orders_go_on() {
    let _room = room_for_a_small_shop().await;
    let shop = Up::start(&["--empty"]).await;
    let admin = shop.admin().await;
    let customer = shop.customer("zebulon").await;
    let lamp = shop.product(&admin, "Lamp", "19.90", 10).await;
    let address = json!({
        "recipient": "Zebulon Quagmire", "line1": "Ring 1", "postal_code": "1010", "city": "Wien", "country": "AT",
    });
    let address = shop.post(Role::User, "/profile/addresses", &customer, &address).await.expect(201);
    let before = shop.place(&customer, &json!({ "product_id": lamp, "quantity": 1 })).await;
    assert_eq!(shop.ended(&customer, &before).await["status"], "confirmed");
    // One is underway when they go.
    let last = shop.place(&customer, &json!({ "product_id": lamp, "quantity": 2 })).await;
    let deletion = shop.request(Method::DELETE, Role::User, "/profile", &customer);
    shop.send(deletion.json(&json!({ "password": PASSWORD }))).await.expect(204);

    let user_id = shop.order(&admin, &before).await["user_id"].as_str().expect("an id").to_owned();
    let shown = shop.get(Role::User, &format!("/users/{user_id}"), &admin).await.expect(200);
    assert_eq!((&shown["name"], &shown["status"]), (&json!("deleted user"), &json!("deleted")));
    assert_eq!(shop.ended(&admin, &last).await["status"], "confirmed");
    let path = format!("/profile/addresses/{}", address["id"].as_str().expect("an id"));
    shop.get(Role::User, &path, &customer).await.expect(401);
    shop.assert_clean().await;
    // The address is free again.
    shop.customer("zebulon").await;
    shop.assert_clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operators_make_administrators_and_rotate_keys() {
    let _room = room_for_a_small_shop().await;
    let shop = Up::start(&["--empty"]).await;
    let by_old = shop.admin().await;

    let create = ["users", "create-admin", "--email", "grace@operators.example", "--name", "Grace"];
    let refuses = |input: &str, says: &str| {
        let refused = run(&shop, &create, input);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && said.contains(says), "{input}: {said}");
    };
    refuses("password1\n", "common");
    refuses("short\n", "8 to 256");
    refuses("", "standard input");
    let created = json_of(&run(&shop, &create, &format!("{PASSWORD}\n")));
    assert_eq!(created["role"], "admin", "{created}");
    refuses(PASSWORD, "account already");
    let grace = shop.login("grace@operators.example", PASSWORD).await;
    shop.get(Role::User, "/users", &grace).await.expect(200);

    let kids = |keys: &Value, state: &str| -> Vec<String> {
        let keys = keys.as_array().expect("a list").iter().filter(|key| key["state"] == state);
        keys.map(|key| key["kid"].as_str().expect("text").to_owned()).collect()
    };
    let listed = json_of(&run(&shop, &["keys", "list"], ""));
    let old = kids(&listed, "active").remove(0);
    assert!(!run(&shop, &["keys", "retire", &old, "--yes"], "").status.success(), "it signs");
    let new = json_of(&run(&shop, &["keys", "rotate"], ""));
    assert_eq!(new["state"], "active", "{new}");
    let listed = json_of(&run(&shop, &["keys", "list"], ""));
    assert_eq!(kids(&listed, "published"), std::slice::from_ref(&old));
    shop.get(Role::Order, "/orders", &by_old).await.expect(200);
    assert_eq!(json_of(&run(&shop, &["keys", "retire", &old, "--yes"], ""))["state"], "retired");
    testkit::eventually(crate::PATIENCE, async || {
        let statuses = [
            shop.get(Role::User, "/profile", &by_old).await.status,
            shop.get(Role::Order, "/orders", &by_old).await.status,
        ];
        statuses == [401, 401]
    })
    .await;
    let by_new = shop.admin().await;
    shop.get(Role::Order, "/orders", &by_new).await.expect(200);
    shop.assert_clean().await;
}
