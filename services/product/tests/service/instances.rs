//! Two instances of the service on one database.

use product_service::Config;
use reqwest::Method;
use testkit::eventually;

use crate::shop::{PATIENCE, Shop, price};

/// Whichever of the two projections commits a change, both instances show it, and long before their entries expire.
#[tokio::test]
async fn a_change_is_seen_at_every_instance() {
    let shop = Shop::open().await;
    let other = shop.another(Config::default()).await;
    let id = shop.product("Laptop", "999.99", 5).await;
    let path = format!("/products/{id}");
    for euros in 1..=20 {
        // Both have it in their own memory.
        eventually(PATIENCE, || async { shop.get_at(&other, &path).await.0 == 200 }).await;
        shop.get(&path).await;
        let (status, _) = shop.put(&path, &format!("{{\"price\":{euros}}}")).await;
        assert_eq!(status, 200);
        let expected = format!("{euros}.00");
        eventually(PATIENCE, || async {
            let here = price(&shop.get(&path).await.1);
            let there = price(&shop.get_at(&other, &path).await.1);
            here == expected && there == expected
        })
        .await;
    }
    assert_eq!(shop.send(Method::DELETE, &path, "").await.status(), 200);
    eventually(PATIENCE, || async { shop.get(&path).await.0 == 404 && shop.get_at(&other, &path).await.0 == 404 })
        .await;
    other.close().await;
    shop.close().await;
}
