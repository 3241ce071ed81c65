//! A row for every RPC.

use sagashop::ports::Role::{Order, Product, User};

use super::{For, Row};

const ORDER: &str = r#"{"productId":"$product","quantity":1}"#;
const PRODUCT: &str = r#"{"productId":"$product"}"#;
const LINES: &str = r#"{"lines":[{"productId":"$product","quantity":1}]}"#;

/// Those who may make them in this order.
pub(super) const RPCS: &[Row] = &[
    Row::new(Product, "product.ProductService/GetProduct", For::Everybody, "", PRODUCT),
    Row::new(Product, "product.ProductService/CheckAvailability", For::Everybody, "", ORDER),
    Row::new(Product, "product.ProductService/ListProducts", For::Everybody, "", "{}"),
    // It tells what GetProduct and CheckAvailability tell, of several products at once, and holds nothing: public too.
    Row::new(Product, "product.ProductService/Quote", For::Everybody, "", LINES),
    Row::new(Order, "order.OrderService/CreateOrder", For::Users, "", ORDER),
    Row::new(Order, "order.OrderService/ListOrders", For::Users, "", "{}"),
    Row::new(Order, "order.OrderService/GetOrder", For::Owner, "", r#"{"orderId":"$order"}"#),
    Row::new(Order, "order.OrderService/WatchOrder", For::Owner, "", r#"{"orderId":"$order"}"#),
    Row::new(Order, "order.OrderService/CancelOrder", For::Owner, "", r#"{"orderId":"$order"}"#).good(&[200, 409]),
    Row::new(User, "user.UserService/GetContact", For::Services, "", r#"{"userId":"$owner"}"#),
    Row::new(User, "user.UserService/GetAddress", For::Services, "", r#"{"userId":"$owner","addressId":"$address"}"#),
];
