//! The client behind all connections, and its replacement when it does not answer.

use std::sync::Arc;
use std::time::Duration;

use rskafka::BackoffConfig;
use rskafka::client::error::{Error as ClientError, ProtocolError};
use rskafka::client::partition::{PartitionClient, UnknownTopicHandling};
use rskafka::client::{Client, ClientBuilder};
use rskafka::topic::Topic;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout};

use super::{KafkaOptions, KafkaSasl, KafkaTls};
use crate::{Error, TopicPartition};

/// The client's own retries. They help over a change of leaders and a connection that was closed
/// while idle; what takes longer is the caller's to retry. (By default it retries for ever, with
/// pauses of minutes.)
fn retries() -> BackoffConfig {
    BackoffConfig {
        init_backoff: Duration::from_millis(50),
        max_backoff: Duration::from_millis(500),
        base: 2.0,
        deadline: Some(Duration::from_secs(2)),
    }
}

pub(super) struct Session {
    brokers: Vec<String>,
    connect_timeout: Duration,
    call_timeout: Duration,
    tls: Option<KafkaTls>,
    sasl: Option<KafkaSasl>,
    client: Mutex<Option<Arc<Client>>>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("brokers", &self.brokers).finish_non_exhaustive()
    }
}

impl Session {
    pub(super) fn new(brokers: Vec<String>, options: &KafkaOptions) -> Self {
        Self {
            brokers,
            connect_timeout: options.connect_timeout,
            call_timeout: options.call_timeout,
            tls: options.tls.clone(),
            sasl: options.sasl.clone(),
            client: Mutex::new(None),
        }
    }

    fn builder(&self) -> ClientBuilder {
        let mut builder = ClientBuilder::new(self.brokers.clone()).client_id("sagashop").backoff_config(retries());
        if let Some(tls) = &self.tls {
            builder = builder.tls_config(tls.config());
        }
        if let Some(sasl) = &self.sasl {
            builder = builder.sasl_config(sasl.config());
        }
        builder
    }

    async fn client(&self) -> Result<Arc<Client>, Error> {
        let mut current = self.client.lock().await;
        if let Some(client) = &*current {
            return Ok(Arc::clone(client));
        }
        match timeout(self.connect_timeout, self.builder().build()).await {
            Ok(Ok(client)) => Ok(Arc::clone(current.insert(Arc::new(client)))),
            Ok(Err(error)) => Err(unavailable(&error)),
            Err(_) => Err(silent(self.connect_timeout)),
        }
    }

