//! E-mail against a mail server and a user service made for the test.

mod support;

use std::sync::{Arc, Mutex};

use kernel::{OrderId, UserId};
use notification_service::{Config, Service, SmtpChannel};
use proto::user::user_service_server::{UserService, UserServiceServer};
use proto::user::{Contact, GetContactRequest};
use support::{Fixture, id, order_confirmed, user_registered};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use web::auth::TokenVerifier;

const TOKEN: &str = "an-internal-token-of-32-characters";

#[tokio::test]
async fn an_e_mail_is_sent_with_a_stable_id_and_the_address_is_kept_nowhere() {
    let fixture = Fixture::new().await;
    let (ada, order) = (UserId(id()), OrderId(id()));
    // Not now, then it takes it.
    let server = MailServer::start(1).await;
    let service = start(&fixture, &server, Some(ada)).await;
    fixture.publish("order_events", vec![order_confirmed(order, ada)]).await;
    fixture.eventually_rows("sent", 2).await;

    let (refused, mails) = (server.refused(), server.mails());
    let [mail] = mails.as_slice() else { panic!("{mails:?}") };
    assert_eq!(mail.recipient, "<ada@example.org>");
    for line in ["To: Ada <ada@example.org>", "From: Sagashop <shop@example.org>", "Subject: Your order is confirmed"] {
        assert!(mail.text.contains(line), "{line} is not in\n{}", mail.text);
    }
    assert!(mail.text.contains("Hello Ada,") && mail.text.contains(&order.to_string()), "{}", mail.text);
    let [first] = refused.as_slice() else { panic!("{refused:?}") };
    assert_eq!(first.id(), mail.id());
    let found: String = sqlx::query_scalar("SELECT notification_id::text FROM notifications WHERE channel = 'email'")
        .fetch_one(&fixture.database.pool)
        .await
        .unwrap();
    assert_eq!(mail.id(), format!("<{found}@sagashop>"));

    let stored: String = sqlx::query_scalar("SELECT string_agg(e::text, ' ') FROM events e")
        .fetch_one(&fixture.database.pool)
        .await
        .unwrap();
    assert!(!stored.contains("ada@") && !stored.contains("Ada"), "{stored}");
    service.stop().await;
}

#[tokio::test]
async fn there_is_no_e_mail_for_a_user_who_is_gone() {
    let fixture = Fixture::new().await;
    let server = MailServer::start(0).await;
    let service = start(&fixture, &server, None).await;
    fixture.publish("user_events", vec![user_registered(UserId(id()))]).await;
    fixture.eventually_rows("gave_up", 1).await;
    assert!(server.mails().is_empty());
    service.stop().await;
}

#[tokio::test]
async fn a_configuration_that_cannot_work_is_refused_and_its_secrets_are_not_repeated() {
    let config = |token: Option<&str>, from: &str| Config {
        smtp: None,
        from: from.to_owned(),
        user_grpc: "localhost:1".to_owned(),
        internal_token: token.map(str::to_owned),
        edge: web::EdgeOptions::default(),
    };
    let fails = |url: &str, config: &Config| format!("{:#}", SmtpChannel::new(url, config).err().unwrap());
    let good = config(Some(TOKEN), "shop@example.org");
    let url = "smtp://user:hunter2@localhost:25";
    assert!(SmtpChannel::new(url, &good).is_ok());
    assert!(!fails("mail://user:hunter2@localhost", &good).contains("hunter2"));
    assert!(fails(url, &config(None, "shop@example.org")).contains("INTERNAL_TOKEN"));
    assert!(fails(url, &config(Some(TOKEN), "nobody")).contains("nobody"));
}

