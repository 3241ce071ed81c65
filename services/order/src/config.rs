//! What the order service is told.

use kernel::Currency;

/// The order service's settings.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the product service answers gRPC: `host:port`, or a URL.
    pub product_grpc: String,
    /// What prices are in where the product service does not say.
    pub currency: Currency,
    /// The limits and manners of its servers.
    pub edge: web::EdgeOptions,
}
