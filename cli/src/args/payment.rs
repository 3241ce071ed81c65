//! Who takes and gives back the money.

use super::values;
use anyhow::Context;
use clap::ValueEnum;
use payment_service::Choice;
use payment_service::provider::{Behaviour, Chaos};
use std::time::Duration;
use web::WebhookKey;

/// A payment provider.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ProviderKind {
    /// Inside the payment service; it moves no money.
    #[default]
    Simulated,
    /// Behind HTTP, by the protocol of docs/psp-protocol.md.
    Http,
}

/// Which payment provider, and where.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Payment provider")]
pub struct ProviderArgs {
    /// Who takes and gives back the money.
    #[arg(long, value_name = "PROVIDER", value_enum, env = "PAYMENT_PROVIDER", default_value_t)]
    pub payment_provider: ProviderKind,
    /// Where the provider behind HTTP is; `sagashop serve psp` runs one for trying.
    #[arg(long, value_name = "URL", env = "PSP_URL", default_value = "http://localhost:8086")]
    pub psp_url: String,
    /// What is shared with it: requests and webhooks are signed with this, at least 32 characters.
    #[arg(long, value_name = "SECRET", env = "PSP_SECRET", hide_env_values = true)]
    pub psp_secret: Option<String>,
}

/// How payments are made, and how the simulated provider and `sagashop serve psp` behave.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Payments")]
pub struct PaymentArgs {
    /// Which provider.
    #[command(flatten)]
    pub provider: ProviderArgs,
    /// Let a production use the simulated provider, which moves no money.
    #[arg(long, env = "ALLOW_SIMULATED_PAYMENTS")]
    pub allow_simulated_payments: bool,
    /// A call to the provider without an answer for so long has no known result: it is asked what became of it.
    #[arg(long, value_name = "TIME", env = "PAYMENT_TIMEOUT", default_value = "2s", value_parser = values::duration)]
    pub payment_timeout: Duration,
    /// Calls to the provider at once.
    #[arg(long, value_name = "N", env = "PAYMENT_CONCURRENCY", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub payment_concurrency: u16,
    /// The share of charges that succeed, of those whose token leaves it open.
    #[arg(long, value_name = "0..1", env = "PAYMENT_SUCCESS_RATE", default_value_t = 1.0, value_parser = values::share)]
    pub payment_success_rate: f64,
    /// How long the provider takes for a call.
    #[arg(long, value_name = "TIME", env = "PAYMENT_LATENCY", default_value = "0ms", value_parser = values::duration)]
    pub payment_latency: Duration,
    /// The share of its replies that are lost; whatever was asked has happened.
    #[arg(long, value_name = "0..1", env = "PAYMENT_REPLY_LOST", default_value_t = 0.0, value_parser = values::share)]
    pub payment_reply_lost: f64,
    /// The share of its replies that are late.
    #[arg(long, value_name = "0..1", env = "PAYMENT_REPLY_LATE", default_value_t = 0.0, value_parser = values::share)]
    pub payment_reply_late: f64,
    /// By how much they are.
    #[arg(long, value_name = "TIME", env = "PAYMENT_REPLY_LATE_BY", default_value = "1s", value_parser = values::duration)]
    pub payment_reply_late_by: Duration,
    /// The share of its results that it tells twice.
    #[arg(long, value_name = "0..1", env = "PAYMENT_REPLY_DOUBLED", default_value_t = 0.0, value_parser = values::share)]
    pub payment_reply_doubled: f64,
    /// Where `sagashop serve psp` sends its webhooks; empty for nowhere.
    #[arg(long, value_name = "URL", env = "PSP_WEBHOOK_URL", default_value = "http://localhost:8083/webhooks/psp")]
    pub psp_webhook_url: String,
}

impl ProviderArgs {
    /// The provider that is meant.
    ///
    /// # Errors
    /// The secret is missing or too short.
    pub fn choice(&self) -> anyhow::Result<Choice> {
        match self.payment_provider {
            ProviderKind::Simulated => Ok(Choice::Simulated),
            ProviderKind::Http => {
                let secret = self.psp_secret.as_deref().unwrap_or_default();
                Choice::http(&self.psp_url, secret).context("PSP_SECRET")
            }
        }
    }

    /// The key of the shared secret.
    ///
    /// # Errors
    /// It is missing or too short.
    pub fn key(&self) -> anyhow::Result<WebhookKey> {
        psp::signed::key(self.psp_secret.as_deref().unwrap_or_default()).context("PSP_SECRET")
    }
}

impl PaymentArgs {
    /// What goes wrong at the provider.
    pub fn chaos(&self) -> Chaos {
        Chaos {
            lost: self.payment_reply_lost,
            late: self.payment_reply_late,
            late_by: self.payment_reply_late_by,
            duplicated: self.payment_reply_doubled,
        }
    }

    /// How a provider for trying behaves.
    pub fn behaviour(&self) -> Behaviour {
        Behaviour {
            success_rate: self.payment_success_rate,
            latency: self.payment_latency,
            chaos: self.chaos(),
            ..Behaviour::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_provider_behind_http_needs_a_secret_of_some_length() {
        let simulated = ProviderArgs::default();
        assert!(simulated.choice().expect("no secret is needed").is_simulated());
        let http = |secret: Option<&str>| ProviderArgs {
            payment_provider: ProviderKind::Http,
            psp_secret: secret.map(str::to_owned),
            ..ProviderArgs::default()
        };
        for weak in [None, Some(""), Some("short")] {
            let error = format!("{:#}", http(weak).choice().expect_err("weak"));
            assert!(error.starts_with("PSP_SECRET: ") && error.contains("32 characters"), "{error}");
        }
        assert!(!http(Some(&"x".repeat(32))).choice().expect("long enough").is_simulated());
    }
}
