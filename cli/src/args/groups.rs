//! Flags that several commands share.

use super::{GlobalArgs, KafkaArgs};
use crate::postgres::{self, External, Programs};
use std::path::PathBuf;

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
    /// Where traces go, by whichever name it was given.
    pub fn trace_endpoint(&self) -> Option<String> {
        let given = |url: &Option<String>| url.clone().filter(|url| !url.is_empty());
        let of_traces = std::env::var("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").ok().filter(|url| !url.is_empty());
        of_traces.or_else(|| given(&self.otlp_endpoint)).or_else(|| given(&self.jaeger_endpoint))
    }

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
    /// How it is spoken to.
    #[command(flatten)]
    pub kafka: KafkaArgs,
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
    /// A PEM file with certificates that the mail server's is also checked against, beside the system's.
    #[arg(long, value_name = "FILE", env = "SMTP_CA_FILE")]
    pub smtp_ca_file: Option<PathBuf>,
    /// Whom e-mails come from.
    #[arg(long, value_name = "ADDRESS", env = "MAIL_FROM", default_value = "Sagashop <shop@sagashop.example>")]
    pub mail_from: String,
    /// Let webhooks lead to this machine and into private networks; `up` in development does.
    #[arg(long, env = "WEBHOOK_ALLOW_PRIVATE")]
    pub webhook_allow_private: bool,
    /// Where traces go, by OTLP: over gRPC, or over HTTP with OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf.
    #[arg(long, value_name = "URL", env = "OTEL_EXPORTER_OTLP_ENDPOINT")]
    pub otlp_endpoint: Option<String>,
    /// The same by the original shop's name; the other goes first.
    #[arg(long, value_name = "URL", env = "JAEGER_ENDPOINT", hide = true)]
    pub jaeger_endpoint: Option<String>,
    /// The original shop's one topic. It is understood and not used: the topics have fixed names.
    #[arg(long, value_name = "NAME", env = "KAFKA_TOPIC", hide = true)]
    pub kafka_topic: Option<String>,
}

/// Where the other services are, for a part that runs as its own process.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Other services")]
pub struct PeerArgs {
    /// The product service's gRPC, which the order service asks for prices.
    #[arg(long, value_name = "HOST:PORT", env = "PRODUCT_SERVICE_GRPC", default_value = "localhost:50052")]
    pub product_service_grpc: String,
    /// The user service's gRPC, which the notification service asks where to send e-mails.
    #[arg(long, value_name = "HOST:PORT", env = "USER_SERVICE_GRPC", default_value = "localhost:50053")]
    pub user_service_grpc: String,
    /// The user service, whose public keys access tokens are verified with.
    #[arg(long, value_name = "URL", env = "USER_SERVICE_URL", default_value = "http://localhost:8080")]
    pub user_service_url: String,
    /// The product service (gateway).
    #[arg(long, value_name = "URL", env = "PRODUCT_SERVICE_URL", default_value = "http://localhost:8081")]
    pub product_service_url: String,
    /// The order service (gateway).
    #[arg(long, value_name = "URL", env = "ORDER_SERVICE_URL", default_value = "http://localhost:8082")]
    pub order_service_url: String,
    /// The payment service (gateway).
    #[arg(long, value_name = "URL", env = "PAYMENT_SERVICE_URL", default_value = "http://localhost:8083")]
    pub payment_service_url: String,
    /// The notification service (gateway).
    #[arg(long, value_name = "URL", env = "NOTIFICATION_SERVICE_URL", default_value = "http://localhost:8084")]
    pub notification_service_url: String,
    /// The orchestrator (gateway).
    #[arg(long, value_name = "URL", env = "ORCHESTRATOR_URL", default_value = "http://localhost:8085")]
    pub orchestrator_url: String,
}

/// What must be kept from others. Each is also read from a file: INTERNAL_TOKEN_FILE names one for INTERNAL_TOKEN.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Secrets (each also by a file that NAME_FILE names)")]
pub struct SecretArgs {
    /// What the services show each other; the same for all, at least 32 characters.
    #[arg(long, value_name = "SECRET", env = "INTERNAL_TOKEN", hide_env_values = true)]
    pub internal_token: Option<String>,
    /// What wraps the keys of personal data and of access tokens (user service): 32 bytes in base64 or hexadecimal. In
    /// development the data folder has one of its own. Whoever loses it loses all personal data.
    #[arg(long, value_name = "KEY", env = "MASTER_KEY", hide_env_values = true)]
    pub master_key: Option<String>,
    /// What the secrets of webhooks are derived from (notification service): at least 32 characters; without it there are
    /// no webhooks. In development the data folder has one of its own. Another one makes all their secrets others.
    #[arg(long, value_name = "KEY", env = "WEBHOOK_KEY", hide_env_values = true)]
    pub webhook_key: Option<String>,
}

impl SecretArgs {
    /// The key of webhooks' secrets, if one was given.
    pub fn webhook_key(&self) -> Option<String> {
        self.webhook_key.clone().filter(|key| !key.is_empty())
    }
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
