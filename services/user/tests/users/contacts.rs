use proto::user::GetContactRequest;
use proto::user::user_service_client::UserServiceClient;
use testkit::postgres::database;
use tonic::{Code, Request};
use user_service::Config;
use uuid::Uuid;

use crate::fixture::Shop;

const INTERNAL_TOKEN: &str = "an internal token of more than 32 bytes";

fn request(user_id: &str, authorization: Option<&str>) -> Request<GetContactRequest> {
    let mut request = Request::new(GetContactRequest { user_id: user_id.to_owned() });
    if let Some(value) = authorization {
        request.metadata_mut().insert("authorization", value.parse().unwrap());
    }
    request
}

#[tokio::test]
async fn a_contact_is_told_to_the_shops_own_services_alone() {
    let config = Config { internal_token: Some(INTERNAL_TOKEN.to_owned()), ..Config::default() };
    let shop = Shop::open_with(config, database().await).await;
    let id = shop.register("John Doe", "John@example.com").await;
    let customer = shop.login("john@example.com", crate::fixture::PASSWORD).await;
    let mut client = UserServiceClient::new(web::grpc::channel(&shop.grpc).unwrap());

    let good = format!("Bearer {INTERNAL_TOKEN}");
    let contact = client.get_contact(request(&id, Some(&good))).await.unwrap().into_inner();
    assert_eq!((contact.name.as_str(), contact.email.as_str()), ("John Doe", "john@example.com"));
    for (user_id, code) in [(Uuid::now_v7().to_string(), Code::NotFound), ("7".to_owned(), Code::InvalidArgument)] {
        assert_eq!(client.get_contact(request(&user_id, Some(&good))).await.unwrap_err().code(), code);
    }

    let (almost, theirs) = (format!("Bearer {}!", &INTERNAL_TOKEN[1..]), format!("Bearer {customer}"));
    for bad in [None, Some(""), Some("Bearer "), Some(INTERNAL_TOKEN), Some(&almost), Some(&theirs)] {
        let refused = client.get_contact(request(&id, bad)).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated, "{bad:?}");
        assert!(!refused.message().contains("example.com"));
    }
    shop.close().await;
}

#[tokio::test]
async fn without_an_internal_token_nobody_learns_a_contact() {
    let shop = Shop::open().await;
    let id = shop.register("John Doe", "john@example.com").await;
    let mut client = UserServiceClient::new(web::grpc::channel(&shop.grpc).unwrap());
    for shown in [None, Some("Bearer "), Some("Bearer None")] {
        assert_eq!(client.get_contact(request(&id, shown)).await.unwrap_err().code(), Code::Unauthenticated);
    }
    shop.close().await;
}
