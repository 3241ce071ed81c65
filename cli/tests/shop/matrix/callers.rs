//! Those who call, and what they call for.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};

use reqwest::Method;
use sagashop::ports::Role;
use serde_json::{Value, json};
use testkit::eventually;
use web::auth::ServiceTokens;

use super::routes::WEBHOOK;
use crate::PATIENCE;
use crate::issuer::Issuer;
use crate::up::{Up, settled};

const PASSWORD: &str = "correct horse battery";

/// Every kind of caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Caller {
    /// Shows nothing.
    Nobody,
    /// The customer whose things are called for.
    Owner,
    /// Another customer.
    Stranger,
    /// A customer who was locked after they had logged in.
    Locked,
    /// The owner, with an access token that has expired.
    Expired,
    /// The owner, with a refresh token in the access token's place.
    Refresh,
    /// A service of the shop.
    Service,
    /// Runs the shop.
    Admin,
}

pub(super) const ALL: [Caller; 8] = [
    Caller::Nobody,
    Caller::Owner,
    Caller::Stranger,
    Caller::Locked,
    Caller::Expired,
    Caller::Refresh,
    Caller::Service,
    Caller::Admin,
];

/// What somebody shows.
#[derive(Clone, Default)]
pub(super) struct Who {
    pub token: String,
    refresh: String,
    email: String,
    password: String,
    id: String,
}

/// A shop with something of everything in it.
pub(super) struct World {
    pub shop: Up,
    callers: BTreeMap<Caller, Who>,
    words: BTreeMap<&'static str, String>,
    made: AtomicU32,
}

impl World {
    pub(super) async fn open() -> Self {
        let shop = Up::start(&["--empty"]).await;
        let accounts = shop.accounts();
        let admin = login(&shop, &accounts.admin_email, &accounts.admin_password).await;
        let mut callers = BTreeMap::from([(Caller::Nobody, Who::default())]);
        let owner = customer(&shop, "owner").await;
        let expired = Issuer::of(&shop.folder).await.expired(&owner.id);
        let service = ServiceTokens::from_secret(&accounts.internal_token, "order").expect("a good secret");
        let service = service.authorization().expect("a token");
        let service = service.to_str().expect("text").trim_start_matches("Bearer ").to_owned();
        for (caller, token) in
            [(Caller::Expired, expired), (Caller::Refresh, owner.refresh.clone()), (Caller::Service, service)]
        {
            // A refresh token that came twice would end the owner's session.
            let refresh = "none".to_owned();
            callers.insert(caller, Who { token, refresh, ..owner.clone() });
        }
        callers.insert(Caller::Stranger, customer(&shop, "stranger").await);
        let locked = customer(&shop, "locked").await;
        let lock = format!("/users/{}/lock", locked.id);
        shop.send(shop.request(Method::POST, Role::User, &lock, &admin.token)).await.expect(200);
        callers.insert(Caller::Locked, locked);

        let mut words = BTreeMap::from([("owner", owner.id.clone())]);
        let address = json!({
            "recipient": "A. Name", "line1": "1 High Street", "postal_code": "1010", "city": "Vienna", "country": "AT",
        });
        let address = shop.post(Role::User, "/profile/addresses", &owner.token, &address).await.expect(201);
        words.insert("address", address["id"].as_str().expect("an id").to_owned());
        // Nobody whom another row needs.
        words.insert("nobody", customer(&shop, "nobody").await.id);
        let product = shop.product(&admin.token, "Lamp", "19.90", 1_000).await;
        let order = shop.place(&owner.token, &json!({ "product_id": product, "quantity": 1 })).await;
        shop.ended(&owner.token, &order).await;
        let payment = shop.payment(&owner.token, &order, "success").await;
        words.insert("payment", payment["id"].as_str().expect("an id").to_owned());
        let told = format!("/notifications?order_id={order}");
        let notification = eventually(PATIENCE, async || {
            let told = shop.get(Role::Notification, &told, &owner.token).await.expect(200);
            told[0]["id"].as_str().map(str::to_owned)
        });
        words.insert("notification", notification.await);
        let webhook: Value = serde_json::from_str(WEBHOOK).expect("JSON");
        let webhook = shop.post(Role::Notification, "/notifications/webhooks", &admin.token, &webhook).await;
        words.insert("webhook", webhook.expect(201)["id"].as_str().expect("an id").to_owned());
        words.extend([("product", product), ("order", order)]);
        settled(&shop.folder).await;
        callers.extend([(Caller::Owner, owner), (Caller::Admin, admin)]);
        Self { shop, callers, words, made: AtomicU32::new(0) }
    }

    pub(super) fn who(&self, caller: Caller) -> Who {
        self.callers[&caller].clone()
    }

    /// Somebody new of this kind.
    pub(super) async fn once(&self, caller: Caller) -> Who {
        let made = self.made.fetch_add(1, Ordering::Relaxed);
        let who = customer(&self.shop, &format!("once-{made}")).await;
        if caller != Caller::Admin {
            return who;
        }
        let role = format!("/users/{}/role", who.id);
        let promote = self.shop.request(Method::PUT, Role::User, &role, &self.callers[&Caller::Admin].token);
        self.shop.send(promote.json(&json!({ "role": "admin" }))).await.expect(200);
        login(&self.shop, &who.email, PASSWORD).await
    }

    /// The text with what its words stand for.
    pub(super) fn fill(&self, text: &str, who: &Who) -> String {
        let made = self.made.fetch_add(1, Ordering::Relaxed);
        let mut words: Vec<(&str, String)> = self.words.iter().map(|(word, value)| (*word, value.clone())).collect();
        words.extend([
            ("new", format!("new-{made}@customers.example")),
            (
                "email",
                if who.email.is_empty() { self.callers[&Caller::Owner].email.clone() } else { who.email.clone() },
            ),
            ("password", if who.password.is_empty() { PASSWORD.to_owned() } else { who.password.clone() }),
            ("refresh", who.refresh.clone()),
            ("me", who.id.clone()),
        ]);
        // The longest first: no word is the beginning of another that comes after it.
        words.sort_by_key(|(word, _)| std::cmp::Reverse(word.len()));
        words.into_iter().fold(text.to_owned(), |text, (word, value)| text.replace(&format!("${word}"), &value))
    }
}

async fn customer(shop: &Up, name: &str) -> Who {
    let email = format!("{name}@customers.example");
    let body = json!({ "name": name, "email": email, "password": PASSWORD });
    shop.post(Role::User, "/register", "", &body).await.expect(201);
    login(shop, &email, PASSWORD).await
}

async fn login(shop: &Up, email: &str, password: &str) -> Who {
    let session = shop.post(Role::User, "/login", "", &json!({ "email": email, "password": password })).await;
    let session = session.expect(200);
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    Who {
        token: text(&session["token"]),
        refresh: text(&session["refresh_token"]),
        email: email.to_owned(),
        password: password.to_owned(),
        id: text(&session["user"]["id"]),
    }
}
