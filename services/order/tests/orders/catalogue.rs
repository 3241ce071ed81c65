//! A product service with a fixed catalogue.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex};

use proto::product::product_service_server::{ProductService, ProductServiceServer};
use proto::product::{
    CheckAvailabilityRequest, CheckAvailabilityResponse, GetProductRequest, ListProductsRequest, ListProductsResponse,
    Product, QuoteRequest, QuoteResponse, QuotedLine,
};
use proto::user::user_service_server::{UserService, UserServiceServer};
use proto::user::{Address, Contact, GetAddressRequest, GetContactRequest};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::{Request, Response, Status};
use uuid::Uuid;
use web::auth::ServiceTokens;

/// 999.99, 50 of them.
pub const LAPTOP: Uuid = Uuid::from_u128(1);
/// 25.50, 1,000,000 of them.
pub const MOUSE: Uuid = Uuid::from_u128(2);
/// 0.01, 2,000,000 of them: products 100 to 199.
pub const SCREWS: Uuid = Uuid::from_u128(100);
/// So dear that a thousand are more than can be counted.
pub const PALACE: Uuid = Uuid::from_u128(3);
/// Priced in US dollars.
pub const IMPORTED: Uuid = Uuid::from_u128(4);
/// Asking for it is never answered.
pub const RIDDLE: Uuid = Uuid::from_u128(5);

/// Asking for it takes until somebody permits it.
pub const BESPOKE: Uuid = Uuid::from_u128(6);

/// The askings for [`BESPOKE`] that may be answered.
static PERMITS: LazyLock<Mutex<HashMap<i64, Arc<Semaphore>>>> = LazyLock::new(Mutex::default);

/// The permits of the askings for so many [`BESPOKE`]: none at first.
pub fn permits(quantity: i64) -> Arc<Semaphore> {
    Arc::clone(PERMITS.lock().unwrap().entry(quantity).or_insert_with(|| Arc::new(Semaphore::new(0))))
}

/// What the services of these tests share.
pub const SECRET: &str = "a secret of more than 32 characters";
/// The only address that there is, of whoever asks.
pub const HOME: Uuid = Uuid::from_u128(7);
/// Asking for it finds the user service away.
pub const NOWHERE: Uuid = Uuid::from_u128(8);

struct AddressBook;

#[tonic::async_trait]
impl UserService for AddressBook {
    async fn get_contact(&self, _: Request<GetContactRequest>) -> Result<Response<Contact>, Status> {
        Err(Status::unimplemented("orders write to nobody"))
    }

    async fn get_address(&self, request: Request<GetAddressRequest>) -> Result<Response<Address>, Status> {
        let services = ServiceTokens::from_secret(SECRET, "user").unwrap();
        assert_eq!(&*services.authenticate(request.metadata())?, "order");
        match request.get_ref().address_id.parse::<Uuid>().unwrap() {
            HOME => Ok(Response::new(Address::default())),
            NOWHERE => Err(Status::unavailable("away")),
            _ => Err(Status::not_found("none")),
        }
    }
}

struct Catalogue;

/// Serves the catalogue and says where.
pub async fn serve(shutdown: CancellationToken) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let routes = Routes::new(ProductServiceServer::new(Catalogue)).add_service(UserServiceServer::new(AddressBook));
    tokio::spawn(web::grpc::serve("product", listener, routes, web::EdgeOptions::default(), shutdown));
    address
}

fn entry(id: Uuid) -> Option<(&'static str, &'static str, i64)> {
    match id {
        LAPTOP | BESPOKE => Some(("999.99", "EUR", 50)),
        MOUSE => Some(("25.50", "EUR", 1_000_000)),
        PALACE => Some(("90000000000000000.00", "EUR", 1_000_000)),
        IMPORTED => Some(("5.00", "USD", 50)),
        other if (100..200).contains(&other.as_u128()) => Some(("0.01", "EUR", 2_000_000)),
        _ => None,
    }
}

#[tonic::async_trait]
impl ProductService for Catalogue {
    async fn get_product(&self, _: Request<GetProductRequest>) -> Result<Response<Product>, Status> {
        Err(Status::unimplemented("orders ask for quotes"))
    }

    async fn check_availability(
        &self,
        _: Request<CheckAvailabilityRequest>,
    ) -> Result<Response<CheckAvailabilityResponse>, Status> {
        Err(Status::unimplemented("orders ask for quotes"))
    }

    async fn list_products(&self, _: Request<ListProductsRequest>) -> Result<Response<ListProductsResponse>, Status> {
        Err(Status::unimplemented("orders ask for quotes"))
    }

    async fn quote(&self, request: Request<QuoteRequest>) -> Result<Response<QuoteResponse>, Status> {
        let mut lines = Vec::new();
        for line in request.into_inner().lines {
            let id = line.product_id.parse().unwrap();
            if id == RIDDLE {
                std::future::pending::<()>().await;
            }
            if id == BESPOKE {
                permits(line.quantity).acquire().await.unwrap().forget();
            }
            let found = entry(id);
            let stock = found.map_or(0, |(_, _, stock)| stock);
            lines.push(QuotedLine {
                product_id: line.product_id,
                unit_price: found.map(|(price, _, _)| price.to_owned()),
                currency: found.map_or("", |(_, currency, _)| currency).to_owned(),
                available: stock >= line.quantity,
                stock,
            });
        }
        Ok(Response::new(QuoteResponse { lines }))
    }
}
