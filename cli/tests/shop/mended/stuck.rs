//! An order whose refund runs into a poison message: its saga is paused, resumed, gets stuck and is retried over REST; the
//! message is corrected, and what waited behind it is handled in order. What operators read on the way is as it was.

use std::collections::BTreeMap;

use bytes::Bytes;
use event_store::{Append, EventStore, Metadata, NewEvent, PgStore, StoreOptions, StreamId, UnitOfWork};
use orchestrator::saga::order_fulfilment::{Command, Direction, Event, OrderFulfilment, StepId, command_id};
use reqwest::Method;
use sagashop::ports::Role;
use serde_json::{Value, json};
use testkit::eventually;
use uuid::Uuid;

use super::golden::{Golden, redacted};
use super::{LIVE, PATIENCE, publish, publish_garbage, texts};
use crate::folder::Folder;
use crate::process::sagashop;
use crate::up::Up;
use crate::{database_roles, room_for_a_small_shop};

/// What is the last of a step that must succeed.
const LAST_ATTEMPT: u32 = 8;

/// A command that nobody can read: its reason is no text.
async fn publish_poison(folder: &Folder, order: &str) {
    let header = |name: &str, value: String| (name.to_owned(), Bytes::from(value));
    let headers = BTreeMap::from([
        header("ce_specversion", "1.0".to_owned()),
        header("ce_id", Uuid::now_v7().to_string()),
        header("ce_type", "refund_payment".to_owned()),
        header("ce_source", "test".to_owned()),
        header("ce_time", chrono::Utc::now().to_rfc3339()),
        header("content-type", "application/json".to_owned()),
        header("ce_correlationid", Uuid::now_v7().to_string()),
        header("ce_causationid", Uuid::now_v7().to_string()),
    ]);
    let value = json!({ "order_id": order, "reason": 5, "event_type": "refund_payment" });
    publish(folder, order, headers, &value.to_string(), 1).await;
}

/// The attempts until the last take minutes: they are taken as made, and the last as not answered in time.
async fn skip_the_wait(folder: &Folder, order: &str) {
    let pool = runtime::service::pool(folder.server().await.options(Role::Orchestrator.database()), "test", 1);
    let store = PgStore::new(pool, StoreOptions::default(), LIVE);
    let stream = StreamId::of::<OrderFulfilment>(order);
    let events = store.load(&[(stream.clone(), 0)]).await.expect("the saga").remove(0);
    let (at, id) = (chrono::Utc::now(), Uuid::now_v7());
    let (step, direction) = (StepId::ChargePayment, Direction::Undo);
    let again = Event::CommandIssued {
        at,
        command_id: command_id(order.parse().expect("an id"), step, direction),
        step,
        direction,
        attempt: LAST_ATTEMPT,
        due: at,
        command: Command::RefundPayment { reason: "again".to_owned() },
    };
    let event = NewEvent {
        event_type: again.event_type().to_owned(),
        event_version: again.event_version().to_owned(),
        payload: serde_json::to_string(&again).expect("JSON"),
        metadata: Metadata {
            event_id: id,
            correlation_id: id,
            causation_id: id,
            command_id: id,
            actor: "system".to_owned(),
            traceparent: None,
            recorded_at: at,
            prev_hash: None,
        },
    };
    let appends = vec![Append { stream, expected: events.len() as u64, events: vec![event] }];
    store.commit(UnitOfWork { appends, ..UnitOfWork::default() }).await.expect("recorded");
    folder.execute(Role::Orchestrator, "UPDATE timers SET due_at = clock_timestamp()").await;
}

