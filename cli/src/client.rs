//! A client of the shop's HTTP interfaces, as a front end would be one.

mod answers;
mod error;

pub use answers::{Moment, Order, Saga, Session, Status};
pub use error::Error;

use crate::ports::{GATEWAY_PORT, Role};
use crate::shop::Accounts;
use answers::{Health, LoggedIn, OrderPage, Product};
use anyhow::Context;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{Method, RequestBuilder};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;
use uuid::Uuid;

/// An answer that takes longer will not come; a long poll has its own time on top.
const ANSWER_MAX: Duration = Duration::from_secs(15);
const CONNECT_MAX: Duration = Duration::from_secs(3);

/// The shop at one address. Clones share their connections.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    address: IpAddr,
    offset: u16,
}

impl Client {
    /// A client of the shop that was told to listen there.
    ///
    /// # Errors
    /// When no HTTP client can be made on this machine.
    pub fn new(listen: IpAddr, offset: u16) -> anyhow::Result<Self> {
        let http = web::http_client().connect_timeout(CONNECT_MAX).build().context("no HTTP client can be made")?;
        let address = if listen.is_unspecified() { Ipv4Addr::LOCALHOST.into() } else { listen };
        Ok(Self { http, address, offset })
    }

    /// Where a role listens.
    pub fn address(&self, role: Role) -> SocketAddr {
        SocketAddr::new(self.address, role.http_port().saturating_add(self.offset))
    }

    /// Where the gateway listens.
    pub fn gateway(&self) -> SocketAddr {
        SocketAddr::new(self.address, GATEWAY_PORT.saturating_add(self.offset))
    }

    /// The name of the service that answers at a role's port.
    ///
    /// # Errors
    /// When nobody answers there, or something else than a service of the shop.
    pub async fn health(&self, role: Role) -> Result<String, Error> {
        let health: Health = self.send(self.request(Method::GET, role, "/health", None)).await?;
        Ok(health.service)
    }

    /// Makes an account and logs in.
    ///
    /// # Errors
    /// When the shop is away or refuses.
    pub async fn register(&self, name: &str, email: &str, password: &str) -> Result<Session, Error> {
        let body = json!({ "name": name, "email": email, "password": password });
        let _: Value = self.send(self.request(Method::POST, Role::User, "/register", None).json(&body)).await?;
        self.login(email, password).await
    }

    /// Logs in.
    ///
    /// # Errors
    /// When the shop is away or refuses.
    pub async fn login(&self, email: &str, password: &str) -> Result<Session, Error> {
        let body = json!({ "email": email, "password": password });
        let answer: LoggedIn = self.send(self.request(Method::POST, Role::User, "/login", None).json(&body)).await?;
        Session::of(answer)
    }

    /// Logs in as an administrator: the one of `ADMIN_EMAIL` and `ADMIN_PASSWORD`, else that of the data folder.
    ///
    /// # Errors
    /// When none is known, or none is let in.
    pub async fn login_admin(&self, data_dir: &Path) -> anyhow::Result<Session> {
        let given = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let mut known: Vec<_> = given("ADMIN_EMAIL").zip(given("ADMIN_PASSWORD")).into_iter().collect();
        known.extend(Accounts::read(data_dir)?.map(|accounts| (accounts.admin_email, accounts.admin_password)));
        let mut refused = None;
        for (email, password) in known {
            match self.login(&email, &password).await {
                Ok(session) => return Ok(session),
                Err(error @ Error::Refused { .. }) => refused = Some((email, error)),
                Err(error) => return Err(error.into()),
            }
        }
        match refused {
            Some((email, error)) => Err(error).with_context(|| format!("the shop does not let {email} in")),
            None => anyhow::bail!(
                "no administrator is known: point --data-dir at the shop's folder, \
                 or set ADMIN_EMAIL and ADMIN_PASSWORD"
            ),
        }
    }

    /// Adds a product to the catalogue, as an administrator. The price is a decimal such as `19.90`.
    ///
    /// # Errors
    /// When the shop is away or refuses.
    pub async fn create_product(&self, admin: &Session, name: &str, price: &str, stock: u32) -> Result<Uuid, Error> {
        let body = json!({ "name": name, "price": price, "stock": stock, "category": "demo" });
        let request = self.request(Method::POST, Role::Product, "/products", Some(admin)).json(&body);
        let product: Product = self.send(request).await?;
        Ok(product.id)
    }

