//! E-mail over SMTP. The address is asked of the user service at the moment of use, and neither kept nor logged.

mod contacts;
mod pool;
mod server;

use anyhow::Context;
use async_trait::async_trait;
use domain::notification::{Channel as Kind, Failure};
use kernel::Live;
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart};
use lettre::transport::smtp::response::Category;
use lettre::{Address, Message};
use proto::user::Contact;

use crate::channel::{Channel, Notice, Unsent};
use crate::config::Config;
use crate::templates::{self, Rendered};

use contacts::Contacts;
use pool::Pool;
use server::Server;

/// Sends e-mails.
pub struct SmtpChannel {
    pool: Pool,
    from: Mailbox,
    contacts: Contacts,
}

impl SmtpChannel {
    /// Sends through the server of this URL.
    ///
    /// # Errors
    /// If the URL, the sender or the user service's address cannot be read, there is no internal token, or the URL has a
    /// password and would have it sent in the clear.
    pub fn new(url: &str, config: &Config) -> anyhow::Result<Self> {
        let from = config.from.parse().with_context(|| format!("{:?} is no sender of e-mails", config.from))?;
        let server = Server::parse(url, config.smtp_ca.as_deref())?;
        Ok(Self { pool: Pool::new(server), from, contacts: Contacts::new(config)? })
    }

    fn mail(&self, notice: Notice<'_>, contact: &Contact) -> Result<Message, Failure> {
        let address: Address = contact.email.parse().map_err(|_| Failure::NoRecipient)?;
        let Rendered { subject, text, html } = templates::render(notice.letter, &contact.name).map_err(|error| {
            tracing::error!(notification.id = %notice.id, %error, "a text cannot be made");
            Failure::Other
        })?;
        let mut mail = Message::builder()
            // The same at each attempt: a server that had it already can tell.
            .message_id(Some(format!("<{}@sagashop>", notice.id)))
            .date(notice.queued_at.into())
            .from(self.from.clone())
            .to(Mailbox::new(Some(templates::one_line(&contact.name)), address))
            .subject(subject)
            .multipart(MultiPart::alternative_plain_html(text, html))
            .map_err(|_| Failure::Other)?;
        // Lest somebody's holiday notice answers it (RFC 3834).
        let by_itself = HeaderName::new_from_ascii_str("Auto-Submitted");
        mail.headers_mut().insert_raw(HeaderValue::new(by_itself, "auto-generated".to_owned()));
        Ok(mail)
    }
}

#[async_trait]
impl Channel for SmtpChannel {
    fn kind(&self) -> Kind {
        Kind::Email
    }

    async fn send(&self, _: Live, notice: Notice<'_>) -> Result<(), Unsent> {
        let contact = self.contacts.of(notice.letter.recipient).await?;
        let mail = self.mail(notice, &contact)?;
        self.pool.send(&mail).await
    }

    fn tidy(&self) {
        self.pool.tidy();
    }
}

/// The kind of failure and the server's code: its own words may hold the address.
fn failed(error: &lettre::transport::smtp::Error) -> Unsent {
    // 55x is about this mail and its mailbox; any other 5xx, as of a login, may be mended meanwhile.
    let about_the_mail = error.status().is_some_and(|code| code.category == Category::MailSystem);
    let failure = if error.is_permanent() && about_the_mail {
        Failure::Refused
    } else if error.status().is_some() {
        Failure::RefusedForNow
    } else if error.is_timeout() {
        Failure::TimedOut
    } else if error.is_response() || error.is_client() {
        Failure::Other
    } else {
        Failure::Unreachable
    };
    Unsent::Failed { failure, code: error.status().map(u16::from) }
}
