use reqwest::Method;
use serde_json::{Value, json};
use testkit::eventually;

use crate::shop::{PATIENCE, Shop};

#[tokio::test]
async fn the_catalogue_is_searched_and_paged() {
    let shop = Shop::open().await;
    for (name, price, stock) in [
        ("Ünïcode Lamp", "5", 0),
        ("100% wool", "10.50", 3),
        ("lamp_shade", "20", 1),
        ("LAMP oil", "7.25", 0),
        ("Rug", "90", 2),
    ] {
        shop.product(name, price, stock).await;
    }
    for (query, names) in [
        ("", vec!["Ünïcode Lamp", "100% wool", "lamp_shade", "LAMP oil", "Rug"]),
        ("?search=lamp", vec!["Ünïcode Lamp", "lamp_shade", "LAMP oil"]),
        ("?search=%C3%9CN%C3%8FC", vec!["Ünïcode Lamp"]),
        ("?search=unicode+LAMP", vec!["Ünïcode Lamp"]),
        ("?search=la+u", vec!["Ünïcode Lamp"]),
        ("?search=100", vec!["100% wool"]),
        ("?search=code", vec![]),
        ("?search=amp", vec![]),
        ("?search=%25", vec![]),
        ("?search=%27%20%7C%20%21%20%3A%2A", vec![]),
        ("?search=", vec![]),
        ("?search=nothing", vec![]),
        ("?min_price=7.25&max_price=20.00", vec!["100% wool", "lamp_shade", "LAMP oil"]),
        ("?in_stock=true", vec!["100% wool", "lamp_shade", "Rug"]),
        ("?in_stock=false&search=LAMP", vec!["Ünïcode Lamp", "LAMP oil"]),
    ] {
        let found = eventually(PATIENCE, || async {
            let (_, products) = shop.get(&format!("/products{query}")).await;
            (names_of(&products) == names).then_some(())
        });
        found.await;
    }

    let mut path = "/api/v1/products?limit=2&search=lamp".to_owned();
    let mut pages = Vec::new();
    loop {
        let answer = shop.send_as(None, Method::GET, &path, "").await;
        let link = answer.headers().get("link").map(|link| link.to_str().unwrap().to_owned());
        let page: Value = answer.json().await.unwrap();
        pages.push(names_of(&page).into_iter().map(str::to_owned).collect::<Vec<_>>());
        let Some(link) = link else { break };
        let query = link.strip_prefix("<?").unwrap().strip_suffix(">; rel=\"next\"").unwrap();
        path = format!("/products?{query}");
    }
    assert_eq!(pages, [vec!["Ünïcode Lamp", "lamp_shade"], vec!["LAMP oil"]]);
    shop.close().await;
}

#[tokio::test]
async fn a_kind_of_product_is_listed_and_what_was_deleted_is_the_administrators() {
    let shop = Shop::open().await;
    for (name, category) in [("Rug", "Textiles"), ("Lamp", "Lights"), ("Bulb", "Lights")] {
        let body = json!({ "name": name, "price": 1, "category": category }).to_string();
        assert_eq!(shop.post("/products", &body).await.0, 201);
    }
    let lights = eventually(PATIENCE, || async {
        let (_, lights) = shop.get("/products?category=Lights").await;
        (lights.as_array().unwrap().len() == 2).then_some(lights)
    })
    .await;
    assert_eq!(names_of(&lights), ["Lamp", "Bulb"]);
    assert_eq!(shop.get("/products?category=lights").await.1, json!([]));

    let lamp = format!("/products/{}", lights[0]["id"].as_str().unwrap());
    assert_eq!(shop.send(Method::DELETE, &lamp, "").await.status(), 200);
    let deleted = eventually(PATIENCE, || async {
        let deleted: Value = shop.send(Method::GET, "/products?deleted=true", "").await.json().await.unwrap();
        (deleted.as_array().unwrap().len() == 1).then_some(deleted)
    })
    .await;
    assert_eq!((names_of(&deleted), deleted[0]["deleted_at"].is_string()), (vec!["Lamp"], true));
    assert_eq!(names_of(&shop.get("/products?deleted=false").await.1), ["Rug", "Bulb"]);
    assert_eq!(shop.get("/products?search=lamp").await.1, json!([]));
    shop.close().await;
}

/// Names from before the search for words are folded when the service starts.
#[tokio::test]
async fn what_was_listed_before_is_found_after_an_update() {
    let shop = Shop::open().await;
    let id = shop.product("Crème brûlée", "4.50", 1).await;
    let set = sqlx::query("UPDATE products SET name_folded = '' WHERE id = $1").bind(id);
    set.execute(&shop.database.pool).await.unwrap();
    assert_eq!(shop.get("/products?search=brulee").await.1, json!([]));
    let shop = Shop::open_with(product_service::Config::default(), shop.close().await).await;
    assert_eq!(names_of(&shop.get("/products?search=brulee").await.1), ["Crème brûlée"]);
    shop.close().await;
}

fn names_of(products: &Value) -> Vec<&str> {
    products.as_array().unwrap().iter().map(|product| product["name"].as_str().unwrap()).collect()
}
