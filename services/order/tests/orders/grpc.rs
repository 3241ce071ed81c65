use kernel::UserId;
use proto::order::order_service_client::OrderServiceClient;
use proto::order::{
    CancelOrderRequest, CreateOrderLine, CreateOrderRequest, GetOrderRequest, ListOrdersRequest, WatchOrderRequest,
};
use reqwest::StatusCode;
use tonic::Code;
use tonic::transport::Channel;
use uuid::Uuid;
use web::RequestContext;
use web::auth::{Role, TokenSigner, TokenVerifier};

use crate::catalogue::{HOME, LAPTOP, MOUSE, RIDDLE};
use crate::fixture::{Shop, User};

async fn request<T>(message: T, user: &User) -> tonic::Request<T> {
    let signer = TokenSigner::from_seed(&[7; 32], "test").unwrap();
    let caller = TokenVerifier::of_signer(&signer).verify(&user.token).await.unwrap();
    assert_eq!(caller.user_id, UserId(user.id));
    web::grpc::request(message, &RequestContext::fresh(), Some(&caller))
}

fn wanted(product: &str, quantity: i64) -> CreateOrderRequest {
    CreateOrderRequest { product_id: product.to_owned(), quantity, ..CreateOrderRequest::default() }
}

fn client(shop: &Shop) -> OrderServiceClient<Channel> {
    OrderServiceClient::new(web::grpc::channel(&shop.grpc).unwrap())
}

async fn keyed<T>(message: T, user: &User, key: &'static str) -> tonic::Request<T> {
    let mut request = request(message, user).await;
    request.metadata_mut().insert("idempotency-key", key.parse().unwrap());
    request
}

#[tokio::test]
async fn a_call_with_a_key_takes_effect_once() {
    let shop = Shop::open().await;
    let (user, mut client) = (shop.customer(), client(&shop));
    let wanted = |quantity| wanted(&LAPTOP.to_string(), quantity);
    let first = client.create_order(keyed(wanted(1), &user, "k").await).await.unwrap();
    assert!(first.metadata().get("idempotency-replayed").is_none());
    let again = client.create_order(keyed(wanted(1), &user, "k").await).await.unwrap();
    assert_eq!(again.metadata().get("idempotency-replayed").unwrap(), "true");
    let (first, again) = (first.into_inner(), again.into_inner());
    assert_eq!(first, again);
    assert_eq!(first.order.unwrap().total_price, "999.99");
    let reused = client.create_order(keyed(wanted(2), &user, "k").await).await.unwrap_err();
    assert_eq!(reused.code(), Code::InvalidArgument, "{reused}");
    let bad = client.create_order(keyed(wanted(1), &user, "two words").await).await.unwrap_err();
    assert_eq!(bad.code(), Code::InvalidArgument, "{bad}");
    assert_eq!(shop.events().await, 1);
}

#[tokio::test]
async fn an_order_is_cancelled_watched_and_listed_over_grpc() {
    let shop = Shop::open().await;
    let (user, other, admin) = (shop.customer(), shop.customer(), shop.user(Role::Admin));
    let mut client = client(&shop);
    let line = |product: Uuid, quantity| CreateOrderLine { product_id: product.to_string(), quantity };
    let (lines, address) = (vec![line(LAPTOP, 1), line(MOUSE, 2)], HOME.to_string());
    let wanted = CreateOrderRequest { lines, address_id: address.clone(), ..CreateOrderRequest::default() };
    let created = client.create_order(request(wanted.clone(), &user).await).await.unwrap().into_inner();
    let order = created.order.unwrap();
    assert_eq!((order.total_price.as_str(), order.lines.len(), &order.address_id), ("1050.99", 2, &address));
    let both = CreateOrderRequest { product_id: LAPTOP.to_string(), ..wanted };
    assert_eq!(client.create_order(request(both, &user).await).await.unwrap_err().code(), Code::InvalidArgument);

    let watch = WatchOrderRequest { order_id: order.id.clone(), after_sequence: 0 };
    let denied = client.watch_order(request(watch.clone(), &other).await).await.unwrap_err();
    assert_eq!(denied.code(), Code::NotFound);
    let mut watching = client.watch_order(request(watch, &user).await).await.unwrap().into_inner();
    assert_eq!(watching.message().await.unwrap().unwrap().event, "order_placed");

    let cancel = CancelOrderRequest { order_id: order.id.clone(), reason: "changed my mind".to_owned() };
    let denied = client.cancel_order(request(cancel.clone(), &other).await).await.unwrap_err();
    assert_eq!(denied.code(), Code::NotFound);
    let cancelled = client.cancel_order(request(cancel.clone(), &user).await).await.unwrap().into_inner();
    assert!(cancelled.cancel_requested && cancelled.status == "pending");
    let long = CancelOrderRequest { reason: "x".repeat(201), ..cancel };
    assert_eq!(client.cancel_order(request(long, &user).await).await.unwrap_err().code(), Code::InvalidArgument);
    shop.cancel(order.id.parse().unwrap(), "changed my mind").await;
    let mut seen = Vec::new();
    while let Some(event) = watching.message().await.unwrap() {
        seen.push((event.sequence, event.event, event.status));
    }
    let told = |sequence, event: &str, status: &str| (sequence, event.to_owned(), status.to_owned());
    assert_eq!(seen, [told(2, "cancellation_requested", "pending"), told(3, "order_cancelled", "cancelled")]);

    let list = |all, customer: Option<&User>, status: &str| ListOrdersRequest {
        all,
        customer_id: customer.map(|user| user.id.to_string()).unwrap_or_default(),
        status: status.to_owned(),
        ..ListOrdersRequest::default()
    };
    for (caller, asked, found) in [
        (&user, list(false, None, "cancelled"), 1),
        (&user, list(false, None, "pending"), 0),
        (&other, list(false, None, ""), 0),
        (&admin, list(true, None, ""), 1),
        (&admin, list(false, Some(&user), ""), 1),
        (&admin, list(false, Some(&other), ""), 0),
    ] {
        let page = client.list_orders(request(asked.clone(), caller).await).await.unwrap().into_inner();
        assert_eq!((page.orders.len(), page.next.as_str()), (found, ""), "{asked:?}");
    }
    for asked in [list(true, None, ""), list(false, Some(&user), "")] {
        let denied = client.list_orders(request(asked, &other).await).await.unwrap_err();
        assert_eq!(denied.code(), Code::PermissionDenied);
    }
    for bad in [
        list(false, None, "paid"),
        ListOrdersRequest { limit: 201, ..list(false, None, "") },
        ListOrdersRequest { created_after: "yesterday".to_owned(), ..list(false, None, "") },
        ListOrdersRequest { after: "7".to_owned(), ..list(false, None, "") },
    ] {
        let refused = client.list_orders(request(bad.clone(), &user).await).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{bad:?}");
    }
}

