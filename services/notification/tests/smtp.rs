//! E-mail against a mail server and a user service of the test's own. `smtpd.rs` has the same against one that others
//! wrote.

mod support;

use std::time::Duration;

use kernel::{OrderId, UserId};
use notification_service::{Config, Retry, SmtpChannel};
use serde_json::json;
use support::mail::{Mail, MailServer, Manner};
use support::users::{TOKEN, Users};
use support::{
    Fixture, PATIENCE, RETRY, Running, config, id, order_cancelled, order_confirmed, order_created, user_registered,
};
use testkit::eventually;
use web::auth::Role;

#[tokio::test]
async fn a_mail_is_sent_again_under_the_same_id_and_the_address_is_nowhere_stored() {
    let fixture = Fixture::new().await;
    let (ada, order) = (UserId(id()), OrderId(id()));
    // Not now, then it takes it.
    let server = MailServer::start(&[Manner::Refuse("451 not now, ada@example.org")]).await;
    let (service, users) = start(&fixture, &server).await;
    users.know(ada, "Ada", "ada@example.org");
    fixture.publish("order_events", vec![order_confirmed(order, ada)]).await;
    fixture.eventually_rows("sent", 2).await;

    let (refused, mails) = (server.refused(), server.mails());
    let [mail] = mails.as_slice() else { panic!("{mails:?}") };
    assert_eq!(mail.recipient, "<ada@example.org>");
    for line in ["To: Ada <ada@example.org>", "From: Sagashop <shop@example.org>", "Subject: Your order is confirmed"] {
        assert!(mail.text.contains(line), "{line} is not in\n{}", mail.text);
    }
    for part in [
        "Content-Type: text/plain",
        "Content-Type: text/html",
        "Auto-Submitted: auto-generated",
        "Hello Ada,",
        "20.50 EUR",
        &order.to_string(),
    ] {
        assert!(mail.text.contains(part), "{part} is not in\n{}", mail.text);
    }
    let [first] = refused.as_slice() else { panic!("{refused:?}") };
    assert_eq!(first.id(), mail.id());
    let found: String = sqlx::query_scalar("SELECT notification_id::text FROM notifications WHERE channel = 'email'")
        .fetch_one(&fixture.database.pool)
        .await
        .unwrap();
    assert_eq!(mail.id(), format!("<{found}@sagashop>"));

    let stored = fixture.stored().await;
    assert!(!stored.contains("ada@") && !stored.contains("Ada") && stored.contains("451"), "{stored}");
    service.stop().await;
}

#[tokio::test]
async fn a_user_who_is_gone_is_skipped_and_a_resend_skips_again() {
    let fixture = Fixture::new().await;
    let server = MailServer::start(&[]).await;
    let (service, users) = start(&fixture, &server).await;
    let (gone, back) = (UserId(id()), UserId(id()));
    fixture.publish("user_events", vec![user_registered(gone), user_registered(back)]).await;
    fixture.eventually_rows("skipped", 2).await;
    assert!(server.mails().is_empty());

    let admin = fixture.token(UserId(id()), Role::Admin);
    let (_, list) =
        fixture.call(&service, "GET", "/notifications?status=skipped&channel=email", Some(&admin), None).await;
    let list = list.as_array().unwrap().clone();
    assert!(list.iter().all(|one| one["why"] == json!("user_deleted")), "{list:?}");
    users.know(back, "Bo", "bo@example.org");
    for one in &list {
        let path = format!("/notifications/{}/resend", one["id"].as_str().unwrap());
        let (status, body) = fixture.call(&service, "POST", &path, Some(&admin), None).await;
        assert_eq!((status, &body["status"]), (202, &json!("queued")));
    }
    eventually(PATIENCE, async || server.mails().len() == 1).await;
    assert_eq!(server.mails()[0].recipient, "<bo@example.org>");
    fixture.eventually_rows("skipped", 1).await;
    let path = format!("/notifications?user_id={gone}");
    let (_, list) = fixture.call(&service, "GET", &path, Some(&admin), None).await;
    assert_eq!(list.as_array().unwrap().iter().filter(|one| one["status"] == json!("skipped")).count(), 1);
    service.stop().await;
}