impl Golden {
    /// Somebody who may look and no more looks, and tries to do something.
    async fn reader_acts(&mut self) {
        let folder = &self.shop.folder;
        for statement in ["CREATE ROLE reader LOGIN", "GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader"] {
            folder.execute(Role::Payment, statement).await;
        }
        publish_garbage(folder, "poison", 1).await;
        let letters = ["dead-letters", "list", "payment"];
        eventually(PATIENCE, async || self.listed(&letters).await.as_array().map(Vec::len) == Some(1)).await;
        let retry = ["dead-letters", "retry", "payment", "--all", "--reason", "x", "--yes"];
        let host = database_roles::host(&folder.server().await);
        let port = folder.server().await.options("postgres").get_port().to_string();
        for (arguments, code) in [(&letters[..], 0), (&retry[..], 6)] {
            let mut command = sagashop();
            command.args(arguments).arg("--data-dir").arg(folder.data());
            command.env("DB_HOST", &host).env("DB_PORT", &port).env("DB_USER", "reader");
            let output = tokio::task::spawn_blocking(move || command.output().expect("it starts")).await;
            let output = output.expect("no panic");
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(code), "{said}");
            if code != 0 {
                self.told +=
                    &format!("as a reader$ sagashop {}\n{}\n=> {code}\n", arguments.join(" "), redacted(&said));
            }
        }
        assert_eq!(self.listed(&["ops", "log"]).await, json!([]), "nothing was done");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stuck_saga_is_retried_and_the_poison_before_it_corrected() {
    let _room = room_for_a_small_shop().await;
    let shop = Up::start(&["--empty"]).await;
    let admin = shop.admin().await;
    let customer = shop.customer("customer").await;
    let product = shop.product(&admin, "Lamp", "19.90", 10).await;
    // The provider's answer comes late: the saga waits for the charge.
    let slow = json!({ "product_id": product, "quantity": 1, "payment_method": "tok_timeout" });
    let order = shop.place(&customer, &slow).await;
    let mut golden = Golden::of(shop);

    golden.is_in(&admin, &order, "charging").await;
    golden.takes(&["saga", "pause", &order, "--reason", "the provider moves", "--dry-run"]).await;
    golden.takes(&["saga", "pause", "--step", "charge_payment", "--reason", "the provider moves", "--yes"]).await;
    golden.is_in(&admin, &order, "paused").await;
    let kept = async || golden.listed(&["saga", "show", &order]).await["kept"].as_array().map(Vec::len);
    eventually(PATIENCE, async || kept().await == Some(1)).await;
    let cancel = format!("/orders/{order}/cancel");
    let answer = golden.shop.send(golden.shop.request(Method::POST, Role::Order, &cancel, &customer)).await;
    assert!(answer.status < 300, "{answer:?}");
    eventually(PATIENCE, async || kept().await == Some(2)).await;
    let paused = golden.listed(&["doctor", "orchestrator"]).await;
    let paused = paused["findings"].as_array().into_iter().flatten().find(|found| found["check"] == "paused sagas");
    assert!(paused.is_some_and(|found| found["verdict"] == "warn"), "{paused:?}");
    golden.takes(&["saga", "list", "--state", "paused"]).await;
    golden.takes(&["saga", "retry", &order, "--reason", "too early", "--yes"]).await;

    publish_poison(&golden.shop.folder, &order).await;
    let letters = ["dead-letters", "list", "payment", "--parked"];
    eventually(PATIENCE, async || golden.listed(&letters).await.as_array().map(Vec::len) == Some(1)).await;
    golden.takes(&["saga", "resume", "--state", "paused", "--reason", "it has moved", "--yes"]).await;
    golden.is_in(&admin, &order, "compensating").await;
    // The refund waits behind the poison; the stock is back.
    let waits = ["saga", "list", "--step", "release_stock"];
    eventually(PATIENCE, async || golden.listed(&waits).await == json!([])).await;
    eventually(PATIENCE, async || golden.listed(&letters).await.as_array().map(Vec::len) == Some(2)).await;

    skip_the_wait(&golden.shop.folder, &order).await;
    golden.is_in(&admin, &order, "stuck").await;
    golden.takes(&["saga", "list", "--state", "stuck", "--step", "refund_payment"]).await;
    golden.takes(&["saga", "list", "--error", "NO ANSWER", "--customer", &Uuid::nil().to_string()]).await;

    // An administrator has it asked for again, over REST.
    let retry = golden.shop.request(Method::POST, Role::Orchestrator, &format!("/sagas/{order}/retry"), &admin);
    let why = json!({ "reason": "the poison is being corrected" });
    let retried = golden.shop.send(retry.header("idempotency-key", "once").json(&why)).await;
    assert_eq!((retried.status, &retried.body["state"]), (200, &json!("compensating")), "{}", retried.body);
    golden.takes(&["ops", "log", "orchestrator"]).await;
    eventually(PATIENCE, async || golden.listed(&letters).await.as_array().map(Vec::len) == Some(4)).await;

    golden.takes(&["dead-letters", "list"]).await;
    let letter = texts(&golden.listed(&letters).await, "letter").remove(0);
    golden.takes(&["dead-letters", "show", "payment", &letter]).await;
    let correct = json!({ "order_id": order, "reason": "cancelled", "event_type": "refund_payment" }).to_string();
    let edit = ["dead-letters", "edit", "payment", &letter, "--value", &correct, "--reason", "the reason is a text"];
    golden.takes(&[&edit[..], &["--dry-run"]].concat()).await;
    golden.takes(&[&edit[..], &["--yes"]].concat()).await;
    golden.takes(&["dead-letters", "retry", "payment", &letter, "--reason", "corrected", "--yes"]).await;
    eventually(PATIENCE, async || golden.listed(&letters).await == json!([])).await;

    golden.is_in(&admin, &order, "cancelled").await;
    golden.shop.reaches(&customer, &order, "cancelled").await;
    golden.takes(&["saga", "show", &order]).await;
    golden.takes(&["ops", "log"]).await;
    let refunds = "events WHERE event_type = 'refund_requested'";
    assert_eq!(golden.shop.folder.count(Role::Payment, refunds).await, 1, "four commands, one refund");
    // All that an audit finds is that somebody else published the poison.
    let audit = golden.listed(&["audit"]).await;
    let violated: Vec<&Value> =
        audit["checks"].as_array().expect("checks").iter().filter(|c| c["violated"] != 0).collect();
    assert_eq!(violated.iter().map(|check| &check["name"]).collect::<Vec<_>>(), ["store = broker"], "{violated:?}");
    assert_eq!(violated[0]["violated"], 1, "{violated:?}");
    insta::assert_snapshot!("a_stuck_saga", golden.told);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operators_are_told_what_does_not_fit() {
    let _room = room_for_a_small_shop().await;
    let mut golden = Golden::of(Up::start(&["--empty"]).await);
    let nobody = Uuid::nil().to_string();
    for arguments in [
        &["saga", "list", "--state", "stuk"][..],
        &["saga", "list", "--step", "refund_paymnt"],
        &["saga", "show", &nobody],
        &["saga", "pause", &nobody, "--reason", "x", "--yes"],
        &["saga", "pause", "--reason", "x", "--yes"],
        &["saga", "resume", "--state", "paused", "--reason", "x", "--yes"],
        &["saga", "restart-from", "charge", &nobody, "--reason", "x", "--yes"],
        &["saga", "retry", "--state", "stuck", "--yes"],
        &["saga", "graph", "--definition", "7"],
        &["dead-letters", "list", "paymnt"],
        &["dead-letters", "show", "payment", "payment_commands"],
        &["dead-letters", "show", "payment", "payment_comands/0/1"],
        &["dead-letters", "retry", "payment", "--reason", "x"],
        &["dead-letters", "list", "--consumer", "paymnt"],
        &["dead-letters", "list"],
        &["offsets", "set", "payment", "paymnt", "payment_commands/0", "--to", "0", "--yes"],
        &["offsets", "set", "payment", "payment", "payment_comands/0", "--to", "0", "--yes"],
        &["relay", "rewind", "notification", "--events", "1", "--reason", "x", "--yes"],
        &["idempotency", "show", "nobodys-key"],
        &["ops", "log"],
    ] {
        golden.takes(arguments).await;
    }
    // The store is away, or refuses.
    let away = "postgres://nobody@127.0.0.1:1/none";
    for command in
        [["ops", "log"], ["saga", "list"], ["dead-letters", "list"], ["relay", "status"], ["offsets", "list"]]
    {
        let output = super::said(golden.shop.folder.data(), &[&command[..], &["--database-url", away]].concat()).await;
        assert_eq!(output.status.code(), Some(6), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    golden.reader_acts().await;
    insta::assert_snapshot!("what_does_not_fit", golden.told);
}
