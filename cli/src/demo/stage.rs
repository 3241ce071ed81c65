//! What the demo needs of its own: products and customers.

use super::mix::{self, Item, PLENTIFUL, Planned};
use crate::client::{Client, NewOrder, Session};
use anyhow::Context;
use futures::future::try_join_all;
use std::collections::HashMap;
use std::path::Path;
use uuid::Uuid;

/// Customers; that many orders are on their way to the shop at once.
pub const CUSTOMERS: usize = 8;
/// More of everything than is ordered, so that what is out is what was meant to be.
const SPARE: u32 = 1_000;

/// The demo's products and people.
pub struct Stage {
    /// An administrator.
    pub admin: Session,
    customers: Vec<Session>,
    products: HashMap<Item, Uuid>,
}

impl Stage {
    /// Makes what this plan needs; nothing of an earlier demo is used.
    ///
    /// # Errors
    /// When no administrator is known, or the shop is away or refuses.
    pub async fn set(client: &Client, data_dir: &Path, plan: &[Planned]) -> anyhow::Result<Self> {
        let admin = client.login_admin(data_dir).await?;
        let run = Uuid::now_v7().simple().to_string();
        let customers = (0..CUSTOMERS.min(plan.len())).map(|n| {
            let (name, email) = (format!("Demo customer {n}"), format!("demo-{run}-{n}@sagashop.example"));
            let password = Uuid::new_v5(&Uuid::NAMESPACE_OID, email.as_bytes()).to_string();
            async move { client.register(&name, &email, &password).await }
        });
        let customers = try_join_all(customers).await.context("the demo's customers cannot be registered")?;
        let items = (0..PLENTIFUL).map(Item::Plenty).chain([Item::Hot, Item::TooFew, Item::Last]);
        let products = items.map(|item| {
            let (admin, name, price) = (&admin, name(item), price(item));
            let stock = stock(item, plan);
            async move { client.create_product(admin, &name, &price, stock).await.map(|id| (item, id)) }
        });
        let products = try_join_all(products).await.context("the demo's products cannot be made")?;
        Ok(Self { admin, customers, products: products.into_iter().collect() })
    }

    /// The customer who places the n-th order.
    pub fn customer(&self, n: usize) -> &Session {
        &self.customers[n % self.customers.len()]
    }

    /// A planned order as the shop takes it.
    pub fn order(&self, planned: &Planned) -> NewOrder {
        let lines = planned.lines.iter().map(|(item, quantity)| (self.products[item], *quantity)).collect();
        NewOrder { lines, payment_method: planned.kind.payment_method() }
    }
}

fn name(item: Item) -> String {
    match item {
        Item::Plenty(n) => format!("Demo product {}", n + 1),
        Item::Hot => "Demo product that everybody wants".to_owned(),
        Item::TooFew => "Demo product that is almost gone".to_owned(),
        Item::Last => "Demo product for the quick".to_owned(),
    }
}

fn price(item: Item) -> String {
    match item {
        Item::Plenty(n) => format!("{}.99", 4 + 5 * n),
        Item::Hot => "49.90".to_owned(),
        Item::TooFew | Item::Last => "199.00".to_owned(),
    }
}

fn stock(item: Item, plan: &[Planned]) -> u32 {
    match item {
        Item::TooFew => mix::TOO_FEW,
        Item::Last => mix::last_items(plan),
        Item::Plenty(_) | Item::Hot => {
            let lines = plan.iter().flat_map(|planned| &planned.lines);
            lines.filter(|(other, _)| *other == item).map(|(_, quantity)| quantity).sum::<u32>() + SPARE
        }
    }
}