#[tokio::test]
async fn a_recipient_that_is_refused_for_good_fails_at_once_and_is_listed() {
    let fixture = Fixture::new().await;
    let server = MailServer::start(&[Manner::RefuseRecipient]).await;
    let (service, users) = start(&fixture, &server).await;
    let ada = UserId(id());
    users.know(ada, "Ada", "ada@example.org");
    fixture.publish("user_events", vec![user_registered(ada)]).await;
    fixture.eventually_rows("failed", 1).await;
    assert_eq!((server.mails().len(), server.recipients()), (0, 1));

    let admin = fixture.token(UserId(id()), Role::Admin);
    let (_, list) = fixture.call(&service, "GET", "/notifications?status=failed", Some(&admin), None).await;
    let [failed] = list.as_array().unwrap().as_slice() else { panic!("{list}") };
    assert_eq!((&failed["why"], &failed["attempts"]), (&json!("refused"), &json!(1)));
    // What the mailbox' owner sees of it: the steps, and no words of the mail server.
    let path = format!("/notifications/{}", failed["id"].as_str().unwrap());
    let (status, story) = fixture.call(&service, "GET", &path, Some(&fixture.token(ada, Role::Customer)), None).await;
    assert_eq!((status, &story["history"][1]["step"]), (200, &json!("failed")), "{story}");
    assert_eq!(story["history"][1]["code"], json!(550));
    assert!(!story.to_string().contains("ada@") && !fixture.stored().await.contains("no such user here"));
    // Once the mailbox is there it is sent, under its own id.
    let (status, _) = fixture.call(&service, "POST", &format!("{path}/resend"), Some(&admin), None).await;
    assert_eq!(status, 202);
    eventually(PATIENCE, async || server.mails().len() == 1).await;
    assert_eq!(server.mails()[0].id(), format!("<{}@sagashop>", failed["id"].as_str().unwrap()));
    service.stop().await;
}

#[tokio::test]
async fn a_server_that_dies_before_it_answers_gets_the_mail_again_under_the_same_id() {
    let fixture = Fixture::new().await;
    let server = MailServer::start(&[Manner::DieAfterTaking, Manner::DieAfterTaking]).await;
    let (service, users) = start(&fixture, &server).await;
    let ada = UserId(id());
    users.know(ada, "Ada", "ada@example.org");
    fixture.publish("user_events", vec![user_registered(ada)]).await;
    fixture.eventually_rows("sent", 2).await;
    let ids: Vec<String> = server.mails().iter().map(Mail::id).collect();
    assert_eq!(ids.len(), 3);
    assert!(ids.iter().all(|id| *id == ids[0] && !id.is_empty()), "{ids:?}");
    service.stop().await;
}

#[tokio::test]
async fn no_address_and_no_name_is_logged() {
    let log = support::log::logged();
    let fixture = Fixture::new().await;
    let refusals = [
        Manner::Refuse("451 later, ada@example.org"),
        Manner::DieAfterTaking,
        Manner::RefuseRecipient,
        Manner::Refuse("554 Ada"),
    ];
    let server = MailServer::start(&refusals).await;
    let (service, users) = start(&fixture, &server).await;
    for _ in 0..3 {
        let ada = UserId(id());
        users.know(ada, "Ada", "ada@example.org");
        fixture.publish("user_events", vec![user_registered(ada)]).await;
    }
    fixture.publish("user_events", vec![user_registered(UserId(id()))]).await;
    eventually(PATIENCE, async || fixture.rows("queued").await + fixture.rows("retrying").await == 0).await;
    eventually(PATIENCE, async || fixture.rows("skipped").await == 1).await;
    service.stop().await;
    let log = log.text();
    assert!(log.contains("a notification was not sent") && log.contains("customer notified"), "{log}");
    assert!(!log.contains("ada@") && !log.contains("Ada"), "{log}");
}

#[tokio::test]
async fn mails_share_connections() {
    let fixture = Fixture::new().await;
    let server = MailServer::start(&[]).await;
    let (service, users) = start(&fixture, &server).await;
    for _ in 0..5 {
        let ada = UserId(id());
        users.know(ada, "Ada", "ada@example.org");
        let before = server.mails().len();
        fixture.publish("user_events", vec![user_registered(ada)]).await;
        eventually(PATIENCE, async || server.mails().len() == before + 1).await;
    }
    fixture.eventually_rows("sent", 10).await;
    assert_eq!(server.connections(), 1);
    service.stop().await;
}

