//! What can be set.

use kernel::Currency;

/// The settings of the product service.
#[derive(Debug, Clone)]
pub struct Config {
    /// The currency of all prices.
    pub currency: Currency,
    /// The URL of a Redis to cache in (`redis://host:port`); none is needed.
    pub redis: Option<String>,
    /// Whether an empty shop begins with a small catalogue.
    pub seed_catalogue: bool,
    /// The limits and manners of its servers.
    pub edge: web::EdgeOptions,
}

impl Default for Config {
    fn default() -> Self {
        Self { currency: Currency::EUR, redis: None, seed_catalogue: false, edge: web::EdgeOptions::default() }
    }
}
