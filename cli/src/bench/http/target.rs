//! The shop with what is asked of it, and by whom.

use super::load::Requests;
use crate::client::{Client, NewOrder, Session};
use crate::ports::Role;
use anyhow::Context;
use futures::future::try_join_all;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
use uuid::Uuid;

/// Enough that no product is a hot one.
const PRODUCTS: usize = 20;
/// More than any run sells.
const STOCK: u32 = 100_000_000;
const CUSTOMERS: usize = 8;
/// For the first answer of an order that somebody waits for.
const WAIT: Duration = Duration::from_secs(5);

/// The shop, with products, customers, and an order of each that has ended.
pub(super) struct Target {
    pub(super) client: Client,
    customers: Vec<Session>,
    products: Vec<Uuid>,
    orders: Vec<Uuid>,
    run: String,
}

impl Target {
    pub(super) async fn make(client: Client, data_dir: &Path) -> anyhow::Result<Self> {
        let admin = client.login_admin(data_dir).await?;
        let run = Uuid::now_v7().simple().to_string();
        let products = (0..PRODUCTS).map(|n| {
            let (client, admin, name) = (&client, &admin, format!("Bench product {}", n + 1));
            async move { client.create_product(admin, &name, "9.99", STOCK).await }
        });
        let products = try_join_all(products).await.context("the products cannot be made")?;
        let mut customers = Vec::with_capacity(CUSTOMERS);
        let mut orders = Vec::with_capacity(CUSTOMERS);
        for (n, product) in products.iter().enumerate().take(CUSTOMERS) {
            let email = format!("bench-{run}-{n}@sagashop.example");
            let password = Uuid::new_v5(&Uuid::NAMESPACE_OID, email.as_bytes()).to_string();
            let customer = client.register("Bench customer", &email, &password).await;
            let customer = customer.context("the customers cannot be registered")?;
            let order = NewOrder { lines: vec![(*product, 1)], payment_method: "tok_ok" };
            let order = client.place(&customer, &order).await.context("no order can be placed")?;
            client.order_once_ended(&customer, order.id, WAIT).await.context("the order cannot be read")?;
            customers.push(customer);
            orders.push(order.id);
        }
        Ok(Self { client, customers, products, orders, run })
    }

    /// Each client reads the products in turn.
    pub(super) fn reads_of_products(&self, clients: usize) -> Vec<Requests> {
        self.reads(clients, self.client.address(Role::Product), "/products")
    }

    /// The same through the gateway.
    pub(super) fn reads_through_gateway(&self, clients: usize) -> Vec<Requests> {
        self.reads(clients, self.client.gateway(), "/api/v1/products")
    }

    fn reads(&self, clients: usize, at: SocketAddr, products: &str) -> Vec<Requests> {
        let request = |n: usize, customer: &Session| {
            let path = format!("{products}/{}", self.products[n % self.products.len()]);
            request("GET", at, &path, Some(customer), "")
        };
        self.each(clients, |n, customer| (n..n + self.products.len()).map(|n| request(n, customer)).collect())
    }

    /// Each client reads an order of its own.
    pub(super) fn reads_of_orders(&self, clients: usize) -> Vec<Requests> {
        self.each(clients, |n, customer| {
            let path = format!("/orders/{}", self.orders[n % self.orders.len()]);
            vec![self.request("GET", Role::Order, &path, Some(customer), "")]
        })
    }

    /// Each client orders one product after the other.
    pub(super) fn orders(&self, clients: usize) -> Vec<Requests> {
        let request = |n: usize, customer: &Session| {
            let product = self.products[n % self.products.len()];
            let body = format!(r#"{{"product_id":"{product}","quantity":1,"payment_method":"tok_ok"}}"#);
            self.request("POST", Role::Order, "/orders", Some(customer), &body)
        };
        self.each(clients, |n, customer| (n..n + self.products.len()).map(|n| request(n, customer)).collect())
    }

    /// Wrong passwords: half of them of accounts that there are.
    pub(super) fn logins(&self, clients: usize) -> Vec<Requests> {
        let login = |n: usize| {
            let account = if n.is_multiple_of(2) { n % CUSTOMERS } else { n + CUSTOMERS };
            let email = format!("bench-{}-{account}@sagashop.example", self.run);
            let body = format!(r#"{{"email":"{email}","password":"not the password {n}"}}"#);
            self.request("POST", Role::User, "/login", None, &body)
        };
        (0..clients).map(|n| (0..100).map(|m| login(n * 100 + m)).collect()).collect()
    }

    pub(super) fn healths(&self) -> Vec<Requests> {
        vec![vec![self.request("GET", Role::Order, "/health", None, "")]]
    }

    /// The moment when all orders of these customers that were placed until now have ended, if that is soon.
    pub(super) async fn is_settled(&self, within: Duration) -> anyhow::Result<bool> {
        let deadline = std::time::Instant::now() + within;
        for customer in &self.customers {
            loop {
                // Orders of one partition end in turn: with the newest, all have ended but for a few.
                let newest = self.client.orders(customer, 1).await?;
                let Some(newest) = newest.first() else { break };
                let order = self.client.order_once_ended(customer, newest.id, WAIT).await?;
                if order.status != crate::client::Status::Pending {
                    break;
                }
                if std::time::Instant::now() >= deadline {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    fn each(&self, clients: usize, requests: impl Fn(usize, &Session) -> Requests) -> Vec<Requests> {
        (0..clients).map(|n| requests(n, &self.customers[n % self.customers.len()])).collect()
    }

    fn request(&self, method: &str, role: Role, path: &str, customer: Option<&Session>, body: &str) -> Vec<u8> {
        request(method, self.client.address(role), path, customer, body)
    }
}

fn request(method: &str, at: SocketAddr, path: &str, customer: Option<&Session>, body: &str) -> Vec<u8> {
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {at}\r\n");
    if !body.is_empty() {
        head += &format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
    }
    let mut request = head.into_bytes();
    if let Some(customer) = customer {
        request.extend_from_slice(b"Authorization: ");
        request.extend_from_slice(customer.authorization());
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"\r\n");
    request.extend_from_slice(body.as_bytes());
    request
}
