//! E-mail over SMTP. The address is asked of the user service at the moment of use, and neither kept nor logged.

use anyhow::{Context, ensure};
use async_trait::async_trait;
use domain::notification::{Channel as Kind, Failure};
use kernel::UserId;
use lettre::message::Mailbox;
use lettre::message::header::ContentType;
use lettre::transport::smtp::response::Category;
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use proto::user::user_service_client::UserServiceClient;
use proto::user::{Contact, GetContactRequest};
use tonic::Code;
use tonic::metadata::AsciiMetadataValue;
use tonic::transport;

use crate::channel::{Channel, Notice};
use crate::config::Config;
use crate::texts;

/// Sends e-mails.
///
/// One connection a mail: a send that runs out of time is dropped with its connection. A pool would hand the
/// connection, half a mail already said, to the next one.
pub struct SmtpChannel {
    server: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    contacts: Contacts,
}

impl SmtpChannel {
    /// Sends through the server of this URL.
    ///
    /// # Errors
    /// If the URL, the sender or the user service's address cannot be read, or there is no internal token.
    pub fn new(url: &str, config: &Config) -> anyhow::Result<Self> {
        // Not with the error's own words: they may repeat the password.
        let server = AsyncSmtpTransport::<Tokio1Executor>::from_url(url)
            .map_err(|_| anyhow::anyhow!("the SMTP address cannot be read: it is smtp://user:password@host:port"))?;
        let from = config.from.parse().with_context(|| format!("{:?} is no sender of e-mails", config.from))?;
        Ok(Self { server: server.build(), from, contacts: Contacts::new(config)? })
    }
}

#[async_trait]
impl Channel for SmtpChannel {
    fn kind(&self) -> Kind {
        Kind::Email
    }

    async fn send(&self, notice: Notice<'_>) -> Result<(), Failure> {
        let contact = self.contacts.of(notice.letter.recipient).await?;
        let address = contact.email.parse().map_err(|_| Failure::NoRecipient)?;
        let (subject, text) = texts::of(notice.letter, &contact.name);
        let mail = Message::builder()
            // The same at each attempt: a server that had it already can tell.
            .message_id(Some(format!("<{}@sagashop>", notice.id)))
            .from(self.from.clone())
            .to(Mailbox::new(Some(contact.name), address))
            .subject(subject)
            .header(ContentType::TEXT_PLAIN)
            .body(text)
            .map_err(|_| Failure::Other)?;
        self.server.send(mail).await.map(|_| ()).map_err(|error| failure(&error))
    }
}

/// The kind of failure; the server's own words may hold the address.
fn failure(error: &lettre::transport::smtp::Error) -> Failure {
    // 55x is about this mail and its mailbox; any other 5xx, as of a login, may be mended meanwhile.
    let about_the_mail = error.status().is_some_and(|code| code.category == Category::MailSystem);
    if error.is_permanent() && about_the_mail {
        Failure::Refused
    } else if error.status().is_some() {
        Failure::RefusedForNow
    } else if error.is_timeout() {
        Failure::TimedOut
    } else if error.is_response() || error.is_client() {
        Failure::Other
    } else {
        Failure::Unreachable
    }
}

/// Asks the user service where somebody can be reached.
struct Contacts {
    client: UserServiceClient<transport::Channel>,
    authorization: AsciiMetadataValue,
}

impl Contacts {
    fn new(config: &Config) -> anyhow::Result<Self> {
        let token = config.internal_token.as_deref().unwrap_or_default();
        ensure!(!token.is_empty(), "e-mail needs INTERNAL_TOKEN: without it the user service tells nobody an address");
        let mut authorization: AsciiMetadataValue =
            format!("Bearer {token}").parse().map_err(|_| anyhow::anyhow!("INTERNAL_TOKEN is not plain ASCII"))?;
        authorization.set_sensitive(true);
        let client = UserServiceClient::new(web::grpc::channel(&config.user_grpc)?);
        Ok(Self { client, authorization })
    }

    async fn of(&self, user_id: UserId) -> Result<Contact, Failure> {
        let mut request = tonic::Request::new(GetContactRequest { user_id: user_id.to_string() });
        request.metadata_mut().insert("authorization", self.authorization.clone());
        match self.client.clone().get_contact(request).await {
            Ok(contact) => Ok(contact.into_inner()),
            Err(status) => Err(match status.code() {
                Code::NotFound => Failure::NoRecipient,
                Code::DeadlineExceeded | Code::Cancelled => Failure::TimedOut,
                code => {
                    tracing::warn!(grpc.code = ?code, "a contact could not be asked for");
                    Failure::Unreachable
                }
            }),
        }
    }
}
