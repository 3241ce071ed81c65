//! A process dies at a named point, as in a power cut, and is started again.

use sagashop::ports::Role;
use serde_json::json;
use testkit::eventually;

use crate::fleet::Fleet;
use crate::up::settled;
use crate::{PATIENCE, room_for_a_large_shop};

/// At each of these points the work is half done.
const POINTS: [(Role, &str); 6] = [
    (Role::Payment, "payment.after_charge"),
    (Role::Payment, "relay.before_publish"),
    (Role::Order, "relay.after_publish"),
    (Role::Product, "consumer.before_commit"),
    (Role::Orchestrator, "consumer.after_commit"),
    (Role::Notification, "consumer.after_commit"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_dies_half_way_does_everything_once() {
    let _room = room_for_a_large_shop().await;
    let mut fleet = Fleet::start(None).await;
    let admin = fleet.admin().await;
    let customer = fleet.customer("customer").await;
    let product = fleet.product(&admin, "Lamp", "19.90", 1_000).await;

    let mut sold = 0;
    for (role, point) in POINTS {
        fleet.kill(role);
        fleet.begin(role, &[("SAGASHOP_FAILPOINT", point)]);
        fleet.ready(role).await;
        let order = fleet.place(&customer, &json!({ "product_id": product, "quantity": 1 })).await;
        fleet.restart_after_abort(role).await;
        let ended = fleet.ended(&customer, &order).await;
        eprintln!("{} died at {point}: {}", role.name(), ended["status"]);
        settled(&fleet.folder).await;

        // On a machine so slow that the reservation timed out, it is cancelled.
        let confirmed = i64::from(ended["status"] == "confirmed");
        assert!(confirmed == 1 || role != Role::Payment, "{ended}");
        sold += confirmed;
        let book = fleet.folder.query(Role::Payment, &ledger_of(&order)).await;
        assert!(book[0]["charges"].as_i64() <= Some(1), "charged more than once: {book}");
        assert_eq!(book[0]["kept"].as_i64(), Some(1_990 * confirmed), "{book}");
    }
    eventually(PATIENCE, async || fleet.stock(&product).await == 1_000 - sold).await;
    fleet.assert_clean().await;
    fleet.stop().await;
}

/// What the provider did for the order: how often it charged, and how much money it kept.
fn ledger_of(order: &str) -> String {
    format!(
        "SELECT count(*) FILTER (WHERE kind = 'charge') AS charges,
                coalesce(sum(CASE outcome WHEN 'captured' THEN l.amount_minor WHEN 'refunded' THEN -l.amount_minor END), 0)::bigint
                    AS kept
           FROM provider_ledger l JOIN payments USING (payment_id) WHERE order_id = '{order}'"
    )
}
