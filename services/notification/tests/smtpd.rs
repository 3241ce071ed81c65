//! E-mail against aiosmtpd, a mail server that others wrote, as a process of its own.
//!
//! `AIOSMTPD_PYTHON` names a Python that has it (`.ci/with-smtpd` makes one); without it the tests say that they are
//! skipped. Where it is required (`SAGASHOP_REQUIRE_AIOSMTPD=1`), its absence is a failure.

mod support;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use kernel::{OrderId, UserId};
use notification_service::{Config, Retry};
use serde_json::{Value, json};
use support::users::{TOKEN, Users};
use support::{Fixture, PATIENCE, RETRY, Running, config, id, order_confirmed, user_registered};
use testkit::eventually;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

#[tokio::test]
async fn a_mail_arrives_once_over_starttls_with_a_password() {
    let Some(python) = python() else { return };
    let tls = Certificates::make();
    let server = Server::start(&python, 0, &tls.arguments("starttls", true)).await;
    let url = format!("smtp://shop:pass%2Fword@localhost:{}?tls=required", server.port);
    arrives(server, &url, &tls).await;
}

#[tokio::test]
async fn a_mail_arrives_once_over_tls_from_the_first_byte() {
    let Some(python) = python() else { return };
    let tls = Certificates::make();
    let server = Server::start(&python, 0, &tls.arguments("implicit", true)).await;
    let url = format!("smtps://shop:pass%2Fword@localhost:{}", server.port);
    arrives(server, &url, &tls).await;
}

async fn arrives(server: Server, url: &str, tls: &Certificates) {
    let fixture = Fixture::new().await;
    let (service, users) = start(&fixture, Config { smtp_ca: Some(tls.ca()), ..mail(url) }).await;
    let (zoe, order) = (UserId(id()), OrderId(id()));
    users.know(zoe, "Zoë Ångström", "zoe@example.org");
    fixture.publish("order_events", vec![order_confirmed(order, zoe)]).await;
    fixture.eventually_rows("sent", 2).await;
    let mails = server.mails();
    let [mail] = mails.as_slice() else { panic!("{mails:?}") };
    assert_eq!(
        (&mail["to"], &mail["tls"], &mail["authenticated"]),
        (&json!(["zoe@example.org"]), &json!(true), &json!(true))
    );
    let text = mail["text"].as_str().unwrap();
    assert!(text.contains("Subject: Your order is confirmed") && text.contains("multipart/alternative"), "{text}");
    assert!(text.contains("To: =?utf-8?"), "the name is not encoded: {text}");
    assert_eq!(server.told("login"), [json!(true)]);
    service.stop().await;
}

#[tokio::test]
async fn a_server_whose_certificate_is_not_known_gets_no_mail_and_no_password() {
    let Some(python) = python() else { return };
    let tls = Certificates::make();
    let server = Server::start(&python, 0, &tls.arguments("starttls", true)).await;
    let fixture = Fixture::new().await;
    let url = format!("smtp://shop:pass%2Fword@localhost:{}?tls=required", server.port);
    let (service, users) = start(&fixture, mail(&url)).await;
    let ada = UserId(id());
    users.know(ada, "Ada", "ada@example.org");
    fixture.publish("user_events", vec![user_registered(ada)]).await;
    fixture.eventually_rows("failed", 1).await;
    assert!(server.mails().is_empty() && server.told("login").is_empty());
    service.stop().await;
}

#[tokio::test]
async fn a_wrong_password_is_tried_again_within_bounds_and_stored_nowhere() {
    let Some(python) = python() else { return };
    let tls = Certificates::make();
    let server = Server::start(&python, 0, &tls.arguments("implicit", true)).await;
    let fixture = Fixture::new().await;
    let url = format!("smtps://shop:hunter2@localhost:{}", server.port);
    let (service, users) = start(&fixture, Config { smtp_ca: Some(tls.ca()), ..mail(&url) }).await;
    let ada = UserId(id());
    users.know(ada, "Ada", "ada@example.org");
    fixture.publish("user_events", vec![user_registered(ada)]).await;
    fixture.eventually_rows("failed", 1).await;
    assert_eq!(server.told("login"), vec![json!(false); RETRY.attempts_max as usize]);
    let stored = fixture.stored().await;
    assert!(stored.contains("refused_for_now") && stored.contains("535") && !stored.contains("hunter2"), "{stored}");
    service.stop().await;
}

#[tokio::test]
async fn a_server_that_was_away_gets_its_mail_when_it_is_back() {
    let Some(python) = python() else { return };
    let server = Server::start(&python, 0, &[]).await;
    let port = server.port;
    let fixture = Fixture::new().await;
    let patient = Retry { attempts_max: 200, ..RETRY };
    let (service, users) =
        start(&fixture, Config { retry: patient, ..mail(&format!("smtp://localhost:{port}")) }).await;
    let [before, meanwhile] = [UserId(id()), UserId(id())];
    users.know(before, "Ada", "ada@example.org");
    users.know(meanwhile, "Bo", "bo@example.org");
    fixture.publish("user_events", vec![user_registered(before)]).await;
    fixture.eventually_rows("sent", 2).await;
    assert_eq!(server.mails().len(), 1);

    server.kill().await;
    fixture.publish("user_events", vec![user_registered(meanwhile)]).await;
    fixture.eventually_rows("retrying", 1).await;
    let server = Server::start(&python, port, &[]).await;
    fixture.eventually_rows("sent", 4).await;
    assert_eq!(server.mails().iter().map(|mail| mail["to"].clone()).collect::<Vec<_>>(), [json!(["bo@example.org"])]);
    service.stop().await;
}

