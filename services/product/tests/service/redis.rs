//! With a real `redis-server`: shared, frozen and killed.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use deadpool_redis::redis::{self, AsyncCommands};
use product_service::Config;
use proto::product::product_service_client::ProductServiceClient;
use proto::product::{QuoteLine, QuoteRequest};
use runtime::projection;
use rustix::process::{Pid, Signal, kill_process};
use testkit::eventually;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::shop::{PATIENCE, Shop, price};

/// What Redis may cost one request, and what the machine may be slower than usual.
const COST_MAX: Duration = Duration::from_millis(50);
const SLACK: Duration = Duration::from_millis(400);

struct Server {
    process: Child,
    url: String,
}

impl Server {
    /// `None` where the program is not there; said once a test.
    async fn start(test: &str) -> Option<Self> {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = Command::new("redis-server");
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
        let Ok(process) = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn() else {
            eprintln!("left out: {test} needs the program redis-server");
            return None;
        };
        let server = Self { process, url: format!("redis://127.0.0.1:{port}") };
        eventually(PATIENCE, || async { server.connect().await.is_some() }).await;
        Some(server)
    }

    async fn connect(&self) -> Option<redis::aio::MultiplexedConnection> {
        redis::Client::open(self.url.as_str()).unwrap().get_multiplexed_async_connection().await.ok()
    }

