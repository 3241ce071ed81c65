//! Flags that several commands share.

use super::{GlobalArgs, values};
use crate::postgres::{self, External, Programs};
use std::time::Duration;

/// Where PostgreSQL is.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "PostgreSQL")]
pub struct DatabaseArgs {
    /// A server to use instead of one of our own: postgres://user:password@host:5432/database.
    #[arg(long, value_name = "URL", env = "DATABASE_URL", hide_env_values = true)]
    pub database_url: Option<String>,
    /// The same in parts; used when there is no URL.
    #[arg(long, value_name = "HOST", env = "DB_HOST")]
    pub db_host: Option<String>,
    /// Its port.
    #[arg(long, value_name = "PORT", env = "DB_PORT", default_value_t = 5432)]
    pub db_port: u16,
    /// Its user.
    #[arg(long, value_name = "USER", env = "DB_USER", default_value = "postgres")]
    pub db_user: String,
    /// The user's password.
    #[arg(long, value_name = "PASSWORD", env = "DB_PASSWORD", hide_env_values = true)]
    pub db_password: Option<String>,
    /// Where the programs of a PostgreSQL of our own may come from.
    #[arg(long, value_name = "SOURCE", value_enum, env = "SAGASHOP_POSTGRES", default_value_t)]
    pub postgres: Programs,
}

impl ServerArgs {
    /// Redis as a URL, if one is named.
    pub fn redis_url(&self) -> Option<String> {
        let host = self.redis_host.as_deref().filter(|host| !host.is_empty())?;
        let password = self.redis_password.as_deref().filter(|password| !password.is_empty());
        let password = password.map(|password| format!(":{password}@")).unwrap_or_default();
        Some(format!("redis://{password}{host}:{}/", self.redis_port))
    }
}

impl DatabaseArgs {
    /// Which PostgreSQL this means. An empty variable counts as none.
    ///
    /// # Errors
    /// When the URL is none.
    pub fn options(&self, global: &GlobalArgs) -> Result<postgres::Options, postgres::Error> {
        let given = |value: &Option<String>| value.clone().filter(|text| !text.is_empty());
        let external = match (given(&self.database_url), given(&self.db_host)) {
            (Some(url), _) => Some(External::from_url(&url)?),
            (None, Some(host)) => {
                Some(External::from_parts(&host, self.db_port, &self.db_user, self.db_password.as_deref()))
            }
            (None, None) => None,
        };
        Ok(postgres::Options { data_dir: global.data_dir.clone(), external, programs: self.postgres })
    }
}

/// The servers that are used when given.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Other servers (used when given)")]
pub struct ServerArgs {
    /// Kafka; without it, messages go through a topic log in PostgreSQL.
    #[arg(long, value_name = "HOST:PORT", env = "KAFKA_BROKER")]
    pub kafka_broker: Option<String>,
    /// Partitions of each topic; never changed once the topics exist.
    #[arg(long, value_name = "N", env = "KAFKA_PARTITIONS", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub partitions: u16,
    /// Redis, for the product cache.
    #[arg(long, value_name = "HOST", env = "REDIS_HOST")]
    pub redis_host: Option<String>,
    /// Its port.
    #[arg(long, value_name = "PORT", env = "REDIS_PORT", default_value_t = 6379)]
    pub redis_port: u16,
    /// Its password.
    #[arg(long, value_name = "PASSWORD", env = "REDIS_PASSWORD", hide_env_values = true)]
    pub redis_password: Option<String>,
    /// The mail server for notifications, as smtp://user:password@host:25; without it they are logged.
    #[arg(long, value_name = "URL", env = "SMTP_URL", hide_env_values = true)]
    pub smtp_url: Option<String>,
    /// Whom e-mails come from.
    #[arg(long, value_name = "ADDRESS", env = "MAIL_FROM", default_value = "Sagashop <shop@sagashop.example>")]
    pub mail_from: String,
    /// Where traces go, by OTLP over gRPC.
    #[arg(long, value_name = "URL", env = "OTEL_EXPORTER_OTLP_ENDPOINT")]
    pub otlp_endpoint: Option<String>,
}

/// How the simulated payment provider behaves.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Simulated payments")]
pub struct PaymentArgs {
    /// The share of charges that succeed, of those whose token leaves it open.
    #[arg(long, value_name = "0..1", env = "PAYMENT_SUCCESS_RATE", default_value_t = 1.0, value_parser = values::share)]
    pub payment_success_rate: f64,
    /// How long the provider takes for a call.
    #[arg(long, value_name = "TIME", env = "PAYMENT_LATENCY", default_value = "0ms", value_parser = values::duration)]
    pub payment_latency: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Args;
    use clap::Parser;

    #[test]
    fn an_empty_database_url_counts_as_none() {
        let database = DatabaseArgs { database_url: Some(String::new()), ..DatabaseArgs::default() };
        let global = Args::parse_from(["sagashop", "saga", "graph"]).global;
        assert!(database.options(&global).expect("options").external.is_none());
    }
}