#[tokio::test]
async fn a_callers_deadline_is_kept() {
    let shop = Shop::open().await;
    let mut request = request(wanted(&RIDDLE.to_string(), 1), &shop.customer()).await;
    request.set_timeout(std::time::Duration::from_millis(300));
    let asked_at = std::time::Instant::now();
    let refused = client(&shop).create_order(request).await.unwrap_err();
    // Whoever notices first: the server that it cannot answer in time, or the client.
    let codes = [Code::Unavailable, Code::DeadlineExceeded, Code::Cancelled];
    assert!(codes.contains(&refused.code()), "{refused}");
    assert!(asked_at.elapsed().as_millis() < 900, "{:?}", asked_at.elapsed());
}

#[tokio::test]
async fn orders_are_placed_and_read_over_grpc() {
    let shop = Shop::open().await;
    let (user, other) = (shop.customer(), shop.customer());
    let mut client = OrderServiceClient::new(web::grpc::channel(&shop.grpc).unwrap());
    let laptop = LAPTOP.to_string();
    let mine = CreateOrderRequest { user_id: user.id.to_string(), ..wanted(&laptop, 2) };
    let created = client.create_order(request(mine, &user).await).await.unwrap().into_inner();
    assert!(created.success, "{}", created.message);

    let get = GetOrderRequest { order_id: created.order_id.clone() };
    let order = client.get_order(request(get.clone(), &user).await).await.unwrap().into_inner();
    assert_eq!((order.id.as_str(), order.user_id), (created.order_id.as_str(), user.id.to_string()));
    assert_eq!((order.product_id.as_str(), order.quantity, order.status.as_str()), (laptop.as_str(), 2, "pending"));
    assert_eq!((order.total_price.as_str(), order.currency.as_str(), order.lines.len()), ("1999.98", "EUR", 1));
    let over_rest = shop.get(&user, &format!("/orders/{}", created.order_id)).await;
    assert_eq!((over_rest.status, over_rest.body["total_price"].to_string()), (StatusCode::OK, "1999.98".to_owned()));
    let denied = client.get_order(request(get, &other).await).await.unwrap_err();
    assert_eq!(denied.code(), Code::NotFound);

    let refused = client.create_order(request(wanted(&laptop, 51), &user).await).await.unwrap().into_inner();
    assert_eq!((refused.success, refused.message.as_str()), (false, "Product not available"));
    for bad in [
        wanted(&laptop, -3),
        wanted(&laptop, 0),
        wanted("1", 1),
        CreateOrderRequest { user_id: other.id.to_string(), ..wanted(&laptop, 1) },
        CreateOrderRequest { user_id: "me".to_owned(), ..wanted(&laptop, 1) },
        CreateOrderRequest { payment_method: "cash".to_owned(), ..wanted(&laptop, 1) },
    ] {
        let refused = client.create_order(request(bad.clone(), &user).await).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{bad:?}: {refused}");
    }
    let anonymous = client.create_order(wanted(&laptop, 1)).await.unwrap_err();
    assert_eq!(anonymous.code(), Code::Unauthenticated);
    let unknown = GetOrderRequest { order_id: Uuid::now_v7().to_string() };
    assert_eq!(client.get_order(request(unknown, &user).await).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(shop.events().await, 1);
}
