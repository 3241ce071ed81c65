//! One order is one trace, read back from a real Jaeger: over HTTP, gRPC, the event tables, the broker, durable timers,
//! and kills in between.

mod tree;

use std::time::Duration;

use rustix::process::Signal;
use sagashop::ports::Role;
use serde_json::{Value, json};
use testkit::{Jaeger, eventually};

use crate::fleet::Fleet;
use crate::folder::Folder;
use crate::http::Http;
use crate::kafka::Kafka;
use crate::process::sagashop;
use crate::up::Up;
use crate::{PATIENCE, room_for_a_large_shop, room_for_a_small_shop};
use tree::Trace;

const TRACE_URL: &str = "http://traces.example/trace/{trace_id}";

const CONFIRMED: &str = include_str!("traces/confirmed.txt");
const COMPENSATED: &str = include_str!("traces/compensated.txt");

/// The trace of an order as Jaeger tells it, once it has so many notifications and nothing is missing from it.
async fn told(jaeger: &Jaeger, trace_id: &str, notifications: usize) -> Trace {
    let last = std::cell::RefCell::new(None);
    let complete = eventually(PATIENCE, async || {
        let trace = Trace::fetch(jaeger, trace_id).await?;
        let complete = trace.named("send log").count() == notifications && trace.faults().is_empty();
        let again = last.replace(Some(trace.clone()));
        // Spans still come while two looks differ.
        (complete && again.is_some_and(|again| again.len() == trace.len())).then_some(trace)
    });
    match tokio::time::timeout(PATIENCE / 2, complete).await {
        Ok(trace) => trace,
        Err(_) => panic!("{:#?}", last.into_inner().map(|trace| (trace.faults(), trace.to_string()))),
    }
}

/// Places an order: its id, and its trace's.
async fn place(shop: &Http, token: &str, order: &Value) -> (String, String) {
    let answer = shop.post(Role::Order, "/orders", token, order).await;
    let trace_id = answer.header("trace-id").to_owned();
    assert_eq!(trace_id.len(), 32, "{answer:?}");
    (answer.expect(201)["id"].as_str().expect("an id").to_owned(), trace_id)
}

fn collector(jaeger: &Jaeger) -> [(&str, &str); 2] {
    [("OTEL_EXPORTER_OTLP_ENDPOINT", &jaeger.otlp_grpc), ("TRACE_URL", TRACE_URL)]
}

/// Both kinds of order, each one trace, whatever broker carries their messages.
async fn orders_are_traces(jaeger: &Jaeger, kafka: Option<String>) {
    let mut fleet = Fleet::start_with(kafka, &collector(jaeger)).await;
    let admin = fleet.admin().await;
    let customer = fleet.customer("customer").await;
    let lamp = fleet.product(&admin, "Lamp", "19.90", 10).await;

    let (confirmed, trace_id) = place(&fleet, &customer, &json!({ "product_id": lamp, "quantity": 1 })).await;
    assert_eq!(fleet.ended(&customer, &confirmed).await["status"], "confirmed");
    let trace = told(jaeger, &trace_id, 3).await;
    trace.assert_is(CONFIRMED);
    trace.assert_says_of(&confirmed);
    trace.assert_links(jaeger).await;

    let declined = json!({ "product_id": lamp, "quantity": 1, "payment_method": "tok_declined" });
    let (cancelled, trace_id) = place(&fleet, &customer, &declined).await;
    assert_eq!(fleet.ended(&customer, &cancelled).await["status"], "cancelled");
    let trace = told(jaeger, &trace_id, 3).await;
    trace.assert_is(COMPENSATED);
    trace.assert_says_of(&cancelled);
    trace.assert_links(jaeger).await;

    relay_restarted_in_between(jaeger, &mut fleet, &customer, &lamp).await;
    fleet.assert_clean().await;
    fleet.stop().await;
}

/// The order service is killed between an order and the publishing of it: the trace is the same.
async fn relay_restarted_in_between(jaeger: &Jaeger, fleet: &mut Fleet, customer: &str, product: &str) {
    fleet.kill(Role::Order);
    // Somebody else relays, as far as it can tell.
    let elsewhere = "UPDATE consumer_offsets SET owner = gen_random_uuid(), epoch = epoch + 1,
                            lease_until = clock_timestamp() + interval '1 hour' WHERE consumer = 'relay'";
    assert_eq!(fleet.folder.execute(Role::Order, elsewhere).await, 1);
    fleet.begin(Role::Order, &[]);
    fleet.ready(Role::Order).await;
    let (order, trace_id) = place(fleet, customer, &json!({ "product_id": product, "quantity": 1 })).await;
    // What a process has not told when it is killed, nobody tells.
    eventually(PATIENCE, async || {
        let trace = Trace::fetch(jaeger, &trace_id).await?;
        (trace.named("POST /orders").count() == 1).then_some(())
    })
    .await;
    fleet.kill(Role::Order);
    let given_up = "UPDATE consumer_offsets SET owner = NULL, lease_until = NULL WHERE consumer = 'relay'";
    assert_eq!(fleet.folder.execute(Role::Order, given_up).await, 1);
    fleet.begin(Role::Order, &[]);
    fleet.ready(Role::Order).await;
    assert_eq!(fleet.ended(customer, &order).await["status"], "confirmed");
    told(jaeger, &trace_id, 3).await.assert_is(CONFIRMED);
}