    /// What lies there of a product.
    async fn has(&self, id: Uuid) -> Option<String> {
        self.connect().await?.get(format!("product:{id}")).await.unwrap()
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).unwrap();
    }

    fn config(&self) -> Config {
        Config { redis: Some(self.url.clone()), ..Config::default() }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn open(server: &Server) -> Shop {
    Shop::open_with(server.config(), testkit::postgres::database().await).await
}

/// What a quote, as an order gets it, says of the price.
async fn quoted(shop: &Shop, id: Uuid) -> String {
    let mut client = ProductServiceClient::new(web::grpc::channel(&shop.grpc).unwrap());
    let lines = vec![QuoteLine { product_id: id.to_string(), quantity: 1 }];
    let quote = client.quote(QuoteRequest { lines }).await.unwrap().into_inner();
    quote.lines[0].unit_price.clone().unwrap()
}

#[tokio::test]
async fn instances_share_what_one_has_read() {
    let Some(server) = Server::start("instances_share_what_one_has_read").await else { return };
    let shop = open(&server).await;
    let id = shop.product("Laptop", "999.99", 5).await;
    let path = format!("/products/{id}");
    // As long as the tombstone of its creation stays, nobody puts it there.
    let there = eventually(PATIENCE, || async {
        shop.get(&path).await;
        server.has(id).await.filter(|json| !json.is_empty())
    })
    .await;
    assert_eq!(there, shop.send_as(None, reqwest::Method::GET, &path, "").await.text().await.unwrap());

    // A mark that only a reader of Redis can see.
    let marked = there.replace("Laptop", "Marked");
    let _: () = server.connect().await.unwrap().set(format!("product:{id}"), marked).await.unwrap();
    let other = shop.another(server.config()).await;
    assert_eq!(shop.get_at(&other, &path).await.1["name"], "Marked");
    // A change covers it, whoever makes it.
    assert_eq!(shop.put(&path, r#"{"price":5}"#).await.0, 200);
    eventually(PATIENCE, || async {
        let (here, there) = (shop.get(&path).await.1, shop.get_at(&other, &path).await.1);
        price(&here) == "5.00" && here == there && here["name"] == "Laptop"
    })
    .await;
    other.close().await;
    shop.close().await;
}

#[tokio::test]
async fn what_lay_there_before_the_list_was_made_anew_is_not_read() {
    let Some(server) = Server::start("what_lay_there_before_the_list_was_made_anew_is_not_read").await else { return };
    let shop = open(&server).await;
    let id = shop.product("Laptop", "999.99", 5).await;
    let path = format!("/products/{id}");
    let marked = eventually(PATIENCE, || async {
        shop.get(&path).await;
        server.has(id).await.filter(|json| !json.is_empty()).map(|json| json.replace("Laptop", "Marked"))
    })
    .await;
    let _: () = server.connect().await.unwrap().set(format!("product:{id}"), marked).await.unwrap();
    eventually(PATIENCE, || async { shop.get(&path).await.1["name"] == "Marked" }).await;

    let database = projection::Database::of(&shop.database.pool);
    let model: Arc<dyn projection::ReadModel> = Arc::new(product_service::Catalogue);
    let (options, progress, stop) = (projection::Options::default(), Arc::default(), CancellationToken::new());
    projection::rebuild(&database, &model, &options, &progress, &stop).await.unwrap().expect("made anew");
    // The row is as it was, and what others have put there is left to expire.
    eventually(PATIENCE, || async { shop.get(&path).await.1["name"] == "Laptop" }).await;
    assert!(server.has(id).await.is_some_and(|json| json.contains("Marked")));
    shop.close().await;
}

#[tokio::test]
async fn a_frozen_redis_costs_little_and_never_a_wrong_price() {
    let Some(server) = Server::start("a_frozen_redis_costs_little_and_never_a_wrong_price").await else { return };
    let shop = open(&server).await;
    let mut products = Vec::new();
    for n in 0..12 {
        products.push(shop.product(&format!("Product {n}"), "10.00", 5).await);
    }
    let (first, path) = (products[0], format!("/products/{}", products[0]));
    eventually(PATIENCE, || async {
        shop.get(&path).await;
        server.has(first).await.is_some_and(|json| !json.is_empty())
    })
    .await;

    server.signal(Signal::STOP);
    for id in &products {
        let started = Instant::now();
        let (status, product) = shop.get(&format!("/products/{id}")).await;
        let took = started.elapsed();
        assert_eq!((status, price(&product).as_str()), (200, "10.00"));
        assert!(took < COST_MAX + SLACK, "{took:?}");
    }
    let (status, _) = shop.put(&path, r#"{"price":20}"#).await;
    assert_eq!((status, quoted(&shop, first).await.as_str()), (200, "20.00"));
    eventually(PATIENCE, || async { price(&shop.get(&path).await.1) == "20.00" }).await;
    let metrics = shop.get("/metrics").await.1;
    assert!(metrics.as_str().unwrap().contains("product_cache_redis_open 1"), "the breaker is not seen to be open");

    // What lay there is out of date. It is covered before anybody here believes anything of Redis again.
    server.signal(Signal::CONT);
    for _ in 0..100 {
        assert_eq!(price(&shop.get(&path).await.1), "20.00");
    }
    eventually(PATIENCE, || async {
        assert_eq!(price(&shop.get(&path).await.1), "20.00");
        server.has(first).await.is_some_and(|json| json.contains("20.00"))
    })
    .await;
    shop.close().await;
}

#[tokio::test]
async fn without_its_redis_the_shop_goes_on() {
    let Some(mut server) = Server::start("without_its_redis_the_shop_goes_on").await else { return };
    let shop = open(&server).await;
    let id = shop.product("Laptop", "999.99", 5).await;
    server.process.kill().unwrap();
    server.process.wait().unwrap();
    let path = format!("/products/{id}");
    for euros in 1..=5 {
        let started = Instant::now();
        assert_eq!(shop.put(&path, &format!("{{\"price\":{euros}}}")).await.0, 200);
        assert_eq!(quoted(&shop, id).await, format!("{euros}.00"));
        eventually(PATIENCE, || async { price(&shop.get(&path).await.1) == format!("{euros}.00") }).await;
        let took = started.elapsed();
        assert!(took < (COST_MAX + SLACK) * 4, "{took:?}");
    }
    assert_eq!(shop.get("/health").await.0, 200);
    shop.close().await;
}
