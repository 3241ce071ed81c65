//! The topics.

/// What became of orders. Key: the order.
pub const ORDER_EVENTS: &str = "order_events";
/// What became of products and their stock. Key: the product.
pub const PRODUCT_EVENTS: &str = "product_events";
/// What became of payments. Key: the order.
pub const PAYMENT_EVENTS: &str = "payment_events";
/// What became of users. Key: the user.
pub const USER_EVENTS: &str = "user_events";
/// What became of sagas. Key: the order.
pub const SAGA_EVENTS: &str = "saga_events";
/// The orchestrator's commands to stock. Key: the product.
pub const PRODUCT_COMMANDS: &str = "product_commands";
/// The orchestrator's commands to payments. Key: the order.
pub const PAYMENT_COMMANDS: &str = "payment_commands";
/// The orchestrator's commands to orders. Key: the order.
pub const ORDER_COMMANDS: &str = "order_commands";

/// Every topic.
pub const ALL: [&str; 8] = [
    ORDER_EVENTS,
    PRODUCT_EVENTS,
    PAYMENT_EVENTS,
    USER_EVENTS,
    SAGA_EVENTS,
    PRODUCT_COMMANDS,
    PAYMENT_COMMANDS,
    ORDER_COMMANDS,
];
