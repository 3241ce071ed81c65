//! A Kafka that wants TLS and a password.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use broker::{
    Broker, Error, FetchLimits, KafkaBroker, KafkaOptions, KafkaSasl, KafkaTls, Record, SaslMechanism, TopicPartition,
};
use bytes::Bytes;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use tempfile::TempDir;
use uuid::Uuid;

/// Tests publish as services do.
const LIVE: kernel::Live = kernel::Live::because("a test");

const USER: &str = "shop";
const PASSWORD: &str = "correct-horse-battery";

/// A Kafka of its own, that ends with it.
struct Secure {
    folder: TempDir,
    address: String,
}

impl Secure {
    fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        let (key_store, ca_file) = (folder.path().join("server.pem"), folder.path().join("ca.pem"));
        std::fs::write(&key_store, signing_key.serialize_pem() + &cert.pem()).unwrap();
        std::fs::write(&ca_file, cert.pem()).unwrap();
        // A port that is free now may be taken a moment later: then others are tried.
        let address = (0..5).find_map(|_| try_start(folder.path(), &key_store));
        Self { address: address.expect("no Kafka could be started"), folder }
    }

    fn options(&self, sasl: Option<(SaslMechanism, &str)>) -> KafkaOptions {
        let tls = KafkaTls::new(Some(&self.folder.path().join("ca.pem"))).unwrap();
        let sasl = sasl.map(|(mechanism, password)| KafkaSasl {
            mechanism,
            username: USER.to_owned(),
            password: password.to_owned(),
        });
        KafkaOptions { tls: Some(tls), sasl, connect_timeout: Duration::from_secs(3), ..KafkaOptions::default() }
    }

    fn connect(&self, options: KafkaOptions) -> KafkaBroker {
        KafkaBroker::connect(vec![self.address.clone()], options)
    }
}

impl Drop for Secure {
    fn drop(&mut self) {
        let _ = script().args(["stop", "--data"]).arg(data(self.folder.path())).status();
    }
}

fn script() -> Command {
    Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../compose/local/kafka"))
}

fn data(folder: &Path) -> PathBuf {
    folder.join("data")
}

/// The address of the secure listener.
fn try_start(folder: &Path, key_store: &Path) -> Option<String> {
    let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (plain, secure) = (free().min(65_000), free());
    let properties = folder.join("properties");
    let login = "org.apache.kafka.common.security";
    let text = format!(
        "listeners=PLAINTEXT://127.0.0.1:{plain},SASL_SSL://127.0.0.1:{secure},CONTROLLER://127.0.0.1:{controller}\n\
         advertised.listeners=PLAINTEXT://127.0.0.1:{plain},SASL_SSL://127.0.0.1:{secure}\n\
         listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL_SSL:SASL_SSL\n\
         ssl.keystore.type=PEM\nssl.keystore.location={key_store}\n\
         sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512\n\
         listener.name.sasl_ssl.plain.sasl.jaas.config={login}.plain.PlainLoginModule required user_{USER}=\"{PASSWORD}\";\n\
         listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config={login}.scram.ScramLoginModule required;\n\
         listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config={login}.scram.ScramLoginModule required;\n",
        controller = plain + 1,
        key_store = key_store.display(),
    );
    std::fs::write(&properties, text).unwrap();
    let scram = ["SCRAM-SHA-256", "SCRAM-SHA-512"];
    let users = scram.map(|mechanism| format!("--add-scram {mechanism}=[name={USER},password={PASSWORD}]")).join(" ");
    let started = script()
        .args(["start", "--port", &plain.to_string(), "--data"])
        .arg(data(folder))
        .arg("--properties")
        .arg(&properties)
        .env("KAFKA_FORMAT_OPTIONS", users)
        .env("KAFKA_HEAP_OPTS", "-Xms128m -Xmx256m")
        .status()
        .unwrap();
    started.success().then(|| format!("127.0.0.1:{secure}"))
}

async fn outcome(broker: &KafkaBroker) -> Result<Vec<Bytes>, Error> {
    let at = TopicPartition::new(format!("t-{}", Uuid::now_v7()).as_str(), 0);
    broker.ensure_topics(&[(at.topic.to_string(), 1)]).await?;
    // More than the client writes at once, so that it is cut into several records of TLS.
    let value = Bytes::from(vec![b'x'; 100_000]);
    let record = Record { key: "k".to_owned(), headers: BTreeMap::new(), value, timestamp_ms: 0 };
    broker.publish(LIVE.into(), vec![(at.clone(), vec![record])]).await?;
    let fetched = broker.fetch(&at, 0, FetchLimits::default()).await?;
    Ok(fetched.records.iter().map(|stored| stored.record.value.clone()).collect())
}

#[tokio::test]
async fn a_broker_is_used_inside_tls_by_who_has_the_password() {
    if testkit::kafka::broker().is_none() {
        return;
    }
    let kafka = tokio::task::spawn_blocking(Secure::start).await.unwrap();
    for mechanism in [SaslMechanism::Plain, SaslMechanism::ScramSha256, SaslMechanism::ScramSha512] {
        let good = kafka.connect(kafka.options(Some((mechanism, PASSWORD))));
        let values = outcome(&good).await.unwrap_or_else(|error| panic!("{mechanism:?}: {error}"));
        assert_eq!(values, [Bytes::from(vec![b'x'; 100_000])]);

        let wrong = kafka.connect(kafka.options(Some((mechanism, "wrong"))));
        let refused = outcome(&wrong).await.unwrap_err();
        assert!(matches!(refused, Error::Unavailable(_)), "{mechanism:?}: {refused:?}");
        assert!(!refused.to_string().contains("wrong"), "{refused}");
    }
    let nobody = kafka.connect(kafka.options(None));
    assert!(outcome(&nobody).await.is_err());
    let in_the_open = KafkaOptions { tls: None, ..kafka.options(Some((SaslMechanism::Plain, PASSWORD))) };
    assert!(outcome(&kafka.connect(in_the_open)).await.is_err());
    // Signed by nobody whom this client trusts.
    let other = TempDir::new().unwrap();
    let CertifiedKey { cert, .. } = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(other.path().join("ca.pem"), cert.pem()).unwrap();
    let tls = KafkaTls::new(Some(&other.path().join("ca.pem"))).unwrap();
    let distrustful = KafkaOptions { tls: Some(tls), ..kafka.options(Some((SaslMechanism::Plain, PASSWORD))) };
    assert!(outcome(&kafka.connect(distrustful)).await.is_err());
}
