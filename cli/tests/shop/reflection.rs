//! What `grpcurl` sees: services, methods and messages with no `.proto` file at hand, and the health of each.

use sagashop::ports::Role;
use serde_json::json;
use tonic::Code;

use crate::room_for_a_small_shop;
use crate::rpc::{Rpc, methods, own_files};
use crate::up::Up;

const SERVICES: [(Role, &str); 3] =
    [(Role::User, "user.UserService"), (Role::Product, "product.ProductService"), (Role::Order, "order.OrderService")];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_grpc_server_shows_what_it_can_and_how_it_is() {
    let _room = room_for_a_small_shop().await;
    let shop = Up::start(&["--empty"]).await;
    let offset = shop.folder.offset;
    for (role, own) in SERVICES {
        let (rpc, services) = Rpc::reflected(role, offset).await;
        let named = |service: &str| services.iter().any(|named| named == service);
        assert!(named(own) && named("grpc.health.v1.Health"), "{}: {services:?}", role.name());
        for service in ["", own] {
            let health = rpc.call("grpc.health.v1.Health/Check", &json!({ "service": service }), "").await;
            assert_eq!(health.expect("an answer")["status"], "SERVING", "{service:?}");
        }
        let unknown = rpc.call("grpc.health.v1.Health/Check", &json!({ "service": "no.Such" }), "").await;
        assert_eq!(unknown.expect_err("unknown").code(), Code::NotFound);
    }
    // Whatever is described is served by somebody.
    let unserved = methods(&own_files()).into_iter().filter(|method| {
        let service = method.split('/').next().unwrap_or_default();
        SERVICES.iter().all(|(_, own)| service != *own)
    });
    assert_eq!(unserved.collect::<Vec<_>>(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_is_placed_and_read_by_what_reflection_tells() {
    let _room = room_for_a_small_shop().await;
    let shop = Up::start(&["--empty"]).await;
    let (admin, customer) = (shop.admin().await, shop.customer("customer").await);
    let product = shop.product(&admin, "Lamp", "19.90", 10).await;
    let (rpc, _) = Rpc::reflected(Role::Order, shop.folder.offset).await;

    let order = json!({ "productId": product, "quantity": "2" });
    let created = rpc.call("order.OrderService/CreateOrder", &order, &customer).await.expect("placed");
    assert_eq!(created["success"], true, "{created}");
    let id = created["orderId"].as_str().expect("an id");
    assert_eq!(shop.ended(&customer, id).await["status"], "confirmed");
    let read = rpc.call("order.OrderService/GetOrder", &json!({ "orderId": id }), &customer).await.expect("read");
    assert_eq!((&read["status"], &read["totalPrice"]), (&json!("confirmed"), &json!("39.80")), "{read}");

    let refused = rpc.call("order.OrderService/GetOrder", &json!({ "orderId": "7" }), &customer).await;
    assert_eq!(refused.expect_err("no id").code(), Code::InvalidArgument);
    let nobody = rpc.call("order.OrderService/GetOrder", &json!({ "orderId": id }), "").await;
    assert_eq!(nobody.expect_err("no token").code(), Code::Unauthenticated);
}
