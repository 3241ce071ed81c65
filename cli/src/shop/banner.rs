//! What `up` says when it is ready: where everything is, and an order that can be pasted.

use super::Accounts;
use super::up::loopback;
use crate::args::UpArgs;
use crate::output;
use crate::ports::Role;
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
    accounts: &'a Accounts,
    host: String,
}

impl<'a> Banner<'a> {
    /// For a shop that was started with these arguments.
    pub fn new(args: &'a UpArgs, accounts: &'a Accounts) -> Self {
        Self { args, accounts, host: loopback(args.listen) }
    }

    fn url(&self, role: Role) -> String {
        format!("http://{}:{}", self.host, role.http_port() + self.args.port_offset)
    }

    /// Prints it once the services answer.
    ///
    /// # Errors
    /// When they do not, or stdout cannot be written.
    pub async fn print(&self, server: &Server, began: Instant) -> anyhow::Result<()> {
        let http = web::http_client().timeout(ANSWER_MAX).build()?;
        let example = self.example(&http).await.context("the shop does not answer its first requests")?;
        let mut text = String::new();
        for role in Role::ALL {
            let url = self.url(role);
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
        writeln!(text, "  administrator          {}   {}", self.accounts.admin_email, self.accounts.admin_password)?;
        writeln!(
            text,
            "  customer               {}   {}",
            self.accounts.customer_email, self.accounts.customer_password
        )?;
        writeln!(text, "\n{example}")?;
        writeln!(text, "Sagashop is ready after {:.1} s. Ctrl-C stops it.", began.elapsed().as_secs_f64())?;
        output::text(&text)?;
        Ok(())
    }

    /// An order that works as pasted, if there is anything to order.
    async fn example(&self, http: &reqwest::Client) -> anyhow::Result<String> {
        let login = json!({ "email": self.accounts.customer_email, "password": self.accounts.customer_password });
        let session: Value =
            http.post(format!("{}/login", self.url(Role::User))).json(&login).send().await?.json().await?;
        let products: Value =
            http.get(format!("{}/products?limit=20", self.url(Role::Product))).send().await?.json().await?;
        let product = products.as_array().and_then(|all| all.iter().find(|p| p["stock"].as_i64() > Some(1)));
        let (Some(product), Some(token)) = (product, session["token"].as_str()) else {
            return Ok("  The catalogue is empty: POST /products as the administrator fills it.\n".to_owned());
        };
        let orders = format!("{}/orders", self.url(Role::Order));
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
