//! Customers who order while the shop falls apart, and remember what they were promised.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use reqwest::Method;
use sagashop::ports::Role;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::http::Http;

/// Between two orders of one customer.
const PACE: Duration = Duration::from_millis(60);

/// What can be ordered.
#[derive(Clone)]
pub struct Catalogue {
    pub plenty: String,
    pub more: String,
    /// Sold out in the midst.
    pub scarce: String,
}

impl Catalogue {
    pub async fn fill(http: &Http, admin: &str) -> Self {
        Self {
            plenty: http.product(admin, "Plenty", "19.90", 100_000).await,
            more: http.product(admin, "More", "0.05", 100_000).await,
            scarce: http.product(admin, "Scarce", "999.99", 40).await,
        }
    }

    fn any_order(&self, random: &mut StdRng) -> Value {
        let Self { plenty, more, scarce } = self;
        match random.random_range(0..10) {
            0 => json!({ "product_id": plenty, "quantity": 1, "payment_method": "tok_declined" }),
            1 => json!({ "product_id": scarce, "quantity": 1 }),
            2 | 3 => {
                json!({ "lines": [{ "product_id": plenty, "quantity": 2 }, { "product_id": more, "quantity": 3 }] })
            }
            4 => json!({ "lines": [{ "product_id": more, "quantity": 1 }, { "product_id": scarce, "quantity": 1 }] }),
            5 => json!({ "product_id": more, "quantity": 1, "payment_method": "tok_flaky" }),
            _ => json!({ "product_id": plenty, "quantity": 1 }),
        }
    }
}

/// Customers at work.
pub struct Traffic {
    customers: Vec<JoinHandle<Promised>>,
    over: Arc<AtomicBool>,
    /// Orders acknowledged until now.
    placed: Arc<AtomicUsize>,
}

/// One customer's acknowledged orders.
struct Promised {
    token: String,
    orders: Vec<String>,
}

impl Traffic {
    /// Customers with these tokens begin to order.
    pub fn begin(http: &Http, catalogue: &Catalogue, tokens: Vec<String>, seed: u64) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let placed = Arc::default();
        let customers = tokens.into_iter().zip(seed..).map(|(token, seed)| {
            let (http, catalogue, over) = (http.clone(), catalogue.clone(), Arc::clone(&over));
            tokio::spawn(shop_around(http, catalogue, token, seed, over, Arc::clone(&placed)))
        });
        Self { customers: customers.collect(), over, placed }
    }

    /// Orders acknowledged until now.
    pub fn placed(&self) -> usize {
        self.placed.load(Ordering::SeqCst)
    }

    /// No more orders; waits until each that was acknowledged has ended. How many they are.
    pub async fn end(self, http: &Http) -> usize {
        self.over.store(true, Ordering::SeqCst);
        let mut ended = 0;
        for customer in self.customers {
            let Promised { token, orders } = customer.await.expect("a customer");
            for order in orders {
                http.ended(&token, &order).await;
                ended += 1;
            }
        }
        ended
    }
}

async fn shop_around(
    http: Http,
    catalogue: Catalogue,
    token: String,
    seed: u64,
    over: Arc<AtomicBool>,
    placed: Arc<AtomicUsize>,
) -> Promised {
    let mut random = StdRng::seed_from_u64(seed);
    let mut orders = Vec::new();
    while !over.load(Ordering::SeqCst) {
        let order = catalogue.any_order(&mut random);
        let request = http.request(Method::POST, Role::Order, "/orders", &token).json(&order);
        match http.try_send(request).await {
            Some(answer) if answer.status == 201 => {
                let id = answer.body["id"].as_str().expect("an id").to_owned();
                if random.random_ratio(1, 8) {
                    // Refused or unheard, the order ends in its own way.
                    let path = format!("/orders/{id}/cancel");
                    let _ = http.try_send(http.request(Method::POST, Role::Order, &path, &token)).await;
                }
                orders.push(id);
                placed.fetch_add(1, Ordering::SeqCst);
            }
            // Sold out; or some service is away, and says so.
            Some(answer) => assert!(
                answer.status == 503
                    || (answer.status == 400 && answer.fields().iter().any(|f| f.ends_with("quantity"))),
                "{answer:?}"
            ),
            None => {}
        }
        tokio::time::sleep(PACE).await;
    }
    Promised { token, orders }
}
