//! The flags of Kafka.

use super::ServerArgs;
use anyhow::{Context, bail};
use broker::{KafkaBroker, KafkaOptions, KafkaSasl, KafkaTls, SaslMechanism};
use clap::ValueEnum;
use std::path::PathBuf;

/// How Kafka is spoken to.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct KafkaArgs {
    /// Speak TLS with Kafka.
    #[arg(long, env = "KAFKA_TLS")]
    pub kafka_tls: bool,
    /// A PEM file with the certificates that Kafka's is checked against, instead of the system's.
    #[arg(long, value_name = "FILE", env = "KAFKA_CA_FILE")]
    pub kafka_ca_file: Option<PathBuf>,
    /// How Kafka is shown the password.
    #[arg(long, value_name = "MECHANISM", value_enum, env = "KAFKA_SASL_MECHANISM", ignore_case = true)]
    pub kafka_sasl_mechanism: Option<Mechanism>,
    /// Who this is to Kafka.
    #[arg(long, value_name = "NAME", env = "KAFKA_SASL_USERNAME")]
    pub kafka_sasl_username: Option<String>,
    /// Its password.
    #[arg(long, value_name = "PASSWORD", env = "KAFKA_SASL_PASSWORD", hide_env_values = true)]
    pub kafka_sasl_password: Option<String>,
}

/// How a password is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mechanism {
    /// As it is; only with TLS.
    #[value(name = "PLAIN")]
    Plain,
    /// Without giving it away.
    #[value(name = "SCRAM-SHA-256")]
    ScramSha256,
    /// The same with a longer hash.
    #[value(name = "SCRAM-SHA-512")]
    ScramSha512,
}

impl ServerArgs {
    /// Kafka, where one is named.
    ///
    /// # Errors
    /// Settings that do not go together, or certificates that cannot be read.
    pub fn kafka(&self) -> anyhow::Result<Option<KafkaBroker>> {
        let Some(brokers) = self.kafka_broker.as_ref().filter(|text| !text.is_empty()) else { return Ok(None) };
        let brokers = brokers.split(',').map(|address| address.trim().to_owned()).collect();
        Ok(Some(KafkaBroker::connect(brokers, self.kafka.options()?)))
    }
}

impl KafkaArgs {
    fn options(&self) -> anyhow::Result<KafkaOptions> {
        let ca_file = self.kafka_ca_file.as_deref().filter(|path| !path.as_os_str().is_empty());
        let tls = match (self.kafka_tls, ca_file) {
            (true, ca_file) => Some(KafkaTls::new(ca_file).context("TLS to Kafka cannot be used")?),
            (false, Some(_)) => bail!("KAFKA_CA_FILE is set, and KAFKA_TLS is not"),
            (false, None) => None,
        };
        let sasl = self.sasl()?;
        if tls.is_none() && sasl.as_ref().is_some_and(|sasl| sasl.mechanism == SaslMechanism::Plain) {
            bail!(
                "KAFKA_SASL_MECHANISM=PLAIN shows the password to all on the way: set KAFKA_TLS, or use SCRAM-SHA-512"
            );
        }
        Ok(KafkaOptions { tls, sasl, ..KafkaOptions::default() })
    }

    fn sasl(&self) -> anyhow::Result<Option<KafkaSasl>> {
        let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let (name, password) = (given(&self.kafka_sasl_username), given(&self.kafka_sasl_password));
        let mechanism = match self.kafka_sasl_mechanism {
            Some(Mechanism::Plain) => SaslMechanism::Plain,
            Some(Mechanism::ScramSha256) => SaslMechanism::ScramSha256,
            Some(Mechanism::ScramSha512) => SaslMechanism::ScramSha512,
            None if name.is_some() || password.is_some() => {
                bail!("KAFKA_SASL_USERNAME or _PASSWORD is set, and KAFKA_SASL_MECHANISM is not")
            }
            None => return Ok(None),
        };
        let username = name.context("KAFKA_SASL_MECHANISM needs KAFKA_SASL_USERNAME")?;
        let password = password.context("KAFKA_SASL_MECHANISM needs KAFKA_SASL_PASSWORD")?;
        Ok(Some(KafkaSasl { mechanism, username, password }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sasl(mechanism: Mechanism) -> KafkaArgs {
        KafkaArgs {
            kafka_sasl_mechanism: Some(mechanism),
            kafka_sasl_username: Some("shop".to_owned()),
            kafka_sasl_password: Some("hunter2".to_owned()),
            ..KafkaArgs::default()
        }
    }

    #[test]
    fn what_does_not_go_together_is_refused_by_name() {
        let refusal = |args: KafkaArgs| format!("{:#}", args.options().unwrap_err());
        assert!(refusal(KafkaArgs { kafka_sasl_password: None, ..sasl(Mechanism::ScramSha256) }).contains("_PASSWORD"));
        assert!(refusal(KafkaArgs { kafka_sasl_mechanism: None, ..sasl(Mechanism::Plain) }).contains("_MECHANISM"));
        assert!(refusal(sasl(Mechanism::Plain)).contains("KAFKA_TLS"));
        let ca_file = Some(PathBuf::from("/nowhere/ca.pem"));
        assert!(refusal(KafkaArgs { kafka_ca_file: ca_file.clone(), ..KafkaArgs::default() }).contains("KAFKA_TLS"));
        let absent = KafkaArgs { kafka_tls: true, kafka_ca_file: ca_file, ..KafkaArgs::default() };
        assert!(refusal(absent).contains("/nowhere/ca.pem"));
    }

    #[test]
    fn nothing_said_is_as_before_and_scram_needs_no_tls() {
        let options = KafkaArgs::default().options().unwrap();
        assert!(options.tls.is_none() && options.sasl.is_none());
        let sasl = sasl(Mechanism::ScramSha512).options().unwrap().sasl.unwrap();
        assert_eq!((sasl.mechanism, sasl.username.as_str()), (SaslMechanism::ScramSha512, "shop"));
    }
}
