//! The gateway before real services: one origin for everything.

use std::time::Duration;

use reqwest::{Client, Method, RequestBuilder};
use sagashop::ports::{GATEWAY_PORT, Role};
use serde_json::{Value, json};
use testkit::eventually;

use crate::fleet::Fleet;
use crate::process::Process;
use crate::up::Up;
use crate::{PATIENCE, room_for_a_large_shop, room_for_a_small_shop};

/// A front end that knows one address.
struct FrontEnd {
    client: Client,
    origin: String,
}

struct Answer {
    status: u16,
    location: String,
    text: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }
}

impl FrontEnd {
    fn new(offset: u16) -> Self {
        let client = web::http_client().timeout(Duration::from_secs(40)).build().expect("a client");
        Self { client, origin: format!("http://127.0.0.1:{}", GATEWAY_PORT + offset) }
    }

    fn request(&self, method: Method, path: &str, token: &str) -> RequestBuilder {
        let request = self.client.request(method, format!("{}{path}", self.origin));
        if token.is_empty() { request } else { request.bearer_auth(token) }
    }

    async fn send(&self, request: RequestBuilder) -> Option<Answer> {
        let answer = request.send().await.ok()?;
        let location = answer.headers().get("location").and_then(|value| value.to_str().ok()).unwrap_or_default();
        let (status, location) = (answer.status().as_u16(), location.to_owned());
        Some(Answer { status, location, text: answer.text().await.ok()? })
    }

    async fn get(&self, path: &str, token: &str) -> Answer {
        self.send(self.request(Method::GET, path, token)).await.expect("an answer")
    }

    async fn post(&self, path: &str, token: &str, body: &Value) -> Answer {
        self.send(self.request(Method::POST, path, token).json(body)).await.expect("an answer")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_front_end_needs_one_origin() {
    let _room = room_for_a_small_shop().await;
    let shop = Up::start(&[]).await;
    let front = FrontEnd::new(shop.folder.offset);

    let account = json!({ "name": "Ada", "email": "ada@customers.example", "password": "correct horse battery" });
    assert_eq!(front.post("/api/v1/register", "", &account).await.status, 201);
    let login = json!({ "email": "ada@customers.example", "password": "correct horse battery" });
    let session = front.post("/api/v1/login", "", &login).await.json();
    let token = session["token"].as_str().expect("a token").to_owned();
    assert_eq!(front.get("/api/v1/profile", &token).await.json()["email"], "ada@customers.example");
    assert_eq!(front.get("/api/v1/profile", "").await.status, 401);

    let products = front.get("/api/v1/products?limit=5", "").await.json();
    let product = products.as_array().and_then(|all| all.iter().find(|one| one["stock"].as_i64() > Some(1)));
    let order = json!({ "product_id": product.expect("in stock")["id"], "quantity": 1 });
    let placed = front.post("/api/v1/orders", &token, &order).await;
    assert_eq!(placed.status, 201, "{}", placed.text);
    // Where it can be read is a path of the gateway.
    let ended = front.get(&format!("{}?wait=20s", placed.location), &token).await;
    assert_eq!(ended.json()["status"], "confirmed", "{}: {}", placed.location, ended.text);
    assert!(front.get("/.well-known/jwks.json", "").await.json()["keys"].is_array());

    for role in Role::ALL {
        let document = front.get(&format!("/openapi/{}.json", role.name()), "").await.json();
        assert_eq!(document["servers"], json!([{ "url": "/api/v1" }]));
        let mut own: Value = serde_json::from_str(&role.openapi()).expect("JSON");
        own["servers"] = document["servers"].clone();
        // Whose process it would be, nobody can tell from before the gateway.
        own["paths"].as_object_mut().expect("paths").retain(|path, _| !path.starts_with("/admin/"));
        assert_eq!(document, own, "{}", role.name());
    }
    // Nothing on the pages is from elsewhere.
    for page in ["/", "/docs", "/docs/page.js", "/docs/page.css"] {
        let page = front.get(page, "").await;
        assert!(page.status == 200 && !page.text.contains("http:") && !page.text.contains("https:"), "{}", page.text);
    }
    let metrics = front.get("/metrics", "").await.text;
    assert!(metrics.contains(r#"endpoint="/orders/{id}",method="GET",service="gateway",status="200""#), "{metrics}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_is_away_takes_nothing_else_with_it() {
    let _room = room_for_a_large_shop().await;
    let mut fleet = Fleet::start(None).await;
    let offset = fleet.folder.offset;
    let mut arguments = vec!["serve".to_owned(), "gateway".to_owned(), "--listen".to_owned(), "127.0.0.1".to_owned()];
    arguments.extend(["--http-port".to_owned(), (GATEWAY_PORT + offset).to_string()]);
    for role in Role::ALL {
        let name = if role == Role::Orchestrator {
            "orchestrator-url".to_owned()
        } else {
            format!("{}-service-url", role.name())
        };
        arguments.extend([format!("--{name}"), fleet.url(role, "")]);
    }
    let _gateway = Process::start(fleet.folder.path(), "gateway", &arguments, &[]);
    let front = FrontEnd::new(offset);
    eventually(PATIENCE, async || {
        let answer = front.send(front.request(Method::GET, "/health/ready", "")).await;
        answer.is_some_and(|answer| answer.status == 200)
    })
    .await;
    assert_eq!(front.get("/api/v1/products", "").await.status, 200);
    let customer = fleet.customer("customer").await;

    fleet.kill(Role::Product);
    let away = front.get("/api/v1/products", "").await;
    assert_eq!(away.status, 503, "{}", away.text);
    assert_eq!(away.json()["detail"], "The product service is away");
    assert_eq!(front.get("/api/v1/orders", &customer).await.status, 200);

    fleet.begin(Role::Product, &[]);
    eventually(PATIENCE, async || front.get("/api/v1/products", "").await.status == 200).await;
    fleet.stop().await;
}