async fn start(fixture: &Fixture, server: &MailServer, known: Option<UserId>) -> support::Running {
    let (deps, (listeners, url)) = (fixture.deps(), fixture.listen().await);
    let shutdown = deps.shutdown.clone();
    let config = Config {
        smtp: Some(format!("smtp://{}", server.address)),
        from: "Sagashop <shop@example.org>".to_owned(),
        user_grpc: users(known, shutdown.clone()).await,
        internal_token: Some(TOKEN.to_owned()),
        edge: web::EdgeOptions::default(),
    };
    let verifier = TokenVerifier::of_signer(&fixture.signer);
    let service = Service::build(config, deps, listeners, verifier).await.unwrap();
    Fixture::run(service, url, shutdown)
}

/// A user service that knows one user.
async fn users(known: Option<UserId>, shutdown: CancellationToken) -> String {
    struct Users(Option<UserId>);

    #[tonic::async_trait]
    impl UserService for Users {
        async fn get_contact(&self, request: Request<GetContactRequest>) -> Result<Response<Contact>, Status> {
            let shown = request.metadata().get("authorization").and_then(|value| value.to_str().ok());
            if shown != Some(&format!("Bearer {TOKEN}")) {
                return Err(Status::unauthenticated("the internal token is needed"));
            }
            match self.0 {
                Some(user) if user.to_string() == request.get_ref().user_id => {
                    Ok(Response::new(Contact { name: "Ada".to_owned(), email: "ada@example.org".to_owned() }))
                }
                _ => Err(Status::not_found("there is no such user")),
            }
        }
    }

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let routes = tonic::service::Routes::new(UserServiceServer::new(Users(known)));
    tokio::spawn(web::grpc::serve(listener, routes, web::EdgeOptions::default(), shutdown));
    address
}

/// A mail as the server got it.
#[derive(Debug, Clone)]
struct Mail {
    recipient: String,
    text: String,
}

impl Mail {
    fn id(&self) -> String {
        self.text.lines().find_map(|line| line.strip_prefix("Message-ID: ")).unwrap_or_default().to_owned()
    }
}

/// As much SMTP as a client needs (RFC 5321). It refuses the first mails for the moment, after it has read them.
struct MailServer {
    address: String,
    kept: Arc<Mutex<Kept>>,
}

#[derive(Default)]
struct Kept {
    to_refuse: usize,
    refused: Vec<Mail>,
    mails: Vec<Mail>,
}

impl MailServer {
    async fn start(to_refuse: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let kept = Arc::new(Mutex::new(Kept { to_refuse, ..Kept::default() }));
        let shared = Arc::clone(&kept);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(talk(stream, Arc::clone(&shared)));
            }
        });
        Self { address, kept }
    }

    fn mails(&self) -> Vec<Mail> {
        self.kept.lock().unwrap().mails.clone()
    }

    fn refused(&self) -> Vec<Mail> {
        self.kept.lock().unwrap().refused.clone()
    }
}

async fn talk(stream: TcpStream, kept: Arc<Mutex<Kept>>) -> std::io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut lines = BufReader::new(reader).lines();
    let mut recipient = String::new();
    writer.write_all(b"220 test\r\n").await?;
    while let Some(line) = lines.next_line().await? {
        let answer: &[u8] = match line.split(' ').next().unwrap_or_default() {
            "EHLO" => b"250-test\r\n250 8BITMIME\r\n",
            "RCPT" => {
                recipient = line.trim_start_matches("RCPT TO:").to_owned();
                b"250 ok\r\n"
            }
            "DATA" => {
                writer.write_all(b"354 go on\r\n").await?;
                let mut text = String::new();
                while let Some(line) = lines.next_line().await?.filter(|line| line != ".") {
                    text.push_str(&line);
                    text.push('\n');
                }
                let mail = Mail { recipient: recipient.clone(), text };
                let mut kept = kept.lock().unwrap();
                if kept.to_refuse > 0 {
                    kept.to_refuse -= 1;
                    kept.refused.push(mail);
                    b"451 not now\r\n"
                } else {
                    kept.mails.push(mail);
                    b"250 taken\r\n"
                }
            }
            "QUIT" => {
                writer.write_all(b"221 bye\r\n").await?;
                return Ok(());
            }
            _ => b"250 ok\r\n",
        };
        writer.write_all(answer).await?;
    }
    Ok(())
}
