use event_schemas::commands::{CommitStock, ReleaseStock, ReserveStock};
use event_schemas::product::{StockRejected, StockReleased};
use event_schemas::{EventType, Published, topics};
use kernel::{OrderId, ProductId};
use testkit::eventually;
use uuid::Uuid;

use crate::shop::{PATIENCE, Shop};

fn reserve(order: OrderId, product: Uuid, quantity: i64) -> ReserveStock {
    let (product_id, quantity) = (ProductId(product), quantity.try_into().unwrap());
    ReserveStock { order_id: order, product_id, quantity, event_type: EventType::default() }
}

fn commit(order: OrderId, product: Uuid) -> CommitStock {
    CommitStock { order_id: order, product_id: ProductId(product), event_type: EventType::default() }
}

fn release(order: OrderId, product: Uuid) -> ReleaseStock {
    ReleaseStock { order_id: order, product_id: ProductId(product), event_type: EventType::default() }
}

fn order() -> OrderId {
    OrderId(Uuid::now_v7())
}

/// Available, reserved, sold; what came in; and the last event of the stock that the row contains.
async fn row(shop: &Shop, product: Uuid) -> ((i64, i64, i64), i64, i64) {
    let row: (i64, i64, i64, i64, i64) = sqlx::query_as(
        "SELECT available, reserved, sold, initial + restocked, stock_sequence FROM products WHERE id = $1",
    )
    .bind(product)
    .fetch_one(&shop.database.pool)
    .await
    .unwrap();
    ((row.0, row.1, row.2), row.3, row.4)
}

#[tokio::test]
async fn stock_is_held_sold_and_given_back() {
    let shop = Shop::open().await;
    let product = shop.product("Laptop", "999.99", 10).await;
    let (first, second, third) = (order(), order(), order());
    for (order, quantity) in [(first, 3), (second, 4)] {
        shop.command(Uuid::now_v7(), &reserve(order, product, quantity)).await;
    }
    shop.command(Uuid::now_v7(), &commit(first, product)).await;
    shop.command(Uuid::now_v7(), &release(second, product)).await;
    shop.command(Uuid::now_v7(), &release(third, product)).await;
    let types = shop.published_types(product, 7).await;
    let expected = [
        "product_created",
        "stock_changed",
        "stock_reserved",
        "stock_reserved",
        "stock_committed",
        "stock_released",
        "stock_released",
    ];
    assert_eq!(types, expected);
    let last = shop.published(product).await.pop().unwrap();
    let released: StockReleased = last.data().unwrap();
    assert_eq!((released.order_id, released.quantity), (third, 0));
    eventually(PATIENCE, || async { row(&shop, product).await == ((7, 0, 3), 10, 6) }).await;
    shop.close().await;
}

#[tokio::test]
async fn a_command_that_comes_again_has_one_effect() {
    let shop = Shop::open().await;
    let product = shop.product("Laptop", "999.99", 10).await;
    let (buyer, id) = (order(), Uuid::now_v7());
    for _ in 0..3 {
        shop.command(id, &reserve(buyer, product, 2)).await;
    }
    assert_eq!(shop.published_types(product, 3).await.last().unwrap(), "stock_reserved");
    // In a later batch, and when the stock itself has forgotten the order.
    let released = Uuid::now_v7();
    shop.command(released, &release(buyer, product)).await;
    shop.published_types(product, 4).await;
    shop.command(id, &reserve(buyer, product, 2)).await;
    shop.command(released, &release(buyer, product)).await;
    shop.command(Uuid::now_v7(), &reserve(order(), product, 10)).await;
    let types = shop.published_types(product, 5).await;
    assert_eq!(types[2..], ["stock_reserved", "stock_released", "stock_reserved"]);
    eventually(PATIENCE, || async { row(&shop, product).await == ((0, 10, 0), 10, 4) }).await;
    shop.close().await;
}

