//! The broker is away for a while: orders are accepted, and finish once it is back.

use std::time::{Duration, Instant};

use sagashop::ports::Role;
use serde_json::json;

use crate::fleet::Fleet;
use crate::kafka::Kafka;
use crate::room_for_a_large_shop;

const AWAY: Duration = Duration::from_secs(20);
/// Between two orders.
const PACE: Duration = Duration::from_millis(250);
/// After the broker is back, the first success comes within this.
const HEALED_MAX: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_are_accepted_while_kafka_is_away_and_finish_afterwards() {
    let _room = room_for_a_large_shop().await;
    let Some(kafka) = Kafka::start() else { return };
    let mut fleet = Fleet::start(Some(kafka.address())).await;
    let admin = fleet.admin().await;
    let customer = fleet.customer("customer").await;
    let product = fleet.product(&admin, "Lamp", "19.90", 1_000).await;
    let order = json!({ "product_id": product, "quantity": 1 });
    let before = fleet.place(&customer, &order).await;
    assert_eq!(fleet.ended(&customer, &before).await["status"], "confirmed");

    kafka.kill();
    let killed = Instant::now();
    let mut accepted = Vec::new();
    while killed.elapsed() < AWAY {
        accepted.push(fleet.place(&customer, &order).await);
        tokio::time::sleep(PACE).await;
    }
    for id in accepted.iter().take(10) {
        assert_eq!(fleet.order(&customer, id).await["status"], "pending");
    }
    // No process may have given up.
    fleet.assert_alive();
    kafka.run().expect("it starts on what it held");
    let back = Instant::now();
    assert_eq!(fleet.ended(&customer, &accepted[0]).await["status"], "confirmed");
    assert!(back.elapsed() < HEALED_MAX, "the first success came after {:?}", back.elapsed());
    for id in &accepted {
        assert_eq!(fleet.ended(&customer, id).await["status"], "confirmed", "{id}");
    }
    eprintln!("{} orders were accepted meanwhile, all done {:?} after it was back", accepted.len(), back.elapsed());
    assert_eq!(fleet.folder.count(Role::Payment, "payments").await, i64::try_from(accepted.len() + 1).expect("few"));
    fleet.assert_clean().await;
    fleet.stop().await;
}