    /// Places an order.
    ///
    /// # Errors
    /// When the shop is away or refuses.
    pub async fn place(&self, customer: &Session, order: &NewOrder) -> Result<Order, Error> {
        self.send(self.request(Method::POST, Role::Order, "/orders", Some(customer)).json(&order.body())).await
    }

    /// The order, as soon as it has ended, or as it stands when the wait is over.
    ///
    /// # Errors
    /// When the shop is away or refuses.
    pub async fn order_once_ended(&self, customer: &Session, id: Uuid, wait: Duration) -> Result<Order, Error> {
        let path = format!("/orders/{id}?wait={}ms", wait.as_millis());
        let request = self.request(Method::GET, Role::Order, &path, Some(customer));
        self.send(request.timeout(ANSWER_MAX + wait)).await
    }

    /// Asks for an order's cancellation.
    ///
    /// # Errors
    /// When the shop is away or refuses.
    pub async fn cancel(&self, customer: &Session, id: Uuid) -> Result<Order, Error> {
        self.send(self.request(Method::POST, Role::Order, &format!("/orders/{id}/cancel"), Some(customer))).await
    }

    /// The customer's own orders, the newest first.
    ///
    /// # Errors
    /// When the shop is away or refuses.
    pub async fn orders(&self, customer: &Session, limit: u32) -> Result<Vec<Order>, Error> {
        let path = format!("/orders?limit={limit}");
        let page: OrderPage = self.send(self.request(Method::GET, Role::Order, &path, Some(customer))).await?;
        Ok(page.orders)
    }

    /// What happened to an order, the earliest first.
    ///
    /// # Errors
    /// When the shop is away or refuses.
    pub async fn history(&self, customer: &Session, id: Uuid) -> Result<Vec<Moment>, Error> {
        self.send(self.request(Method::GET, Role::Order, &format!("/orders/{id}/history"), Some(customer))).await
    }

    /// Sagas, the newest first, as an administrator.
    ///
    /// # Errors
    /// When the shop is away or refuses.
    pub async fn sagas(&self, admin: &Session, limit: u32) -> Result<Vec<Saga>, Error> {
        let path = format!("/sagas?limit={limit}");
        self.send(self.request(Method::GET, Role::Orchestrator, &path, Some(admin))).await
    }

    /// A saga with its timeline, as an administrator.
    ///
    /// # Errors
    /// When the shop is away or refuses.
    pub async fn saga(&self, admin: &Session, order_id: Uuid) -> Result<Saga, Error> {
        self.send(self.request(Method::GET, Role::Orchestrator, &format!("/sagas/{order_id}"), Some(admin))).await
    }

    fn request(&self, method: Method, role: Role, path: &str, session: Option<&Session>) -> RequestBuilder {
        let url = format!("http://{}{path}", self.address(role));
        let request = self.http.request(method, url).timeout(ANSWER_MAX);
        match session {
            Some(session) => request.header(AUTHORIZATION, session.bearer.clone()),
            None => request,
        }
    }

    async fn send<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, Error> {
        let answer = request.send().await.map_err(Error::of_transport)?;
        let status = answer.status();
        let body = answer.bytes().await.map_err(Error::of_transport)?;
        if !status.is_success() {
            return Err(Error::of_refusal(status.as_u16(), &body));
        }
        serde_json::from_slice(&body).map_err(|error| Error::Unreadable(error.to_string()))
    }
}

/// What somebody orders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewOrder {
    /// Products and quantities.
    pub lines: Vec<(Uuid, u32)>,
    /// The payment provider's token.
    pub payment_method: &'static str,
}

impl NewOrder {
    /// The short form for one product, the long one for several.
    fn body(&self) -> Value {
        let payment_method = self.payment_method;
        if let [(product_id, quantity)] = self.lines[..] {
            return json!({ "product_id": product_id, "quantity": quantity, "payment_method": payment_method });
        }
        let line = |(product_id, quantity): &(Uuid, u32)| json!({ "product_id": product_id, "quantity": quantity });
        json!({ "lines": self.lines.iter().map(line).collect::<Vec<_>>(), "payment_method": payment_method })
    }
}

/// The header that says who asks.
fn bearer(token: &str) -> Result<HeaderValue, Error> {
    let mut value = HeaderValue::try_from(format!("Bearer {token}"))
        .map_err(|_| Error::Unreadable("the access token is not text".to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}
