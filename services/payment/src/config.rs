//! What can be set.

use std::time::Duration;

use psp::signed::{self, WeakSecret};
use web::WebhookKey;

use crate::provider::{Behaviour, Chaos, HttpSettings};

/// The service's settings.
#[derive(Debug, Clone)]
pub struct Config {
    /// Who takes and gives back the money.
    pub provider: Choice,
    /// The share of charges that the simulated provider accepts, 0 to 1.
    pub success_rate: f64,
    /// How long the simulated provider takes to answer.
    pub latency: Duration,
    /// What goes wrong at the simulated provider.
    pub chaos: Chaos,
    /// Calls to the provider at once, and so connections to it.
    pub concurrency_max: usize,
    /// A call that takes longer has no known result.
    pub provider_timeout: Duration,
    /// A request to the provider without a result for so long is looked after.
    pub sweep_after: Duration,
    /// The limits and manners of its servers.
    pub edge: web::EdgeOptions,
}

/// Which provider.
#[derive(Debug, Clone)]
pub enum Choice {
    /// One inside the service, that moves no money.
    Simulated,
    /// One that speaks the protocol of `docs/psp-protocol.md`.
    Http {
        /// Its URL.
        url: String,
        /// What requests and webhooks are signed with.
        key: Box<WebhookKey>,
    },
}

impl Choice {
    /// A provider at this URL, with which this secret is shared.
    ///
    /// # Errors
    /// The secret has fewer than 32 characters.
    pub fn http(url: impl Into<String>, secret: &str) -> Result<Self, WeakSecret> {
        Ok(Self::Http { url: url.into(), key: Box::new(signed::key(secret)?) })
    }

    /// Whether it moves no money: nothing for a shop with real customers.
    pub fn is_simulated(&self) -> bool {
        matches!(self, Self::Simulated)
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            provider: Choice::Simulated,
            success_rate: 1.0,
            latency: Duration::ZERO,
            chaos: Chaos::default(),
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
            chaos: self.chaos,
        }
    }

    /// How the provider at this URL is spoken with: it gives a call up a little before the worker does, so that the
    /// breaker learns of it.
    pub(crate) fn http(&self, url: &str, key: &WebhookKey) -> HttpSettings {
        HttpSettings {
            url: url.to_owned(),
            key: key.clone(),
            timeout: self.provider_timeout.mul_f64(0.95),
            connections_max: self.concurrency_max,
        }
    }
}
