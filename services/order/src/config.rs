//! What the order service is told.

use kernel::Currency;

/// The order service's settings.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the product service answers gRPC: `host:port`, or a URL.
    pub product_grpc: String,
    /// Where the user service answers gRPC.
    pub user_grpc: String,
    /// The secret that the shop's services share; without it nobody is asked whose an address is.
    pub internal_token: Option<String>,
    /// What prices are in where the product service does not say.
    pub currency: Currency,
    /// The limits and manners of its servers.
    pub edge: web::EdgeOptions,
}
