//! What the notification service is told.

/// The notification service's configuration.
#[derive(Clone)]
pub struct Config {
    /// The mail server, `smtp://user:password@host:port`; `smtps://…` for TLS from the first byte, `?tls=required` for
    /// STARTTLS. None: no e-mail is sent.
    pub smtp: Option<String>,
    /// Whom e-mails come from: `Sagashop <shop@example.org>`.
    pub from: String,
    /// The user service's gRPC address, `host:port`.
    pub user_grpc: String,
    /// What the user service is shown to learn an address. E-mail needs it.
    pub internal_token: Option<String>,
    /// The limits and manners of its servers.
    pub edge: web::EdgeOptions,
}
