//! A process dies at a named point, as in a power cut, and is started again.

use sagashop::ports::Role;
use serde_json::json;
use testkit::eventually;

use crate::fleet::Fleet;
use crate::process::assert_audit_clean_with;
use crate::psp::Psp;
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

/// The provider is a process of its own, across a socket: what it has done it cannot take back when the shop dies.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_dies_between_charge_and_record_charges_once_at_a_provider_across_the_network() {
    let _room = room_for_a_large_shop().await;
    let mut fleet = Fleet::start(None).await;
    let psp = Psp::beside(&fleet.folder, &[]);
    let settings = psp.settings();
    let (admin, customer) = (fleet.admin().await, fleet.customer("customer").await);
    let product = fleet.product(&admin, "Lamp", "19.90", 100).await;
    let mut orders = Vec::new();

    // It dies by itself, the answer in its hands.
    fleet.kill(Role::Payment);
    fleet.begin(Role::Payment, &[&settings[..], &[("SAGASHOP_FAILPOINT", "payment.after_charge")]].concat());
    fleet.ready(Role::Payment).await;
    orders.push(fleet.place(&customer, &json!({ "product_id": product, "quantity": 1 })).await);
    fleet.take(Role::Payment).aborted().await;
    fleet.begin(Role::Payment, &settings);
    fleet.ready(Role::Payment).await;
    assert_eq!(fleet.ended(&customer, &orders[0]).await["status"], "confirmed");

    // kill -9 while it waits for the answer about what is booked already.
    let slow = json!({ "product_id": product, "quantity": 1, "payment_method": "tok_timeout" });
    let patient = [&settings[..], &[("PAYMENT_TIMEOUT", "60s")]].concat();
    fleet.kill(Role::Payment);
    fleet.begin(Role::Payment, &patient);
    fleet.ready(Role::Payment).await;
    orders.push(fleet.place(&customer, &slow).await);
    eventually(PATIENCE, async || fleet.folder.booked(CHARGES).await == 2).await;
    fleet.kill(Role::Payment);
    let unrecorded = "events WHERE event_type = 'payment_captured'";
    assert_eq!(fleet.folder.count(Role::Payment, unrecorded).await, 1, "the second charge is not recorded");
    fleet.begin(Role::Payment, &settings);
    assert_eq!(fleet.ended(&customer, &orders[1]).await["status"], "confirmed");

    settled(&fleet.folder).await;
    assert_eq!(fleet.folder.booked(CHARGES).await, 2);
    assert_eq!(fleet.folder.booked("SELECT count(*) FROM provider_ledger WHERE kind = 'refund'").await, 0);
    fleet.assert_alive();
    assert_audit_clean_with(&fleet.folder.data(), None, &settings).await;
    drop(psp);
    fleet.stop().await;
}

const CHARGES: &str = "SELECT count(*) FROM provider_ledger WHERE kind = 'charge' AND outcome = 'captured'";