#[test]
fn the_documents_show_these_trees() {
    let page = include_str!("../../../docs/tracing.md");
    for (name, tree) in [("confirmed", CONFIRMED), ("compensated", COMPENSATED)] {
        let shown = format!("<!-- {name}: begin -->\n```\n{}\n```\n<!-- {name}: end -->", tree.trim());
        assert!(page.contains(&shown), "docs/tracing.md does not show the tree of {name}.txt");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_is_one_trace_on_the_topic_log() {
    let _room = room_for_a_large_shop().await;
    let Some(jaeger) = testkit::jaeger() else { return };
    orders_are_traces(&jaeger, None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_is_one_trace_on_kafka() {
    let _room = room_for_a_large_shop().await;
    let (Some(jaeger), Some(kafka)) = (testkit::jaeger(), Kafka::start()) else { return };
    orders_are_traces(&jaeger, Some(kafka.address())).await;
}

/// All roles in one process, over HTTP, and a step that is not answered in time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_timeout_belongs_to_its_order_and_each_role_shows_by_itself() {
    let _room = room_for_a_small_shop().await;
    let Some(jaeger) = testkit::jaeger() else { return };
    let environment = [
        ("JAEGER_ENDPOINT", jaeger.otlp_http.as_str()),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
        ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test"),
        ("TRACE_URL", TRACE_URL),
    ];
    let mut shop = Up::start_with(Folder::new().into(), &["--empty"], &environment).await;
    let admin = shop.admin().await;
    let customer = shop.customer("customer").await;
    let lamp = shop.product(&admin, "Lamp", "19.90", 10).await;
    // Nobody reserves stock for now: those who could hold no partition of the commands.
    let held = "UPDATE consumer_offsets SET owner = gen_random_uuid(), epoch = epoch + 1,
                       lease_until = clock_timestamp() + interval '13 seconds' WHERE consumer = 'product'";
    assert!(shop.folder.execute(Role::Product, held).await > 0);
    let (order, trace_id) = place(&shop, &customer, &json!({ "product_id": lamp, "quantity": 1 })).await;
    let ended = shop.ended(&customer, &order).await;
    assert_eq!(ended["status"], "cancelled", "{ended}");
    let trace = told(&jaeger, &trace_id, 2).await;
    let timeout = trace.named("timeout order_fulfilment").next().expect("a timeout");
    assert!(trace.below(timeout, "saga release_stock"), "{trace}");
    let services = ["order", "product", "orchestrator", "notification"].map(|role| format!("sagashop-{role}"));
    assert_eq!(trace.services(), services.into(), "{trace}");
    assert!(trace.every_process_has("deployment.environment.name", "test"));

    let unknown = shop.get(Role::Order, "/orders/00000000-0000-7000-8000-000000000000", &customer).await;
    let trace_of_problem = unknown.header("trace-id").to_owned();
    let problem = unknown.expect(404);
    assert_eq!(problem["trace_id"], trace_of_problem.as_str());
    assert_eq!(problem["trace_url"], TRACE_URL.replace("{trace_id}", &trace_of_problem));

    let data = shop.folder.data();
    let mut command = sagashop();
    command.args(["saga", "show", &order, "--trace-url", TRACE_URL, "--data-dir"]).arg(&data);
    let shown = tokio::task::spawn_blocking(move || command.output().expect("it runs")).await.expect("no panic");
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains(&TRACE_URL.replace("{trace_id}", &trace_id)), "{shown}");

    // What is queued is told at the end.
    shop.customer("last").await;
    shop.process.signal(Signal::TERM);
    shop.process.ended(Duration::from_secs(10)).await;
}

/// A trace that the head has said no to is recorded from where something is undone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_undone_is_recorded_though_its_order_is_not() {
    let _room = room_for_a_small_shop().await;
    let Some(jaeger) = testkit::jaeger() else { return };
    let environment = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", jaeger.otlp_grpc.as_str()),
        ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
        ("OTEL_TRACES_SAMPLER_ARG", "0"),
        ("OTEL_SERVICE_NAME", "quiet"),
    ];
    let shop = Up::start_with(Folder::new().into(), &["--empty"], &environment).await;
    let admin = shop.admin().await;
    let customer = shop.customer("customer").await;
    let lamp = shop.product(&admin, "Lamp", "19.90", 10).await;
    let (confirmed, unrecorded) = place(&shop, &customer, &json!({ "product_id": lamp, "quantity": 1 })).await;
    assert_eq!(shop.ended(&customer, &confirmed).await["status"], "confirmed");
    let declined = json!({ "product_id": lamp, "quantity": 1, "payment_method": "tok_declined" });
    let (cancelled, recorded) = place(&shop, &customer, &declined).await;
    assert_eq!(shop.ended(&customer, &cancelled).await["status"], "cancelled");
    let trace = told(&jaeger, &recorded, 1).await;
    trace.assert_begins_with("saga release_stock", "sagashop.kept", "compensation");
    assert!(trace.services().contains("quiet-product"), "{trace}");
    assert!(Trace::fetch(&jaeger, &unrecorded).await.is_none());
}
