use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use proto::product::product_service_client::ProductServiceClient;
use proto::product::{CheckAvailabilityRequest, GetProductRequest, ListProductsRequest, QuoteLine, QuoteRequest};
use tonic::transport::Channel;
use tonic::{Code, Response};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use uuid::Uuid;

use crate::shop::Shop;

async fn channel(shop: &Shop) -> Channel {
    web::grpc::channel(&shop.grpc).unwrap()
}

#[tokio::test]
async fn products_are_found_and_their_stock_is_told() {
    let shop = Shop::open().await;
    let id = shop.product("Laptop", "999.90", 5).await.to_string();
    let mut client = ProductServiceClient::new(channel(&shop).await);
    let product = client.get_product(GetProductRequest { product_id: id.clone() }).await.unwrap().into_inner();
    assert_eq!((product.id.as_str(), product.name.as_str(), product.price.as_str()), (id.as_str(), "Laptop", "999.90"));
    assert_eq!((product.stock, product.currency.as_str()), (5, "EUR"));

    for (quantity, available) in [(1, true), (5, true), (6, false)] {
        let asked = CheckAvailabilityRequest { product_id: id.clone(), quantity };
        let answer = client.check_availability(asked).await.unwrap().into_inner();
        assert_eq!((answer.available, answer.stock), (available, 5));
    }

    let unknown = Uuid::now_v7().to_string();
    for (product_id, code) in [(unknown.clone(), Code::NotFound), ("7".to_owned(), Code::InvalidArgument)] {
        let got = client.get_product(GetProductRequest { product_id: product_id.clone() }).await;
        assert_eq!(got.unwrap_err().code(), code);
        let checked = client.check_availability(CheckAvailabilityRequest { product_id, quantity: 1 }).await;
        assert_eq!(checked.unwrap_err().code(), code);
    }
    for quantity in [0, -3, i64::MIN, 1_000_001] {
        let asked = CheckAvailabilityRequest { product_id: id.clone(), quantity };
        assert_eq!(client.check_availability(asked).await.unwrap_err().code(), Code::InvalidArgument);
    }
    shop.close().await;
}

#[tokio::test]
async fn all_lines_of_an_order_are_quoted_at_once() {
    let shop = Shop::open().await;
    let laptop = shop.product("Laptop", "999.99", 5).await.to_string();
    let mouse = shop.product("Mouse", "29.99", 1).await.to_string();
    let unknown = Uuid::now_v7().to_string();
    let mut client = ProductServiceClient::new(channel(&shop).await);
    let lines = |lines: &[(&str, i64)]| QuoteRequest {
        lines: lines
            .iter()
            .map(|(id, quantity)| QuoteLine { product_id: (*id).to_owned(), quantity: *quantity })
            .collect(),
    };

    let asked = lines(&[(&mouse, 1), (&laptop, 3), (&unknown, 1), (&laptop, 3)]);
    let quoted = client.quote(asked).await.unwrap().into_inner().lines;
    let quoted: Vec<_> = quoted
        .iter()
        .map(|line| (line.product_id.as_str(), line.unit_price.as_deref(), line.available, line.stock))
        .collect();
    // The laptop's two lines together want more than there are.
    let expected = [
        (mouse.as_str(), Some("29.99"), true, 1),
        (&laptop, Some("999.99"), false, 5),
        (&unknown, None, false, 0),
        (&laptop, Some("999.99"), false, 5),
    ];
    assert_eq!(quoted, expected);
    assert!(client.quote(QuoteRequest::default()).await.unwrap().into_inner().lines.is_empty());
    for wrong in [lines(&[("x", 1)]), lines(&[(&laptop, 0)]), lines(&vec![(laptop.as_str(), 1); 1_001])] {
        assert_eq!(client.quote(wrong).await.unwrap_err().code(), Code::InvalidArgument);
    }
    shop.close().await;
}

#[tokio::test]
async fn the_catalogue_is_listed_as_over_rest() {
    let shop = Shop::open().await;
    for (name, price) in [("Läptop", "999.99"), ("Lamp", "29.99"), ("Rug", "5.00")] {
        shop.product(name, price, 1).await;
    }
    let mut client = ProductServiceClient::new(channel(&shop).await);
    let mut list = async |request: ListProductsRequest| client.list_products(request).await.map(Response::into_inner);
    let search = |search: &str| ListProductsRequest { search: Some(search.to_owned()), ..Default::default() };
    let listed = list(search("la")).await.unwrap();
    let names: Vec<&str> = listed.products.iter().map(|product| product.name.as_str()).collect();
    assert_eq!((names, listed.next_page_token.as_str()), (vec!["Läptop", "Lamp"], ""));
    assert_eq!((listed.products[0].version.as_str(), listed.products[0].category.as_deref()), ("1.1", None));

    let (mut names, mut page_token) = (Vec::new(), String::new());
    loop {
        let page = ListProductsRequest { page_size: Some(2), page_token, ..Default::default() };
        let page = list(page).await.unwrap();
        names.extend(page.products.into_iter().map(|product| product.name));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(names, ["Läptop", "Lamp", "Rug"]);
    let priced = ListProductsRequest {
        min_price: Some("5".to_owned()),
        max_price: Some("29.99".to_owned()),
        in_stock: Some(true),
        ..Default::default()
    };
    assert_eq!(list(priced).await.unwrap().products.len(), 2);
    for wrong in [
        ListProductsRequest { page_size: Some(0), ..Default::default() },
        ListProductsRequest { page_token: "x".to_owned(), ..Default::default() },
        ListProductsRequest { page_token: Uuid::now_v7().to_string(), ..Default::default() },
        ListProductsRequest { max_price: Some("0.001".to_owned()), ..Default::default() },
        search("\0"),
    ] {
        assert_eq!(list(wrong.clone()).await.unwrap_err().code(), Code::InvalidArgument, "{wrong:?}");
    }
    shop.close().await;
}

/// The caller's deadline ends a call that the database holds up.
#[tokio::test]
async fn a_call_ends_at_its_deadline() {
    let shop = Shop::open().await;
    let id = shop.product("Laptop", "999.90", 5).await.to_string();
    let mut held = shop.database.pool.begin().await.unwrap();
    sqlx::query("LOCK TABLE products IN ACCESS EXCLUSIVE MODE").execute(&mut *held).await.unwrap();
    let mut client = ProductServiceClient::new(channel(&shop).await);
    let mut request = tonic::Request::new(CheckAvailabilityRequest { product_id: id, quantity: 1 });
    request.set_timeout(Duration::from_millis(200));
    let started = Instant::now();
    let code = client.check_availability(request).await.unwrap_err().code();
    assert!([Code::DeadlineExceeded, Code::Cancelled].contains(&code), "{code:?}");
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    held.rollback().await.unwrap();
    shop.close().await;
}

#[tokio::test]
async fn health_and_reflection_answer() {
    let shop = Shop::open().await;
    let channel = channel(&shop).await;
    let service = "product.ProductService".to_owned();
    let health =
        HealthClient::new(channel.clone()).check(HealthCheckRequest { service: service.clone() }).await.unwrap();
    assert_eq!(health.into_inner().status, 1);

    let list = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let answers = ServerReflectionClient::new(channel).server_reflection_info(stream::iter([list])).await.unwrap();
    let answer = answers.into_inner().next().await.unwrap().unwrap();
    let Some(MessageResponse::ListServicesResponse(listed)) = answer.message_response else { panic!("no list") };
    assert!(listed.service.iter().any(|listed| listed.name == service));
    shop.close().await;
}
