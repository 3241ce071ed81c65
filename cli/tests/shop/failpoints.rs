//! A process dies at a named point, as in a power cut, and is started again.

use sagashop::ports::Role;
use serde_json::json;

use crate::fleet::Fleet;
use crate::room_for_a_large_shop;

/// At each of these points the work is half done.
const POINTS: [(Role, &str); 10] = [
    (Role::Payment, "payment.before_charge"),
    (Role::Payment, "payment.after_charge"),
    (Role::Payment, "relay.before_publish"),
    (Role::Order, "relay.after_publish"),
    (Role::Order, "consumer.after_commit"),
    (Role::Product, "relay.before_checkpoint"),
    (Role::Product, "consumer.before_commit"),
    (Role::Orchestrator, "consumer.before_commit"),
    (Role::Orchestrator, "relay.after_publish"),
    (Role::Notification, "consumer.after_commit"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_dies_half_way_does_everything_once() {
    let _room = room_for_a_large_shop().await;
    let mut fleet = Fleet::start(None).await;
    let admin = fleet.admin().await;
    let customer = fleet.customer("customer").await;
    let product = fleet.product(&admin, "Lamp", "19.90", 1_000).await;

    for (role, point) in POINTS {
        eprintln!("{}: {point}", role.name());
        fleet.kill(role);
        fleet.begin(role, &[("SAGASHOP_FAILPOINT", point)]);
        fleet.ready(role).await;
        let order = fleet.place(&customer, &json!({ "product_id": product, "quantity": 1 })).await;
        fleet.restart_after_abort(role).await;
        let ended = fleet.ended(&customer, &order).await;
        assert_eq!(ended["status"], "confirmed", "{} at {point}: {ended}", role.name());

        let payment = fleet.payment(&customer, &order, "success").await;
        assert_eq!(payment["amount"].to_string(), "19.90");
        let id = payment["id"].as_str().expect("an id");
        let charges = format!("provider_ledger WHERE kind = 'charge' AND payment_id = '{id}'");
        assert_eq!(fleet.folder.count(Role::Payment, &charges).await, 1, "charges, {} at {point}", role.name());
        let captured = format!("{charges} AND outcome = 'captured'");
        assert_eq!(fleet.folder.count(Role::Payment, &captured).await, 1);
    }
    let sold = i64::try_from(POINTS.len()).expect("few");
    assert_eq!(fleet.stock(&product).await, 1_000 - sold);
    fleet.assert_clean().await;
    fleet.stop().await;
}