#[tokio::test]
async fn a_recipient_that_is_refused_fails_at_once_and_connections_are_shared() {
    let Some(python) = python() else { return };
    let server = Server::start(&python, 0, &[]).await;
    let fixture = Fixture::new().await;
    let (service, users) = start(&fixture, mail(&format!("smtp://127.0.0.1:{}", server.port))).await;
    for number in 1..=4 {
        let ada = UserId(id());
        users.know(ada, "Ada", "ada@example.org");
        fixture.publish("user_events", vec![user_registered(ada)]).await;
        eventually(PATIENCE, async || server.mails().len() == number).await;
    }
    fixture.eventually_rows("sent", 8).await;
    assert_eq!(server.told("connection"), [json!(1)]);
    let gone = UserId(id());
    users.know(gone, "Nobody", "nobody@example.org");
    fixture.publish("user_events", vec![user_registered(gone)]).await;
    fixture.eventually_rows("failed", 1).await;
    let (why, attempts): (String, i32) =
        sqlx::query_as("SELECT why, attempts FROM notifications WHERE status = 'failed'")
            .fetch_one(&fixture.database.pool)
            .await
            .unwrap();
    assert_eq!((&*why, attempts), ("refused", 1));
    assert!(!fixture.stored().await.contains("nobody@"));
    service.stop().await;
}

fn mail(url: &str) -> Config {
    Config { smtp: Some(url.to_owned()), internal_token: Some(TOKEN.to_owned()), ..config() }
}

async fn start(fixture: &Fixture, config: Config) -> (Running, Users) {
    let users = Users::start().await;
    let config = Config { user_grpc: users.address.clone(), ..config };
    (fixture.start_configured(config).await, users)
}

/// The Python that has aiosmtpd.
fn python() -> Option<PathBuf> {
    let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let python = variable("AIOSMTPD_PYTHON").map(PathBuf::from);
    if python.is_none() {
        assert!(
            variable("SAGASHOP_REQUIRE_AIOSMTPD").is_none_or(|value| value == "0"),
            "SAGASHOP_REQUIRE_AIOSMTPD is set but AIOSMTPD_PYTHON is not: run the tests under .ci/with-smtpd"
        );
        let test = std::thread::current().name().unwrap_or("test").to_owned();
        eprintln!("skipped: {test} needs a Python with aiosmtpd in AIOSMTPD_PYTHON");
    }
    python
}

/// A certificate for `localhost` and the authority that it is from.
struct Certificates(tempfile::TempDir);

impl Certificates {
    fn make() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        authority.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
        let authority_key = rcgen::KeyPair::generate().unwrap();
        let root = authority.self_signed(&authority_key).unwrap();
        let issuer = rcgen::Issuer::new(authority, authority_key);
        let key = rcgen::KeyPair::generate().unwrap();
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let certificate = rcgen::CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
        let write = |name: &str, text: String| std::fs::write(folder.path().join(name), text).unwrap();
        write("ca.pem", root.pem());
        write("cert.pem", certificate.pem());
        write("key.pem", key.serialize_pem());
        Self(folder)
    }

    fn ca(&self) -> PathBuf {
        self.0.path().join("ca.pem")
    }

    /// The server's arguments for TLS of this kind, and for a password if one is needed.
    fn arguments(&self, kind: &str, password: bool) -> Vec<String> {
        let file = |name: &str| self.0.path().join(name).display().to_string();
        let (cert, key) = (file("cert.pem"), file("key.pem"));
        let mut all = vec!["--tls".to_owned(), kind.to_owned(), "--cert".to_owned(), cert, "--key".to_owned(), key];
        if password {
            all.extend(["--user", "shop", "--password", "pass/word"].map(str::to_owned));
        }
        all
    }
}

/// The server's process, ended when it is dropped.
struct Server {
    port: u16,
    process: Child,
    told: Arc<Mutex<Vec<Value>>>,
}

impl Server {
    async fn start(python: &Path, port: u16, arguments: &[String]) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/smtpd/server.py");
        let mut process = Command::new(python)
            .arg(script)
            .args(["--port", &port.to_string()])
            .args(arguments)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let first = tokio::time::timeout(PATIENCE, lines.next_line()).await.unwrap().unwrap().unwrap();
        let first: Value = serde_json::from_str(&first).unwrap();
        let told = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&told);
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                shared.lock().unwrap().push(serde_json::from_str(&line).unwrap());
            }
        });
        Self { port: first["port"].as_u64().unwrap().try_into().unwrap(), process, told }
    }

    async fn kill(mut self) {
        self.process.kill().await.unwrap();
    }

    /// What it told of this.
    fn told(&self, what: &str) -> Vec<Value> {
        self.told.lock().unwrap().iter().filter_map(|line| line.get(what).cloned()).collect()
    }

    fn mails(&self) -> Vec<Value> {
        self.told("mail")
    }
}
