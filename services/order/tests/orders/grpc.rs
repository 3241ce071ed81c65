use kernel::UserId;
use proto::order::order_service_client::OrderServiceClient;
use proto::order::{CreateOrderRequest, GetOrderRequest};
use reqwest::StatusCode;
use tonic::Code;
use uuid::Uuid;
use web::RequestContext;
use web::auth::{TokenSigner, TokenVerifier};

use crate::catalogue::LAPTOP;
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
