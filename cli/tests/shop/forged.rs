//! Attacks on access tokens, over HTTP and gRPC, on every service. And fields that no body may set.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chrono::Utc;
use reqwest::Method;
use sagashop::ports::Role;
use serde_json::{Value, json};
use testkit::eventually;
use tonic::Code;
use web::auth::ServiceTokens;

use crate::issuer::{Issuer, SKEW_S, hmac, read, said};
use crate::rpc::Rpc;
use crate::up::Up;
use crate::{PATIENCE, room_for_a_small_shop};

/// A route of each service that opens to an administrator's token alone or to any user's.
const DOORS: [(Role, &str); 6] = [
    (Role::User, "/profile"),
    (Role::Product, "/products"),
    (Role::Order, "/orders"),
    (Role::Payment, "/payments"),
    (Role::Notification, "/notifications"),
    (Role::Orchestrator, "/sagas"),
];

/// Who is pretended to be: the administrator, whom most is open to.
struct Victim {
    shop: Up,
    /// What a good token of theirs says: that of a session which is open.
    claims: Value,
    order: String,
}

impl Victim {
    async fn new() -> Self {
        let shop = Up::start(&["--empty"]).await;
        let admin = shop.admin().await;
        let product = shop.product(&admin, "Lamp", "19.90", 10).await;
        let order = shop.place(&admin, &json!({ "product_id": product, "quantity": 1 })).await;
        Self { shop, claims: read(&admin), order }
    }

    /// The status of each service's door for this token, and of the gRPC's.
    async fn tries(&self, token: &str) -> Vec<(&'static str, u16)> {
        let mut statuses = Vec::new();
        for (role, path) in DOORS {
            let request = match role {
                // Reading products is free to all: so one is to be made that is not good.
                Role::Product => self.shop.request(Method::POST, role, path, "").json(&json!({})),
                _ => self.shop.request(Method::GET, role, path, ""),
            };
            let answer = self.shop.send(request.header("authorization", format!("Bearer {token}"))).await;
            statuses.push((role.name(), answer.status));
        }
        statuses
    }

    async fn tries_rpc(&self, token: &str) -> Code {
        let rpc = Rpc::known(Role::Order, self.shop.folder.offset);
        let read = rpc.call("order.OrderService/GetOrder", &json!({ "orderId": self.order }), token).await;
        read.map_or_else(|status| status.code(), |_| Code::Ok)
    }

    async fn assert_refused(&self, attack: &str, token: &str) {
        for (service, status) in self.tries(token).await {
            assert_eq!(status, 401, "{attack} on the {service} service");
        }
        assert_eq!(self.tries_rpc(token).await, Code::Unauthenticated, "{attack} over gRPC");
    }

