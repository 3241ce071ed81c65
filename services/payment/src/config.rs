//! What can be set.

use std::time::Duration;

use crate::provider::Behaviour;

/// The service's settings.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The share of charges that the simulated provider accepts, 0 to 1.
    pub success_rate: f64,
    /// How long the simulated provider takes to answer.
    pub latency: Duration,
    /// Calls to the provider at once.
    pub concurrency_max: usize,
    /// A call that takes longer has no known result.
    pub provider_timeout: Duration,
    /// A request to the provider without a result for so long is looked after.
    pub sweep_after: Duration,
    /// The limits and manners of its servers.
    pub edge: web::EdgeOptions,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            success_rate: 1.0,
            latency: Duration::ZERO,
            concurrency_max: 64,
            provider_timeout: Duration::from_secs(2),
            sweep_after: Duration::from_secs(5),
            edge: web::EdgeOptions::default(),
        }
    }
}

impl Config {
    /// How the simulated provider behaves: a reply that it loses comes later than anybody waits.
    pub(crate) fn behaviour(&self) -> Behaviour {
        Behaviour {
            success_rate: self.success_rate,
            latency: self.latency,
            lost_reply_after: self.provider_timeout.saturating_mul(2),
        }
    }
}