#[tokio::test]
async fn a_send_that_is_given_up_takes_its_connection_along() {
    let fixture = Fixture::new().await;
    // Takes the first mail, and then says nothing for longer than an attempt may take.
    let server = MailServer::start(&[Manner::Hang]).await;
    let users = Users::start().await;
    let channel = SmtpChannel::new(&server.url(), &mail_config(&server, &users)).unwrap();
    let ada = UserId(id());
    users.know(ada, "Ada", "ada@example.org");
    let letter = domain::notification::Letter {
        channel: domain::notification::Channel::Email,
        recipient: ada,
        template: "order_confirmed".to_owned(),
        order_id: Some(OrderId(id())),
        webhook_id: None,
        amount: None,
        reason: None,
    };
    let (one, two) = (letter.id(id()), letter.id(id()));
    let notice = |id| notification_service::Notice { id, letter: &letter, queued_at: support::now() };
    let send =
        async |id| notification_service::Channel::send(&channel, kernel::Live::because("a test"), notice(id)).await;
    assert!(tokio::time::timeout(Duration::from_millis(500), send(one)).await.is_err());
    send(two).await.unwrap();
    let sent: Vec<String> = server.mails().iter().map(Mail::id).collect();
    assert_eq!((sent, server.connections()), (vec![format!("<{two}@sagashop>")], 2));
    drop(fixture);
}

#[tokio::test]
async fn what_a_customer_has_turned_off_is_not_sent() {
    let fixture = Fixture::new().await;
    let server = MailServer::start(&[]).await;
    let (service, users) = start(&fixture, &server).await;
    let (ada, order) = (UserId(id()), OrderId(id()));
    users.know(ada, "Ada", "ada@example.org");
    let token = fixture.token(ada, Role::Customer);
    let wish = json!({ "preferences": [{ "kind": "order_created", "channel": "email", "enabled": false }] });
    let (status, chosen) = fixture.call(&service, "PUT", "/notifications/preferences", Some(&token), Some(wish)).await;
    assert_eq!(status, 200, "{chosen}");
    fixture.publish("order_events", vec![order_created(order, ada), order_cancelled(order, ada, "out_of_stock")]).await;
    fixture.eventually_rows("skipped", 1).await;
    fixture.eventually_rows("sent", 3).await;
    let mails = server.mails();
    let [mail] = mails.as_slice() else { panic!("{mails:?}") };
    assert!(mail.text.contains("Subject: Your order is cancelled") && mail.text.contains("in stock"), "{}", mail.text);
    service.stop().await;
}

#[tokio::test]
async fn a_name_cannot_add_headers_or_markup() {
    let fixture = Fixture::new().await;
    let server = MailServer::start(&[]).await;
    let (service, users) = start(&fixture, &server).await;
    let eve = UserId(id());
    users.know(eve, "Eve\r\nBcc: all@example.org\r\n\r\n<script>alert(\"1\")</script>", "eve@example.org");
    fixture.publish("user_events", vec![user_registered(eve)]).await;
    fixture.eventually_rows("sent", 2).await;
    let mails = server.mails();
    let [mail] = mails.as_slice() else { panic!("{mails:?}") };
    assert!(!mail.text.lines().any(|line| line.to_ascii_lowercase().starts_with("bcc:")), "{}", mail.text);
    let html = &mail.text[mail.text.find("text/html").unwrap()..];
    assert!(!html.contains("<script"), "{html}");
    assert_eq!(server.recipients(), 1);
    service.stop().await;
}

#[tokio::test]
async fn a_configuration_that_cannot_work_is_refused_and_its_secrets_are_not_repeated() {
    let with = |token: Option<&str>, from: &str| Config {
        from: from.to_owned(),
        user_grpc: "localhost:1".to_owned(),
        internal_token: token.map(str::to_owned),
        ..config()
    };
    let fails = |url: &str, config: &Config| format!("{:#}", SmtpChannel::new(url, config).err().unwrap());
    let good = with(Some(TOKEN), "shop@example.org");
    let url = "smtp://user:hunter2@localhost:25";
    assert!(SmtpChannel::new(url, &good).is_ok());
    assert!(!fails("mail://user:hunter2@localhost", &good).contains("hunter2"));
    assert!(fails(url, &with(None, "shop@example.org")).contains("INTERNAL_TOKEN"));
    assert!(fails(url, &with(Some(TOKEN), "nobody")).contains("nobody"));
    let no_such_file = Config { smtp_ca: Some("/nowhere.pem".into()), ..good };
    assert!(fails("smtps://localhost", &no_such_file).contains("/nowhere.pem"));
}

fn mail_config(server: &MailServer, users: &Users) -> Config {
    Config {
        smtp: Some(server.url()),
        from: "Sagashop <shop@example.org>".to_owned(),
        user_grpc: users.address.clone(),
        internal_token: Some(TOKEN.to_owned()),
        retry: Retry { attempts_max: 6, ..RETRY },
        ..config()
    }
}

async fn start(fixture: &Fixture, server: &MailServer) -> (Running, Users) {
    let users = Users::start().await;
    (fixture.start_configured(mail_config(server, &users)).await, users)
}