    /// Runs one call on the client. One that fails or does not answer is replaced at the next call.
    async fn with<T>(
        &self,
        limit: Duration,
        call: impl AsyncFnOnce(&Client) -> Result<T, ClientError>,
    ) -> Result<T, Trouble> {
        // The wait for another's attempt to connect counts as well.
        let client = timeout(limit, self.client()).await.map_err(|_| Trouble::Lost(silent(limit)))?;
        let client = client.map_err(Trouble::Lost)?;
        let trouble = match timeout(limit, call(&client)).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error @ (ClientError::ServerError { .. } | ClientError::InvalidResponse(_)))) => {
                return Err(Trouble::Refused(error));
            }
            Ok(Err(error)) => Trouble::Lost(unavailable(&error)),
            Err(_) => Trouble::Lost(silent(limit)),
        };
        let mut current = self.client.lock().await;
        if current.as_ref().is_some_and(|current| Arc::ptr_eq(current, &client)) {
            *current = None;
        }
        Err(trouble)
    }

    /// A new connection to the leader of a partition.
    pub(super) async fn partition(&self, of: &TopicPartition) -> Result<PartitionClient, Error> {
        let connected = self
            .with(self.connect_timeout, async |client| {
                client.partition_client(&*of.topic, of.partition, UnknownTopicHandling::Error).await
            })
            .await;
        match connected {
            Ok(client) => Ok(client),
            // The client's words for a partition that its topic does not have.
            Err(Trouble::Refused(ClientError::InvalidResponse(_))) if !self.exists(of).await? => {
                Err(Error::UnknownPartition(of.clone()))
            }
            Err(Trouble::Refused(error)) => Err(error_of(of, &error)),
            Err(Trouble::Lost(error)) => Err(error),
        }
    }

    async fn topics(&self) -> Result<Vec<Topic>, Error> {
        self.with(self.call_timeout, async |client| client.list_topics().await).await.map_err(Trouble::into_error)
    }

    async fn exists(&self, of: &TopicPartition) -> Result<bool, Error> {
        let topics = self.topics().await?;
        Ok(topics.iter().any(|topic| topic.name == *of.topic && topic.partitions.contains(&of.partition)))
    }

    /// Makes the topics that are missing, and returns the partitions of those.
    pub(super) async fn ensure_topics(
        &self,
        wanted: &[(String, i32)],
        replication: i16,
    ) -> Result<Vec<TopicPartition>, Error> {
        let missing = missing(&self.topics().await?, wanted)?;
        for (topic, partitions) in &missing {
            self.create(topic, *partitions, replication).await?;
        }
        let deadline = Instant::now() + self.call_timeout;
        // Checked again: another process may have made it, with another number of partitions.
        while let Some((topic, _)) = self::missing(&self.topics().await?, wanted)?.first() {
            if Instant::now() >= deadline {
                return Err(Error::Unavailable(format!("topic {topic} was made but does not appear")));
            }
            sleep(Duration::from_millis(20)).await;
        }
        let partitions = missing.iter().flat_map(|(topic, partitions)| {
            (0..*partitions).map(move |partition| TopicPartition::new(topic.as_str(), partition))
        });
        Ok(partitions.collect())
    }

    async fn create(&self, topic: &str, partitions: i32, replication: i16) -> Result<(), Error> {
        let timeout_ms = i32::try_from(self.call_timeout.as_millis()).unwrap_or(i32::MAX);
        let created = self
            .with(self.call_timeout, async |client| {
                client.controller_client()?.create_topic(topic, partitions, replication, timeout_ms).await
            })
            .await;
        match created {
            Ok(())
            | Err(Trouble::Refused(ClientError::ServerError {
                protocol_error: ProtocolError::TopicAlreadyExists,
                ..
            })) => Ok(()),
            Err(trouble) => Err(trouble.into_error()),
        }
    }
}

enum Trouble {
    /// The broker has answered, with an error.
    Refused(ClientError),
    /// It has not, and the client is given up.
    Lost(Error),
}

impl Trouble {
    fn into_error(self) -> Error {
        match self {
            Self::Refused(error) => unavailable(&error),
            Self::Lost(error) => error,
        }
    }
}

fn missing(topics: &[Topic], wanted: &[(String, i32)]) -> Result<Vec<(String, i32)>, Error> {
    let mut missing = Vec::new();
    for (topic, partitions) in wanted {
        let found = topics.iter().find(|found| found.name == *topic);
        match found.map(|found| i32::try_from(found.partitions.len()).unwrap_or(i32::MAX)) {
            None => missing.push((topic.clone(), *partitions)),
            Some(found) if found != *partitions => {
                return Err(Error::WrongPartitionCount { topic: topic.clone(), wanted: *partitions, found });
            }
            Some(_) => {}
        }
    }
    Ok(missing)
}

pub(super) fn error_of(of: &TopicPartition, error: &ClientError) -> Error {
    match error {
        ClientError::ServerError { protocol_error: ProtocolError::UnknownTopicOrPartition, .. } => {
            Error::UnknownPartition(of.clone())
        }
        error => unavailable(error),
    }
}

pub(super) fn silent(limit: Duration) -> Error {
    Error::Unavailable(format!("no answer from Kafka within {limit:?}"))
}

fn unavailable(error: &ClientError) -> Error {
    Error::Unavailable(error.to_string())
}
