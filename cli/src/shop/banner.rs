//! What `up` says when it is ready: where everything is, and an order that can be pasted.

use super::Accounts;
use super::up::loopback;
use crate::args::UpArgs;
use crate::output;
use crate::ports::{GATEWAY_PORT, Role};
use crate::postgres::Server;
use anyhow::Context;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::time::{Duration, Instant};

/// How long the services may take to answer their first requests.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// The table of URLs and the example.
pub struct Banner<'a> {
    args: &'a UpArgs,
    /// Passwords are shown when they are made, and not again.
    accounts: Option<(&'a Accounts, bool)>,
    host: String,
}

impl<'a> Banner<'a> {
    /// For a shop that was started with these arguments, and has these accounts, perhaps new ones.
    pub fn new(args: &'a UpArgs, accounts: Option<&'a (Accounts, bool)>) -> Self {
        let accounts = accounts.map(|(accounts, are_new)| (accounts, *are_new));
        Self { args, accounts, host: loopback(args.listen) }
    }

    fn at(&self, port: u16) -> String {
        format!("http://{}:{}", self.host, port + self.args.port_offset)
    }

    fn gateway(&self) -> String {
        let url = self.at(GATEWAY_PORT);
        if self.args.edge.tls_key.is_some() { url.replacen("http", "https", 1) } else { url }
    }

    /// Prints it once the services answer.
    ///
    /// # Errors
    /// When they do not, or stdout cannot be written.
    pub async fn print(&self, server: &Server, began: Instant) -> anyhow::Result<()> {
        let http = web::http_client().timeout(ANSWER_MAX).build()?;
        let example = self.example(&http).await.context("the shop does not answer its first requests")?;
        let mut text = String::new();
        let gateway = self.gateway();
        writeln!(text, "  {:<22} {gateway}   docs {gateway}/docs   API {gateway}/api/v1", "gateway")?;
        for role in Role::ALL {
            let url = self.at(role.http_port());
            let grpc = role
                .grpc_port()
                .map(|port| format!("   gRPC {}:{}", self.host, port + self.args.port_offset))
                .unwrap_or_default();
            writeln!(text, "  {:<22} {url}   docs {url}/docs{grpc}", role.title())?;
        }
        let broker = match self.args.servers.kafka_broker.as_deref().filter(|text| !text.is_empty()) {
            Some(kafka) => format!("Kafka at {kafka}"),
            None => "a topic log in the same PostgreSQL".to_owned(),
        };
        writeln!(text, "\n  database               {}", server.describe())?;
        writeln!(text, "  broker                 {broker}")?;
        writeln!(text, "{}\n{example}", self.people())?;
        writeln!(text, "Sagashop is ready after {:.1} s. Ctrl-C stops it.", began.elapsed().as_secs_f64())?;
        output::text(&text)?;
        Ok(())
    }

    /// Who can log in from the start.
    fn people(&self) -> String {
        let Some((accounts, are_new)) = self.accounts else {
            return "  administrators         `sagashop users create-admin` makes them\n".to_owned();
        };
        let shown = |password| if are_new { password } else { "(the password was shown at the first start)" };
        format!(
            "  administrator          {}   {}\n  customer               {}   {}\n",
            accounts.admin_email,
            shown(&accounts.admin_password),
            accounts.customer_email,
            shown(&accounts.customer_password)
        )
    }

    /// An order that works as pasted, if there is anything to order, and somebody who may.
    async fn example(&self, http: &reqwest::Client) -> anyhow::Result<String> {
        let products: Value =
            http.get(format!("{}/products?limit=20", self.at(Role::Product.http_port()))).send().await?.json().await?;
        let product = products.as_array().and_then(|all| all.iter().find(|p| p["stock"].as_i64() > Some(1)));
        let Some(product) = product else {
            return Ok("  The catalogue is empty: POST /products as an administrator fills it.\n".to_owned());
        };
        let Some((accounts, _)) = self.accounts else { return Ok(String::new()) };
        let login = json!({ "email": accounts.customer_email, "password": accounts.customer_password });
        let login = http.post(format!("{}/login", self.at(Role::User.http_port()))).json(&login);
        let session: Value = login.send().await?.json().await?;
        let Some(token) = session["token"].as_str() else {
            return Ok("  The development customer's password was changed: log in for a token.\n".to_owned());
        };
        let orders = format!("{}/api/v1/orders", self.gateway());
        Ok(format!(
            "Order a {name}, and see what becomes of it:\n\n\
             TOKEN={token}\n\
             curl -s -X POST {orders} -H \"Authorization: Bearer $TOKEN\" -H 'Content-Type: application/json' \\\n\
             \x20 -d '{{\"product_id\":\"{id}\",\"quantity\":1}}'\n\
             curl -s \"{orders}?limit=1\" -H \"Authorization: Bearer $TOKEN\"\n",
            name = product["name"].as_str().unwrap_or("product"),
            id = product["id"].as_str().unwrap_or_default(),
        ))
    }
}