    /// Every door is open to this token: what the attacks differ in is what they fail of.
    async fn is_let_in(&self, token: &str) -> bool {
        let let_in = self.tries(token).await.iter().all(|(_, status)| matches!(status, 200 | 400 | 422));
        let_in && self.tries_rpc(token).await == Code::Ok
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_forged_token_opens_any_service() {
    let _room = room_for_a_small_shop().await;
    let victim = Victim::new().await;
    let issuer = Issuer::of(&victim.shop.folder).await;
    // A service that has just asked for the keys does not ask again at once.
    eventually(PATIENCE, async || victim.is_let_in(&issuer.good(&victim.claims)).await).await;
    for (attack, token) in attacks(&issuer, &victim.claims) {
        victim.assert_refused(&attack, &token).await;
    }
    assert!(victim.is_let_in(&issuer.good(&victim.claims)).await, "all that makes no difference to a good one");

    // The same key, once it is retired.
    let token = issuer.good(&victim.claims);
    issuer.retire(&victim.shop.folder).await;
    let unknown = Issuer::unknown().good(&victim.claims);
    eventually(PATIENCE, async || {
        // A key that nobody knows makes the services ask for the key set.
        let _ = victim.tries(&unknown).await;
        let refused = victim.tries(&token).await.iter().all(|(_, status)| *status == 401);
        refused && victim.tries_rpc(&token).await == Code::Unauthenticated
    })
    .await;
    // The others' keys are as good as before.
    assert!(victim.is_let_in(&victim.shop.admin().await).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn services_and_users_do_not_pass_for_each_other() {
    let _room = room_for_a_small_shop().await;
    let victim = Victim::new().await;
    let accounts = victim.shop.accounts();
    let token = |secret: &str| {
        let tokens = ServiceTokens::from_secret(secret, "notification").expect("long enough");
        let value = tokens.authorization().expect("a token");
        value.to_str().expect("text").trim_start_matches("Bearer ").to_owned()
    };
    let service = token(&accounts.internal_token);
    victim.assert_refused("a service's token", &service).await;

    let users = Rpc::known(Role::User, victim.shop.folder.offset);
    let contact = json!({ "userId": victim.claims["sub"] });
    let asked = async |token: &str| users.call("user.UserService/GetContact", &contact, token).await;
    assert_eq!(asked(&service).await.expect("for services")["email"], accounts.admin_email.as_str());
    let issuer = Issuer::of(&victim.shop.folder).await;
    let mut internal = victim.claims.clone();
    (internal["aud"], internal["typ"]) = ("sagashop-internal".into(), "service".into());
    let header = json!({ "alg": "EdDSA", "typ": "service+jwt", "kid": "internal" });
    for (attack, token) in [
        ("an administrator's token", victim.shop.admin().await),
        ("a token of the right form and a user's key", issuer.sign(&header, &internal)),
        ("a service's token of another secret", token("another secret that is long enough as well")),
        ("the secret itself", accounts.internal_token.clone()),
        ("nothing", String::new()),
    ] {
        let refused = asked(&token).await.expect_err(attack);
        assert_eq!(refused.code(), Code::Unauthenticated, "{attack}");
    }
}

/// Tokens that are no good, each for one reason.
fn attacks(issuer: &Issuer, good: &Value) -> Vec<(String, String)> {
    let mut attacks = Vec::new();
    for alg in ["none", "None", "NONE", "nOnE"] {
        let header = json!({ "alg": alg, "typ": "at+jwt", "kid": issuer.kid });
        attacks.push((format!("{alg} without a signature"), format!("{}.", said(&header, good))));
        attacks.push((format!("{alg} with a signature"), issuer.sign(&header, good)));
    }
    attacks.extend(of_the_public_key(issuer, good));
    attacks.extend(of_other_keys(issuer, good));
    let changed = |attack: String, change: &dyn Fn(&mut Value)| {
        let mut claims = good.clone();
        change(&mut claims);
        (attack, issuer.sign(&issuer.header(), &claims))
    };
    let now = Utc::now().timestamp();
    let values: [(&str, &[Value]); 8] = [
        ("aud", &[json!("other"), json!("sagashop-internal"), json!(["other"]), json!(""), json!(null), json!(7)]),
        ("iss", &[json!("other"), json!("https://sagashop"), json!(""), json!(null)]),
        ("typ", &[json!("refresh"), json!("service"), json!(""), json!(null), json!(1)]),
        (
            "exp",
            &[
                json!((now + 600).to_string()),
                json!(now - SKEW_S - 1),
                json!(0),
                json!(-1),
                json!(null),
                json!(true),
                json!("never"),
            ],
        ),
        ("iat", &[json!(now + 300), json!("now"), json!(null)]),
        ("nbf", &[json!(now + 300)]),
        ("sub", &[json!("admin"), json!(""), json!(7), json!(null)]),
        ("role", &[json!("root"), json!("Admin"), json!(["admin"]), json!(null)]),
    ];
    for (claim, values) in values {
        for value in values {
            attacks.push(changed(format!("{claim} {value}"), &|claims| claims[claim] = value.clone()));
        }
        if claim != "nbf" {
            let remove = |claims: &mut Value| drop(claims.as_object_mut().expect("claims").remove(claim));
            attacks.push(changed(format!("no {claim}"), &remove));
        }
    }
    for typ in ["JWT", "refresh+jwt", "service+jwt", ""] {
        let header = json!({ "alg": "EdDSA", "typ": typ, "kid": issuer.kid });
        attacks.push((format!("header type {typ:?}"), issuer.sign(&header, good)));
    }
    let token = issuer.good(good);
    let mut customer = good.clone();
    customer["role"] = "customer".into();
    let customer = issuer.good(&customer);
    let parts = |token: &str| token.split('.').map(str::to_owned).collect::<Vec<_>>();
    let (admin, customer) = (parts(&token), parts(&customer));
    attacks.push(("another's signature".to_owned(), format!("{}.{}.{}", admin[0], admin[1], customer[2])));
    attacks.push(("no signature".to_owned(), format!("{}.{}.", admin[0], admin[1])));
    attacks.push(("two parts".to_owned(), format!("{}.{}", admin[0], admin[1])));
    attacks.push(("a fourth part".to_owned(), format!("{token}.{}", admin[2])));
    attacks.push(("half a signature".to_owned(), token[..token.len() - 40].to_owned()));
    attacks
}

/// The public key is no secret: who takes it for one lets everybody in.
fn of_the_public_key(issuer: &Issuer, good: &Value) -> Vec<(String, String)> {
    let public = issuer.public();
    let x = URL_SAFE_NO_PAD.encode(public);
    // The fixed beginning of an Ed25519 key in SubjectPublicKeyInfo.
    let der = [b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00".as_slice(), &public].concat();
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(&der));
    let secrets: [(&str, &[u8]); 5] =
        [("bytes", &public), ("x", x.as_bytes()), ("DER", &der), ("PEM", pem.as_bytes()), ("nothing", b"")];
    let header = json!({ "alg": "HS256", "typ": "at+jwt", "kid": issuer.kid });
    let token =
        |(form, secret): (&str, &[u8])| (format!("HS256 with the public key's {form}"), hmac(&header, good, secret));
    secrets.into_iter().map(token).collect()
}

fn of_other_keys(issuer: &Issuer, good: &Value) -> Vec<(String, String)> {
    let other = Issuer::unknown();
    let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode(other.public()), "kid": other.kid });
    let header = |kid: &str| json!({ "alg": "EdDSA", "typ": "at+jwt", "kid": kid });
    let with = |name: &str, value: &Value| {
        let mut header = header(&other.kid);
        header[name] = value.clone();
        header
    };
    let mut no_kid = header("");
    no_kid.as_object_mut().expect("a header").remove("kid");
    let mut tokens = vec![
        ("an unknown key".to_owned(), other.sign(&other.header(), good)),
        ("an unknown key by a known name".to_owned(), other.sign(&header(&issuer.kid), good)),
        ("a key that the token brings along".to_owned(), other.sign(&with("jwk", &jwk), good)),
        ("no kid".to_owned(), issuer.sign(&no_kid, good)),
        ("a kid that is no text".to_owned(), issuer.sign(&with("kid", &json!(1)), good)),
    ];
    for kid in ["", "../../../../dev/null", "' OR '1'='1", "internal", "\u{0}"] {
        tokens.push((format!("a known key by the name {kid:?}"), issuer.sign(&header(kid), good)));
    }
    tokens
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_sets_by_a_body_what_is_not_theirs_to_set() {
    let _room = room_for_a_small_shop().await;
    let shop = Up::start(&["--empty"]).await;
    let (admin, customer) = (shop.admin().await, shop.customer("customer").await);
    let product = shop.product(&admin, "Lamp", "19.90", 10).await;
    let order = shop.place(&customer, &json!({ "product_id": product, "quantity": 1 })).await;
    shop.ended(&customer, &order).await;
    crate::up::settled(&shop.folder).await;
    let before = shop.folder.events().await;
    let other = uuid::Uuid::now_v7().to_string();

    let register = json!({ "name": "Eve", "email": "eve@customers.example", "password": "correct horse battery" });
    let one = json!({ "product_id": product, "quantity": 1 });
    let (cancel, restock) = (format!("/orders/{order}/cancel"), format!("/products/{product}/restock"));
    let change = format!("/products/{product}");
    let bodies: [(Method, Role, &str, &str, Value); 7] = [
        (Method::POST, Role::User, "/register", "", register),
        (Method::PUT, Role::User, "/profile", &customer, json!({ "name": "Eve" })),
        (Method::POST, Role::Order, "/orders", &customer, one),
        (Method::POST, Role::Order, &cancel, &customer, json!({ "reason": "why not" })),
        (Method::POST, Role::Product, "/products", &admin, json!({ "name": "Desk", "price": 1, "stock": 1 })),
        (Method::PUT, Role::Product, &change, &admin, json!({ "name": "Desk" })),
        (Method::POST, Role::Product, &restock, &admin, json!({ "quantity": 1 })),
    ];
    let fields = [
        ("id", json!(other)),
        ("user_id", json!(other)),
        ("role", json!("admin")),
        ("status", json!("confirmed")),
        ("total_price", json!(0.01)),
        ("price", json!(0.01)),
        ("unit_price", json!(0.01)),
        ("is_admin", json!(true)),
        ("created_at", json!("2020-01-01T00:00:00Z")),
        ("version", json!(7)),
        ("__proto__", json!({ "role": "admin" })),
    ];
    for (method, role, path, token, body) in bodies {
        for (field, value) in &fields {
            if body.get(field).is_some() || (role == Role::Product && *field == "price") {
                continue;
            }
            let mut body = body.clone();
            body[field] = value.clone();
            let answer = shop.send(shop.request(method.clone(), role, path, token).json(&body)).await;
            // Whose an order is may be said, as long as it is true.
            let expected: &[u16] = if (role, *field) == (Role::Order, "user_id") { &[403, 422] } else { &[422] };
            assert!(expected.contains(&answer.status), "{method} {path} with {field}: {answer:?}");
        }
    }
    let line = json!({ "lines": [{ "product_id": product, "quantity": 1, "unit_price": 0.01 }] });
    shop.post(Role::Order, "/orders", &customer, &line).await.expect(422);
    assert_eq!(shop.folder.events().await, before, "nothing came of all that");
}
