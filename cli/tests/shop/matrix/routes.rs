//! A row for every route.

use sagashop::ports::Role::{Notification, Orchestrator, Order, Payment, Product, User};

use super::{For, Row};

const ORDER: &str = r#"{"product_id":"$product","quantity":1}"#;
const LOG_LEVEL: &str = r#"{"filter":"warn"}"#;
const REASON: &str = r#"{"reason":"why not"}"#;
const RESTART: &str = r#"{"step":"refund_payment","reason":"why not"}"#;
const REGISTER: &str = r#"{"name":"New","email":"$new","password":"$password"}"#;
const LOGIN: &str = r#"{"email":"$email","password":"$password"}"#;
const ADDRESS: &str =
    r#"{"recipient":"A. Name","line1":"1 High Street","postal_code":"1010","city":"Vienna","country":"AT"}"#;
pub(super) const WEBHOOK: &str = r#"{"url":"https://hooks.example.org/sagashop"}"#;
const CHANGE_PASSWORD: &str = r#"{"current_password":"$password","new_password":"another horse battery"}"#;

/// Those who may make them in this order.
pub(super) const ROUTES: &[Row] = &[
    Row::new(Product, "GET /products", For::Everybody, "", ""),
    Row::new(Product, "GET /products/{id}", For::Everybody, "$product", ""),
    Row::new(Product, "GET /products/{id}/availability", For::Everybody, "$product?quantity=1", ""),
    Row::new(Product, "POST /products", For::Admins, "", r#"{"name":"Desk","price":1,"stock":1}"#).good(&[201]),
    Row::new(Product, "PUT /products/{id}", For::Admins, "$product", r#"{"name":"Desk lamp"}"#),
    Row::new(Product, "POST /products/{id}/restock", For::Admins, "$product", r#"{"quantity":1}"#),
    Row::new(Product, "GET /products/{id}/stock/history", For::Admins, "$product", ""),
    Row::new(Product, "POST /products/import", For::Admins, "", "name,price,stock\nChair,5,1\n"),
    Row::new(Product, "GET /products/export", For::Admins, "", ""),
    Row::new(Order, "POST /orders", For::Users, "", ORDER).good(&[201]),
    Row::new(Order, "GET /orders", For::Users, "", ""),
    Row::new(Order, "GET /orders/{id}", For::Owner, "$order", ""),
    Row::new(Order, "GET /orders/{id}/history", For::Owner, "$order", ""),
    Row::new(Order, "GET /orders/{id}/events", For::Owner, "$order", "").good(&[200, 204]),
    Row::new(Order, "POST /orders/{id}/cancel", For::Owner, "$order", "").good(&[202, 409]),
    Row::new(Payment, "GET /payments", For::Users, "", ""),
    Row::new(Payment, "GET /payments/{id}", For::Owner, "$payment", ""),
    Row::new(Payment, "POST /webhooks/psp", For::Signers, "", "{}"),
    Row::new(Notification, "GET /notifications", For::Users, "", ""),
    Row::new(Notification, "GET /notifications/{id}", For::Owner, "$notification", ""),
    Row::new(Notification, "POST /notifications/{id}/resend", For::Admins, "$notification", "").good(&[200, 202]),
    Row::new(Notification, "GET /notifications/preferences", For::Users, "", ""),
    Row::new(Notification, "PUT /notifications/preferences", For::Users, "", r#"{"preferences":[]}"#),
    Row::new(Notification, "GET /notifications/webhooks", For::Admins, "", ""),
    Row::new(Notification, "POST /notifications/webhooks", For::Admins, "", WEBHOOK).good(&[201]),
    Row::new(Notification, "GET /notifications/webhooks/{id}", For::Admins, "$webhook", ""),
    Row::new(Notification, "PUT /notifications/webhooks/{id}", For::Admins, "$webhook", WEBHOOK),
    Row::new(Notification, "GET /notifications/webhooks/{id}/secret", For::Admins, "$webhook", ""),
    Row::new(Notification, "POST /notifications/webhooks/{id}/rotate-secret", For::Admins, "$webhook", ""),
    Row::new(Notification, "DELETE /notifications/webhooks/{id}", For::Admins, "$webhook", "").good(&[204]),
    Row::new(Orchestrator, "GET /sagas", For::Admins, "", ""),
    Row::new(Orchestrator, "GET /sagas/{order_id}", For::Admins, "$order", ""),
    Row::new(Orchestrator, "POST /sagas/{order_id}/retry", For::Admins, "$order", "").good(&[200, 409]),
    Row::new(Orchestrator, "POST /sagas/{order_id}/skip", For::Admins, "$order", REASON).good(&[200, 409]),
    Row::new(Orchestrator, "POST /sagas/{order_id}/cancel", For::Admins, "$order", REASON).good(&[200, 409]),
    Row::new(Orchestrator, "POST /sagas/{order_id}/pause", For::Admins, "$order", REASON).good(&[200, 409]),
    Row::new(Orchestrator, "POST /sagas/{order_id}/resume", For::Admins, "$order", REASON).good(&[200, 409]),
    Row::new(Orchestrator, "POST /sagas/{order_id}/restart-from", For::Admins, "$order", RESTART).good(&[200, 409]),
    Row::new(User, "GET /admin/log-level", For::Admins, "", ""),
    Row::new(User, "PUT /admin/log-level", For::Admins, "", LOG_LEVEL),
    Row::new(Product, "GET /admin/log-level", For::Admins, "", ""),
    Row::new(Product, "PUT /admin/log-level", For::Admins, "", LOG_LEVEL),
    Row::new(Order, "GET /admin/log-level", For::Admins, "", ""),
    Row::new(Order, "PUT /admin/log-level", For::Admins, "", LOG_LEVEL),
    Row::new(Payment, "GET /admin/log-level", For::Admins, "", ""),
    Row::new(Payment, "PUT /admin/log-level", For::Admins, "", LOG_LEVEL),
    Row::new(Notification, "GET /admin/log-level", For::Admins, "", ""),
    Row::new(Notification, "PUT /admin/log-level", For::Admins, "", LOG_LEVEL),
    Row::new(Orchestrator, "GET /admin/log-level", For::Admins, "", ""),
    Row::new(Orchestrator, "PUT /admin/log-level", For::Admins, "", LOG_LEVEL),
    Row::new(User, "GET /.well-known/jwks.json", For::Everybody, "", ""),
    Row::new(User, "POST /register", For::Everybody, "", REGISTER).good(&[201]),
    Row::new(User, "POST /login", For::Everybody, "", LOGIN).good(&[200, 401]),
    Row::new(User, "POST /refresh", For::Everybody, "", r#"{"refresh_token":"$refresh"}"#).good(&[200, 401]),
    Row::new(User, "GET /profile", For::Users, "", ""),
    Row::new(User, "PUT /profile", For::Users, "", r#"{"name":"Another"}"#),
    Row::new(User, "GET /profile/addresses", For::Users, "", ""),
    Row::new(User, "POST /profile/addresses", For::Users, "", ADDRESS).good(&[201]),
    Row::new(User, "GET /profile/addresses/{id}", For::OwnerAlone, "$address", ""),
    Row::new(User, "PUT /profile/addresses/{id}", For::OwnerAlone, "$address", ADDRESS),
    Row::new(User, "DELETE /profile/addresses/{id}", For::OwnerAlone, "$address", "").good(&[200, 204]),
    Row::new(User, "GET /users", For::Admins, "", ""),
    Row::new(User, "GET /users/{id}", For::Admins, "$owner", ""),
    Row::new(User, "POST /users/{id}/lock", For::Admins, "$nobody", ""),
    Row::new(User, "POST /users/{id}/unlock", For::Admins, "$nobody", ""),
    Row::new(User, "PUT /users/{id}/role", For::Admins, "$nobody", r#"{"role":"customer"}"#),
    Row::new(User, "POST /profile/password", For::Users, "", CHANGE_PASSWORD).good(&[200, 204]).last(),
    Row::new(User, "POST /logout", For::Users, "", "").good(&[200, 204]).last(),
    Row::new(User, "POST /logout/all", For::Users, "", "").good(&[200, 204]).last(),
    Row::new(User, "DELETE /profile", For::Users, "", r#"{"password":"$password"}"#).good(&[200, 204]).last(),
    Row::new(Product, "DELETE /products/{id}", For::Admins, "$product", "").good(&[200, 204]),
];
