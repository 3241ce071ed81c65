//! What can be set.

use std::time::Duration;

use psp::bank::Behaviour;
use web::WebhookKey;

/// The provider's settings.
#[derive(Debug, Clone)]
pub struct Config {
    /// How it behaves.
    pub behaviour: Behaviour,
    /// What it shares with the shop: requests are signed with it, and webhooks.
    pub key: WebhookKey,
    /// Where webhooks go; without it nobody is told.
    pub webhook_url: Option<String>,
    /// How long after each delivery that was not taken the next one is due; after the last the event is given up.
    pub webhook_pauses: Vec<Duration>,
    /// The limits and manners of its server.
    pub edge: web::EdgeOptions,
}

impl Config {
    /// The usual settings.
    pub fn new(key: WebhookKey) -> Self {
        const HOUR: u64 = 3_600;
        let pauses = [1, 5, 30, 120, 600, 1_800, HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR, 24 * HOUR];
        Self {
            behaviour: Behaviour::default(),
            key,
            webhook_url: None,
            webhook_pauses: pauses.map(Duration::from_secs).to_vec(),
            edge: web::EdgeOptions::default(),
        }
    }
}
