use proto::user::user_service_client::UserServiceClient;
use proto::user::{GetAddressRequest, GetContactRequest};
use serde_json::json;
use testkit::postgres::database;
use tonic::transport::Channel;
use tonic::{Code, Request};
use user_service::Config;
use uuid::Uuid;
use web::auth::ServiceTokens;

use crate::fixture::{PASSWORD, Shop, config};

const SECRET: &str = "a secret of more than 32 characters";

async fn shop() -> (Shop, UserServiceClient<Channel>) {
    let shop = Shop::open_with(Config { internal_token: Some(SECRET.to_owned()), ..config() }, database().await).await;
    let client = UserServiceClient::new(web::grpc::channel(&shop.grpc).unwrap());
    (shop, client)
}

fn with<T>(message: T, authorization: Option<&str>) -> Request<T> {
    let mut request = Request::new(message);
    if let Some(value) = authorization {
        request.metadata_mut().insert("authorization", value.parse().unwrap());
    }
    request
}

fn by_notification<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    ServiceTokens::from_secret(SECRET, "notification").unwrap().authorize(&mut request).unwrap();
    request
}

fn contact(user_id: &str) -> GetContactRequest {
    GetContactRequest { user_id: user_id.to_owned() }
}

#[tokio::test]
async fn a_contact_is_told_to_the_shops_own_services_alone() {
    let (shop, mut client) = shop().await;
    let id = shop.register("John Doe", "John@example.com").await;
    let customer = shop.login("john@example.com", PASSWORD).await;

    let told = client.get_contact(by_notification(contact(&id))).await.unwrap().into_inner();
    assert_eq!((told.name.as_str(), told.email.as_str(), told.locale.as_str()), ("John Doe", "john@example.com", ""));
    for (user_id, code) in [(Uuid::now_v7().to_string(), Code::NotFound), ("7".to_owned(), Code::InvalidArgument)] {
        assert_eq!(client.get_contact(by_notification(contact(&user_id))).await.unwrap_err().code(), code);
    }

    let other = ServiceTokens::from_secret(&SECRET.to_uppercase(), "notification").unwrap();
    let other = other.authorization().unwrap().to_str().unwrap().to_owned();
    let (theirs, bare) = (format!("Bearer {customer}"), format!("Bearer {SECRET}"));
    for bad in [None, Some(""), Some("Bearer "), Some(SECRET), Some(&bare), Some(&theirs), Some(&other)] {
        let refused = client.get_contact(with(contact(&id), bad)).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated, "{bad:?}");
        assert!(!refused.message().contains("example.com"));
    }

    // A service's token is no user's.
    let services = ServiceTokens::from_secret(SECRET, "order").unwrap().authorization().unwrap();
    let token = services.to_str().unwrap().trim_start_matches("Bearer ").to_owned();
    for path in ["/profile", "/users"] {
        assert_eq!(shop.get(path, Some(&token)).await.status, 401, "{path}");
    }
    shop.close().await;
}

#[tokio::test]
async fn an_address_is_told_of_its_own_user_alone() {
    let (shop, mut client) = shop().await;
    let john = shop.register("John", "john@example.com").await;
    let jane = shop.register("Jane", "jane@example.com").await;
    let token = shop.login("john@example.com", PASSWORD).await;
    let body = json!({
        "recipient": "John Doe", "line1": "Ring 1", "postal_code": "1010", "city": "Wien", "country": "AT",
    });
    let added = shop.send(reqwest::Method::POST, "/profile/addresses", Some(&token), &body.to_string()).await;
    let id = added.text("id").to_owned();
    let of = |user_id: &str, address_id: &str| {
        by_notification(GetAddressRequest { user_id: user_id.to_owned(), address_id: address_id.to_owned() })
    };
    let told = client.get_address(of(&john, &id)).await.unwrap().into_inner();
    assert_eq!((told.recipient.as_str(), told.city.as_str(), told.line2.as_str()), ("John Doe", "Wien", ""));
    for (user_id, address_id, code) in [
        (jane.as_str(), id.as_str(), Code::NotFound),
        (&john, &john, Code::NotFound),
        (&john, "1", Code::InvalidArgument),
    ] {
        assert_eq!(client.get_address(of(user_id, address_id)).await.unwrap_err().code(), code);
    }
    let bare = GetAddressRequest { user_id: john, address_id: id };
    assert_eq!(client.get_address(with(bare, None)).await.unwrap_err().code(), Code::Unauthenticated);
    shop.close().await;
}

#[tokio::test]
async fn without_a_secret_nobody_learns_a_contact() {
    let shop = Shop::open().await;
    let id = shop.register("John Doe", "john@example.com").await;
    let mut client = UserServiceClient::new(web::grpc::channel(&shop.grpc).unwrap());
    let refused = client.get_contact(by_notification(contact(&id))).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    for shown in [None, Some("Bearer "), Some("Bearer None")] {
        assert_eq!(client.get_contact(with(contact(&id), shown)).await.unwrap_err().code(), Code::Unauthenticated);
    }
    shop.close().await;
}
