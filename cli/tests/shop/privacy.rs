//! What a shop says of its customers: nothing. A whole run is looked through for its passwords, tokens, names and
//! addresses: logs (at `debug`), every table of every database and with them the topics, metrics, error bodies.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use reqwest::Method;
use sagashop::ports::Role;
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};

use crate::folder::Folder;
use crate::room_for_a_small_shop;
use crate::up::{Up, settled};

/// Libraries tell at `trace` what they send, and nobody runs a shop with that.
const LOG: &str = "debug";

/// What must not be found, by what it is.
#[derive(Default)]
struct Secrets(Vec<(String, String)>);

impl Secrets {
    fn add(&mut self, what: &str, secret: &Value) {
        let secret = secret.as_str().expect("text").to_lowercase();
        assert!(secret.len() >= 8, "{what} is found by chance");
        self.0.push((what.to_owned(), secret));
    }

    /// A token, by its signature: the rest of it may be found where claims are told.
    fn add_session(&mut self, session: &Value) {
        let token = session["token"].as_str().expect("a token");
        self.add("an access token", &json!(token.rsplit('.').next()));
        self.add("a refresh token", &session["refresh_token"]);
    }

    /// Those that stand in a text, as they are or in hexadecimal.
    fn found_in(&self, place: &str, text: &str) -> Vec<String> {
        let text = text.to_lowercase();
        let stands = |secret: &str| {
            let hexadecimal: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
            text.find(secret).or_else(|| text.find(&hexadecimal))
        };
        let found = self.0.iter().filter_map(|(what, secret)| Some((what, stands(secret)?)));
        let around = |at: usize| text.chars().skip(text[..at].chars().count().saturating_sub(80)).take(200);
        found.map(|(what, at)| format!("{place} tells {what}: …{}…", around(at).collect::<String>())).collect()
    }
}