#[tokio::test]
async fn the_last_item_is_held_for_one_of_two_orders() {
    let shop = Shop::open().await;
    let product = shop.product("Last item", "499.00", 1).await;
    let (first, second) = (order(), order());
    let (one, other) = (reserve(first, product, 1), reserve(second, product, 1));
    tokio::join!(shop.command(Uuid::now_v7(), &one), shop.command(Uuid::now_v7(), &other));
    let types = shop.published_types(product, 4).await;
    assert_eq!(types[2..], ["stock_reserved", "stock_rejected"]);
    let rejected: StockRejected = shop.published(product).await[3].data().unwrap();
    assert_eq!((rejected.requested.get(), rejected.available, rejected.reason.as_str()), (1, 0, "out_of_stock"));
    eventually(PATIENCE, || async { row(&shop, product).await == ((0, 1, 0), 1, 3) }).await;
    shop.close().await;
}

#[tokio::test]
async fn an_order_of_a_product_that_never_was_is_rejected() {
    let shop = Shop::open().await;
    let product = Uuid::now_v7();
    shop.command(Uuid::now_v7(), &reserve(order(), product, 1)).await;
    assert_eq!(shop.published_types(product, 1).await, ["stock_rejected"]);
    let rejected: StockRejected = shop.published(product).await[0].data().unwrap();
    assert_eq!(rejected.reason, "unknown_product");
    assert_eq!(shop.get(&format!("/products/{product}")).await.0, 404);
    shop.close().await;
}

#[tokio::test]
async fn what_is_no_command_to_stock_is_put_aside_with_its_key() {
    let shop = Shop::open().await;
    let product = shop.product("Laptop", "999.99", 10).await;
    let other = shop.product("Mouse", "29.99", 10).await;
    let (topic, key) = (topics::PRODUCT_COMMANDS, product.to_string());
    shop.publish(topic, &key, "paint_it_black", Uuid::now_v7(), b"{}".to_vec()).await;
    shop.command(Uuid::now_v7(), &reserve(order(), product, 1)).await;
    shop.publish(topic, &other.to_string(), ReserveStock::TYPE, Uuid::now_v7(), b"{\"quantity\":-1}".to_vec()).await;
    let third = shop.product("Keyboard", "79.90", 10).await;
    shop.command(Uuid::now_v7(), &reserve(order(), third, 1)).await;
    assert_eq!(shop.published_types(third, 3).await[2], "stock_reserved");

    let letters = eventually(PATIENCE, || async {
        let letters: Vec<(String, bool)> = sqlx::query_as("SELECT key, parked FROM dead_letters ORDER BY key, parked")
            .fetch_all(&shop.database.pool)
            .await
            .unwrap();
        (letters.len() == 3).then_some(letters)
    })
    .await;
    let mut expected = vec![(key.clone(), false), (key, true), (other.to_string(), false)];
    expected.sort();
    assert_eq!(letters, expected);
    assert_eq!(shop.published(product).await.len(), 2);
    shop.close().await;
}

#[tokio::test]
async fn a_hot_product_sells_out_exactly() {
    let shop = Shop::open().await;
    let product = shop.product("Hot", "1.00", 2_500).await;
    let orders: Vec<OrderId> = (0..3_000).map(|_| order()).collect();
    for buyer in &orders {
        shop.command(Uuid::now_v7(), &reserve(*buyer, product, 1)).await;
        shop.command(Uuid::now_v7(), &release(*buyer, product)).await;
        shop.command(Uuid::now_v7(), &reserve(OrderId(Uuid::now_v7()), product, 1)).await;
    }
    eventually(PATIENCE * 3, || async { row(&shop, product).await.2 == 9_001 }).await;
    assert_eq!(row(&shop, product).await, ((0, 2_500, 0), 2_500, 9_001));
    // Saved outside the hot path, by whoever found it due.
    eventually(PATIENCE, || async {
        let snapshots = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM snapshots");
        snapshots.fetch_one(&shop.database.pool).await.unwrap() == 1
    })
    .await;
    shop.close().await;
}