/// A customer with a life: registers, logs in, fails, orders, and moves.
async fn live(shop: &Up, product: &str, n: u32, secrets: &mut Secrets, errors: &mut String) -> Value {
    let (name, email) = (format!("Zebulon Quagmire {n}"), format!("Zebulon.Quagmire-{n}@Customers.example"));
    let (password, wrong) = (format!("the right passphrase {n}"), format!("a wrong passphrase {n}"));
    for (what, secret) in [("a name", &name), ("an address", &email), ("a password", &password), ("a try", &wrong)] {
        secrets.add(what, &json!(secret));
    }
    let register = json!({ "name": name, "email": email, "password": password });
    shop.post(Role::User, "/register", "", &register).await.expect(201);
    let mut fail = async |method: Method, role, path: &str, token: &str, body: &Value| {
        let answer = shop.send(shop.request(method, role, path, token).json(body)).await;
        assert!(answer.status >= 400, "{answer:?}");
        *errors += &format!("{}\n{:?}\n", answer.body, answer.headers);
    };
    // Refused, each with what it must not repeat.
    fail(Method::POST, Role::User, "/register", "", &register).await;
    fail(Method::POST, Role::User, "/login", "", &json!({ "email": email, "password": wrong })).await;
    fail(Method::POST, Role::User, "/login", "", &json!({ "email": email, "password": password, "x": 1 })).await;
    fail(Method::POST, Role::User, "/login", "", &json!({ "email": [email], "password": password })).await;
    let session =
        shop.post(Role::User, "/login", "", &json!({ "email": email, "password": password })).await.expect(200);
    secrets.add_session(&session);
    let token = session["token"].as_str().expect("a token");
    fail(Method::GET, Role::Order, "/orders", &format!("{token}x"), &Value::Null).await;
    fail(Method::POST, Role::Order, "/orders", token, &json!({ "product_id": email, "quantity": 1 })).await;
    fail(Method::PUT, Role::User, "/profile", token, &json!({ "name": name, "email": email, "password": wrong })).await;

    let ok = json!({ "product_id": product, "quantity": 1 });
    let declined = json!({ "product_id": product, "quantity": 1, "payment_method": "tok_declined" });
    for (order, status) in [(ok, "confirmed"), (declined, "cancelled")] {
        let id = shop.place(token, &order).await;
        assert_eq!(shop.ended(token, &id).await["status"], status);
    }
    let refresh = json!({ "refresh_token": session["refresh_token"] });
    let renewed = shop.post(Role::User, "/refresh", "", &refresh).await.expect(200);
    secrets.add_session(&renewed);
    // Used once more, it ends the whole family.
    fail(Method::POST, Role::User, "/refresh", "", &refresh).await;
    shop.post(Role::User, "/login", "", &json!({ "email": email, "password": password })).await.expect(200)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_whole_run_tells_nobody_of_its_customers() {
    let _room = room_for_a_small_shop().await;
    let folder = Arc::new(Folder::new());
    let shop = Up::start_with(Arc::clone(&folder), &["--empty"], &[("RUST_LOG", LOG)]).await;
    let accounts = shop.accounts();
    let (mut secrets, mut errors) = (Secrets::default(), String::new());
    for (what, secret) in [
        ("the administrator's password", &accounts.admin_password),
        ("the customer's password", &accounts.customer_password),
        ("the services' secret", &accounts.internal_token),
        ("the administrator's address", &accounts.admin_email),
    ] {
        secrets.add(what, &json!(secret));
    }
    let product = shop.product(&shop.admin().await, "Lamp", "19.90", 100).await;
    let mut sessions = Vec::new();
    for n in 0..2 {
        let session = live(&shop, &product, n, &mut secrets, &mut errors).await;
        secrets.add_session(&session);
        sessions.push(session);
    }
    // One of them leaves for good.
    let token = sessions[1]["token"].as_str().expect("a token");
    let leave = shop.request(Method::DELETE, Role::User, "/profile", token);
    let left = shop.send(leave.json(&json!({ "password": "the right passphrase 1" }))).await;
    assert!(matches!(left.status, 200 | 204), "{left:?}");
    settled(&folder).await;

    let mut found = secrets.found_in("an error body", &errors);
    for role in Role::ALL {
        let metrics = shop.get(role, "/metrics", "").await.expect(200);
        found.extend(secrets.found_in(&format!("the metrics of {}", role.name()), metrics.as_str().expect("text")));
    }
    for (place, text) in tables(&folder).await {
        found.extend(secrets.found_in(&place, &text));
    }
    let log = shop.process.stderr();
    assert!(log.lines().count() > 100, "the log is to be one of {LOG}: {log}");
    found.extend(secrets.found_in("the log", &log));
    for log in logs(folder.path()) {
        let text = String::from_utf8_lossy(&std::fs::read(&log).expect("readable")).into_owned();
        found.extend(secrets.found_in(&log.display().to_string(), &text));
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// Every table of every database, as text.
async fn tables(folder: &Folder) -> Vec<(String, String)> {
    let server = folder.server().await;
    let mut connection = PgConnection::connect_with(&server.options("postgres")).await.expect("connected");
    let databases = "SELECT datname FROM pg_database WHERE NOT datistemplate AND datallowconn";
    let databases: Vec<String> = sqlx::query_scalar(databases).fetch_all(&mut connection).await.expect("answered");
    let mut tables = Vec::new();
    for database in databases {
        let mut connection = PgConnection::connect_with(&server.options(&database)).await.expect("connected");
        let names = "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables
                      WHERE schemaname NOT IN ('pg_catalog', 'information_schema')";
        let names: Vec<String> = sqlx::query_scalar(names).fetch_all(&mut connection).await.expect("answered");
        for name in names {
            let text = format!("SELECT coalesce(string_agg(t::text, E'\\n'), '') FROM {name} t");
            let text: String = sqlx::query_scalar(&text).fetch_one(&mut connection).await.expect("answered");
            tables.push((format!("{database}, {name}"), text));
        }
        connection.close().await.expect("closed");
    }
    assert!(tables.iter().any(|(name, text)| name.contains("topic_records") && !text.is_empty()), "no topics");
    tables
}

/// What PostgreSQL says.
fn logs(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("readable").flatten().map(|entry| entry.path());
    let (folders, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    let logs = files.into_iter().filter(|file| file.extension().is_some_and(|end| end == "log" || end == "err"));
    logs.chain(folders.iter().flat_map(|folder| logs_within(folder))).collect()
}

/// Folders of the cluster belong to another user, and are read by root alone.
fn logs_within(folder: &Path) -> Vec<PathBuf> {
    if std::fs::read_dir(folder).is_err() {
        return Vec::new();
    }
    logs(folder)
}
